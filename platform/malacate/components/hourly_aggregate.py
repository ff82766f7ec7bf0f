"""Sensor readings and their hours: readings as they came, hours recomputed when one is late."""

from pathlib import Path

import dagster as dg

from malacate.batch import WriteMode
from malacate.components.declared import engine_of, promised
from malacate.components.file_drops import FormatOf
from malacate.ingest import Route
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.sensors import with_doorbells
from malacate.orchestration.stores import store
from malacate.sources.files import FileDrops, all_files
from malacate.warehouse.hourly import HourlyStats


class HourlyAggregate(dg.Component, dg.Model, dg.Resolvable):
    """Vibration features per sensor, and count, RMS, PPV, peak, completeness per hour."""

    source: str
    folder: str
    readings: str
    hours: str
    files: list[str]
    format: FormatOf
    expected_per_hour: int
    interval_seconds: int = 60

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The readings, the hours, their checks, and a sensor."""
        return with_doorbells(
            self.raw_assets(context.path), engine_of(context), self.interval_seconds
        )

    def raw_assets(self, folder: Path) -> list[RawAsset]:
        """See ``Declaration``."""
        tables = promised(folder, self.source, [self.readings, self.hours])
        readings, form = tables[self.readings], self.format.form()
        found = all_files(readings, store(self.folder), tuple(self.files))
        drops = FileDrops(readings, found, form)
        hours = HourlyStats(tables[self.hours], self.expected_per_hour)
        route = Route(readings, drops, WriteMode.APPEND, derives=hours)
        return [RawAsset(route, frozenset({form.name}), repeats=True, of_files=True)]
