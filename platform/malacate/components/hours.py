"""Hours of readings as a declaration has them, whether those come as files or as messages."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.formats import FileFormat
from malacate.names import legal
from malacate.orchestration.hours_files import hours_files
from malacate.orchestration.raw_assets import POOL
from malacate.sources.discovery import Discovery
from malacate.sources.files import FileDrops
from malacate.sources.punctual import Horizon, Punctual
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import Spectrum


class HorizonOf(dg.Model, dg.Resolvable):
    """When a row came, and how far its instant may be from that: see ``Horizon``."""

    came_at: str = ""
    named: str = ""
    future_seconds: float = Field(300.0, ge=0)
    late_hours: float = Field(72.0, gt=0)


class SpectrumOf(dg.Model, dg.Resolvable):
    """See ``Spectrum``: ``bands`` are ``name: [from, below]`` in Hz."""

    hz: float = Field(gt=0)
    bands: dict[str, tuple[float, float]] = {}  # noqa: RUF012

    def made(self) -> Spectrum:
        """The spectrum that is meant."""
        return Spectrum(self.hz, {legal(name, "band"): of for name, of in self.bands.items()})


class HoursOf(dg.Model, dg.Resolvable):
    """The table ``hours`` of the contract, computed of a table of readings: see ``HourlyStats``.

    ``per_hour`` readings make an hour complete. ``axes`` names the columns of the readings that
    have the axes' values, in mm/s, in steps of ``resolution``. Readings beyond the ``horizon`` are
    put aside. With ``files_for_ml``, each hour is a Parquet file too, in the folder
    ``ml/<files_for_ml>`` of the lake.
    """

    hours: str
    per_hour: int
    axes: dict[str, str]
    resolution: float = 0.001
    sensor: str = "sensor_id"
    sequence: str = "seq"
    instant: str = "measured_at"
    rms: str = ""
    vector_sum: str = ""
    battery: str = ""
    spectrum: SpectrumOf | None = None
    horizon: HorizonOf | None = None
    files_for_ml: str = ""

    def drops(self, readings: Table, found: Discovery, form: FileFormat) -> FileDrops:
        """The files of the readings, held to the horizon."""
        if horizon := self.held_to:
            return Punctual(readings, found, form, horizon=horizon)
        return FileDrops(readings, found, form)

    @property
    def held_to(self) -> Horizon | None:
        """The horizon that is meant, if one is."""
        return Horizon(self.instant, **self.horizon.model_dump()) if self.horizon else None

    def stats(self, table: Table) -> HourlyStats:
        """How ``table`` is computed."""
        return HourlyStats(
            table,
            self.per_hour,
            {legal(axis, "axis"): column for axis, column in self.axes.items()},
            self.resolution,
            self.sensor,
            self.sequence,
            self.instant,
            self.rms,
            self.vector_sum,
            self.battery,
            self.spectrum.made() if self.spectrum else None,
        )

    @property
    def names_for_ml(self) -> Sequence[str]:
        """See ``ForMl``."""
        return [self.files_for_ml] if self.files_for_ml else []

    def for_ml(self, hours: Table, readings: Table) -> list[dg.AssetsDefinition]:
        """The asset of the hours' files, if there are to be any."""
        if not self.files_for_ml:
            return []
        name = legal(self.files_for_ml, "files_for_ml")
        return [hours_files(name, self.stats(hours), readings, POOL)]

    def derived(self, table: Table) -> HourlyStats:
        """How the warehouse computes ``table``; raises ``ConfigError`` for what it cannot."""
        if self.spectrum:
            raise ConfigError(
                "the warehouse computes no spectrum",
                "Declare `engine: numpy` or `engine: beam` of an HourlyAggregate.",
                source=str(table.name),
                object="spectrum",
                reason="no_spectrum",
            )
        return self.stats(table)
