"""Alarms as a declaration has them, under what brings the readings."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import dagster as dg
from pydantic import Field

from malacate.alarms.channels import LOG
from malacate.alarms.limits import Limits, read_limits
from malacate.alarms.raised import Raised
from malacate.alarms.rules import Columns
from malacate.alarms.trend import Trend
from malacate.alarms.watch import Watch
from malacate.components.declared import components
from malacate.contracts.table import Table
from malacate.errors import ConfigError


class RaisedOf(dg.Model, dg.Resolvable):
    """Rows that are news by themselves: see ``Raised``."""

    rule: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    where: dict[str, list[str]]
    subject: str
    tell: list[str] = []  # noqa: RUF012

    def rows(self) -> Raised:
        """What is meant."""
        where = {name: tuple(values) for name, values in self.where.items()}
        return Raised(self.rule, where, self.subject, tuple(self.tell))


class TrendOf(dg.Model, dg.Resolvable):
    """Hours of a sensor that rise above those before them: see ``Trend``."""

    column: str = "rms_mm_s"
    times: float = Field(gt=1)
    recent_hours: int = Field(3, ge=1)
    before_hours: int = Field(24, ge=1)
    least_completeness: float = Field(0.8, ge=0, le=1)

    def made(self) -> Trend:
        """The trend that is meant."""
        return Trend(**self.model_dump())


class AlarmsOf(dg.Model, dg.Resolvable):
    """Rules over readings; one is on if its number, or its table, is given. See ``Watch``.

    ``limits`` is a file of limits of velocity by frequency, relative to the declaration, and
    ``standards`` those of it that hold here. ``webhook`` is a reference to its URL: ``${NAME}``.
    A ``trend`` is of the hours of the readings.
    """

    sensor: str = "sensor_id"
    instant: str = "measured_at"
    received: str = ""
    site: str = ""
    axes: list[str] = []  # noqa: RUF012
    frequency: str = ""
    limits: str = ""
    standards: list[str] = []  # noqa: RUF012
    battery: str = ""
    battery_below_v: float | None = Field(None, gt=0)
    silent_seconds: float | None = Field(None, gt=0)
    witnesses: int = Field(3, ge=1)
    raised: RaisedOf | None = None
    trend: TrendOf | None = None
    quiet_seconds: float = Field(900.0, gt=0)
    storm_seconds: float = Field(60.0, ge=0)
    tell_within_hours: float = Field(72.0, gt=0)
    webhook: str = Field("", pattern=r"^(|\$\{[A-Za-z_][A-Za-z0-9_]*\})$")

    def of_readings(self, table: Table, folder: Path) -> Iterator[Watch]:
        """The watch that is meant, if there are rules of readings; raise ``ConfigError`` for one
        that could not judge, and where nothing would be judged at all.
        """
        self._require_rules(table)
        if not self._is_of_readings:
            return
        yield Watch(
            table,
            Columns(
                self.sensor, self.instant, self.received, self.site, tuple(self.axes),
                self.frequency, self.battery,
            ),
            tuple(self._limits(folder)),
            self.battery_below_v,
            self.silent_seconds,
            self.witnesses,
            self.quiet_seconds,
            self._channels,
            self.raised.rows() if self.raised else None,
            self.storm_seconds,
            self.tell_within_hours,
        )  # fmt: skip

    def of_hours(self, hours: Table, fed_by: str) -> Iterator[Watch]:
        """The watch over the ``hours`` of the readings, if a trend is declared.

        It is quiet no sooner than recent hours without an exceedance have passed.
        """
        if self.trend is None:
            return
        trend, site = self.trend.made(), self.site if self.site in hours.by_name else ""
        yield Watch(
            hours,
            Columns(self.sensor, "hour_at", site=site),
            witnesses=self.witnesses,
            quiet_seconds=max(self.quiet_seconds, 3600.0 * trend.recent_hours),
            channels=self._channels,
            storm_seconds=self.storm_seconds,
            tell_within_hours=self.tell_within_hours,
            trend=trend,
            fed_by=fed_by,
        )

    @property
    def _is_of_readings(self) -> bool:
        numbers = (self.battery_below_v, self.silent_seconds)
        return any((self.limits, self.standards, self.raised, *numbers))

    def _require_rules(self, table: Table) -> None:
        """What is named for a rule that is off would be looked at by nobody."""
        if not self._is_of_readings and self.trend is None:
            raise _useless(table, "alarms without a rule", _ALL)
        if (self.axes or self.frequency) and not self.limits and not self.standards:
            advice = "Add `limits` and `standards`, or remove `axes` and `frequency`."
            raise _useless(table, "axes or a frequency without limits", advice)
        if self.battery and self.battery_below_v is None:
            advice = "Add `battery_below_v`, in volts, or remove `battery`."
            raise _useless(table, "a battery without a bound", advice)

    @property
    def _channels(self) -> tuple[str, ...]:
        return (LOG, self.webhook) if self.webhook else (LOG,)

    def _limits(self, folder: Path) -> Iterator[Limits]:
        if bool(self.limits) != bool(self.standards):
            raise _unknown("limits and standards go together", "one without the other")
        known = read_limits(folder / self.limits) if self.limits else {}
        for name in self.standards:
            if name not in known:
                raise _unknown(f"one of {', '.join(known)}", name)
            yield known[name]


@runtime_checkable
class Watched(Protocol):
    """A component whose tables may have alarms."""

    def watches(self, folder: Path) -> Iterator[Watch]:
        """Its watches; ``folder`` is where its ``defs.yaml`` and contract stand."""


def watches(defs_folder: Path) -> list[Watch]:
    """Every watch declared below ``defs_folder``."""
    declared = components(defs_folder)
    found = [(doc.path.parent, one) for doc, one in declared if isinstance(one, Watched)]
    return [watch for folder, one in found for watch in one.watches(folder)]


_ALL = (
    "Add `limits` and `standards` with `axes` and `frequency`, `battery_below_v` with `battery`, "
    "`silent_seconds`, `raised` or `trend`; or remove `alarms`."
)


def _useless(table: Table, what: str, advice: str) -> ConfigError:
    """The error for what is declared and would never raise an alarm."""
    source = f"{table.source}/{table.name.table}"
    return ConfigError(what, advice, source, reason="no_rule")


def _unknown(expected: str, actual: str) -> ConfigError:
    return ConfigError(
        "an alarm's limits are not known",
        "Correct `limits` and `standards` under `alarms`.",
        expected=expected,
        actual=actual,
        reason="config",
    )
