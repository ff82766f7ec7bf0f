"""Sensor readings and their hours: readings as they came, hours recomputed when one is late."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import dagster as dg

from malacate.alarms.watch import Watch
from malacate.batch import WriteMode
from malacate.components.alarm_rules import AlarmsOf
from malacate.components.beam import BeamOf
from malacate.components.declared import engine_of, promised
from malacate.components.file_drops import FormatOf
from malacate.components.hours import HoursOf
from malacate.errors import ConfigError
from malacate.ingest import Route
from malacate.orchestration.hours_asset import Engine, hours_asset
from malacate.orchestration.hours_numpy import Numpy
from malacate.orchestration.hours_shown import of_load
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.sources.files import all_files
from malacate.sources.hours import measured


class HourlyAggregate(dg.Component, HoursOf):
    """Readings of sensors as files, and what each sensor's hour was: see ``HoursOf``.

    Readings that come as messages have their hours under ``EventStream``. The warehouse derives the
    hours when it publishes readings. With another ``engine`` they are an asset of their own,
    computed afterwards: the same hours, and with a ``spectrum``, by this process (``numpy``) or by
    a pipeline (``beam``).
    """

    source: str
    folder: str
    readings: str
    files: list[str]
    format: FormatOf
    interval_seconds: int = 60
    alarms: AlarmsOf | None = None
    engine: Literal["duckdb", "numpy", "beam"] = "duckdb"
    beam: BeamOf | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The readings, the hours, their checks, a sensor, and the hours as files."""
        raw = self.raw_assets(context.path)
        made = with_doorbells(raw, engine_of(context), self.interval_seconds)
        readings = raw[0].route.table
        hours = promised(context.path, self.source, [self.hours])[self.hours]
        more = self.for_ml(hours, readings)
        if engine := self._beside():
            more.append(hours_asset(readings, self.stats(hours), engine))
        return dg.Definitions.merge(made, dg.Definitions(assets=more))

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        list(self.watches(folder))
        tables = promised(folder, self.source, [self.readings, self.hours])
        readings, form = tables[self.readings], self.format.form()
        engine = self._beside()
        hours = (self.stats if engine else self.derived)(tables[self.hours])
        hours.require_sound(readings)
        found = all_files(readings, store(self.folder), tuple(self.files))
        drops = self.drops(readings, found, form)
        if engine:
            engine.require_sound(hours)
            measured(hours, readings)
        derives = None if engine else hours
        route = Route(readings, drops, WriteMode.APPEND, derives=derives)
        raw = RawAsset(route, frozenset({form.name}), repeats=True, of_files=True)
        if engine:
            return [replace(raw, beside=hours)]
        return [replace(raw, of_derived=partial(of_load, hours, readings))]

    def _beside(self) -> Engine | None:
        """What computes the hours beside the warehouse, if something does."""
        if self.engine == "beam":
            return (self.beam or BeamOf()).pipeline()
        if self.beam is not None:
            raise ConfigError(
                "a pipeline is declared that nothing would start",
                "Declare engine: beam, or remove it.",
                source=f"{self.source}/{self.hours}",
                reason="unused_pipeline",
            )
        return Numpy() if self.engine == "numpy" else None

    def watches(self, folder: Path) -> Iterator[Watch]:
        """See ``Watched``."""
        if self.alarms is not None:
            tables = promised(folder, self.source, [self.readings, self.hours])
            yield from self.alarms.of_readings(tables[self.readings], folder)
            fed_by = self.readings if self.engine == "duckdb" else self.hours
            yield from self.alarms.of_hours(tables[self.hours], fed_by)
