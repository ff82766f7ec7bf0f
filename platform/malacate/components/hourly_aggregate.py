"""Sensor readings and their hours: readings as they came, hours recomputed when one is late."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
from pydantic import Field

from malacate.alarms.watch import Watch
from malacate.batch import WriteMode
from malacate.components.alarm_rules import AlarmsOf
from malacate.components.declared import engine_of, promised
from malacate.components.file_drops import FormatOf
from malacate.contracts.table import Table
from malacate.formats import FileFormat
from malacate.ingest import Route
from malacate.names import legal
from malacate.orchestration.hours_files import hours_files
from malacate.orchestration.raw_assets import POOL, RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.sources.files import FileDrops, all_files
from malacate.sources.punctual import Horizon, Punctual
from malacate.warehouse.hourly import HourlyStats


class HorizonOf(dg.Model, dg.Resolvable):
    """When a row came, and how far its instant may be from that: see ``Horizon``."""

    came_at: str = ""
    named: str = ""
    future_seconds: float = Field(300.0, ge=0)
    late_hours: float = Field(72.0, gt=0)


class HourlyAggregate(dg.Component, dg.Model, dg.Resolvable):
    """Readings of sensors as files, and what each sensor's hour was: see ``HourlyStats``.

    ``per_hour`` readings make an hour complete. ``axes`` names the columns of the readings that
    have the axes' values, in mm/s, in steps of ``resolution``. With ``files_for_ml``, each hour
    is a Parquet file too, in the folder ``ml/<files_for_ml>`` of the lake.
    """

    source: str
    folder: str
    readings: str
    hours: str
    files: list[str]
    format: FormatOf
    per_hour: int
    axes: dict[str, str]
    resolution: float = 0.001
    sensor: str = "sensor_id"
    sequence: str = "seq"
    instant: str = "measured_at"
    rms: str = ""
    vector_sum: str = ""
    battery: str = ""
    horizon: HorizonOf | None = None
    files_for_ml: str = ""
    interval_seconds: int = 60
    alarms: AlarmsOf | None = None

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The readings, the hours, their checks, a sensor, and the hours as files."""
        raw = self.raw_assets(context.path)
        made = with_doorbells(raw, engine_of(context), self.interval_seconds)
        if not self.files_for_ml:
            return made
        readings = raw[0].route.table
        stats = self._stats(promised(context.path, self.source, [self.hours])[self.hours])
        files = hours_files(legal(self.files_for_ml, "files_for_ml"), stats, readings, POOL)
        return dg.Definitions.merge(made, dg.Definitions(assets=[files]))

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        list(self.watches(folder))
        tables = promised(folder, self.source, [self.readings, self.hours])
        readings, form = tables[self.readings], self.format.form()
        hours = self._stats(tables[self.hours])
        hours.require_sound(readings)
        drops = self._drops(readings, form)
        route = Route(readings, drops, WriteMode.APPEND, derives=hours)
        return [RawAsset(route, frozenset({form.name}), repeats=True, of_files=True)]

    def watches(self, folder: Path) -> Iterator[Watch]:
        """See ``Watched``."""
        if self.alarms is not None:
            table = promised(folder, self.source, [self.readings])[self.readings]
            yield self.alarms.watch(table, folder)

    def _drops(self, readings: Table, form: FileFormat) -> FileDrops:
        found = all_files(readings, store(self.folder), tuple(self.files))
        if self.horizon is None:
            return FileDrops(readings, found, form)
        horizon = Horizon(self.instant, **self.horizon.model_dump())
        return Punctual(readings, found, form, horizon=horizon)

    def _stats(self, hours: Table) -> HourlyStats:
        return HourlyStats(
            hours,
            self.per_hour,
            {legal(axis, "axis"): column for axis, column in self.axes.items()},
            self.resolution,
            self.sensor,
            self.sequence,
            self.instant,
            self.rms,
            self.vector_sum,
            self.battery,
        )
