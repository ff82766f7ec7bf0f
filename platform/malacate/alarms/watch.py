"""A watch over one raw table: its rules, and what becomes of readings in the ledger.

Readings are judged when they are collected and again when they are loaded. Both end in the same
incidents: what an incident covers already opens none.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import sqlalchemy as sa

from malacate import crash
from malacate.alarms import rules
from malacate.alarms.incidents import Folded, Incident, fold
from malacate.alarms.limits import Limits
from malacate.alarms.rules import SECOND, Columns, Exceedance
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger


@dataclass
class Judged:
    """What readings come to: exceedances, and when each sensor was heard last."""

    found: list[Exceedance] = field(default_factory=list)
    heard: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Rules over the readings of ``table``; a rule that lacks its number or table is off.

    An incident ends after ``quiet_seconds`` of event time without an exceedance.
    """

    table: Table
    columns: Columns
    limits: tuple[Limits, ...] = ()
    battery_below_v: float | None = None
    silent_seconds: float | None = None
    witnesses: int = 3
    quiet_seconds: float = 900.0
    channels: tuple[str, ...] = ("log",)

    def __post_init__(self) -> None:
        columns = self.columns
        self._require(columns.sensor)
        self._require(columns.instant)
        if self.limits:
            for name in columns.axes or ("axes",):
                self._require(name, "mm/s")
            self._require(columns.frequency or "frequency", "Hz")
        if self.battery_below_v is not None:
            self._require(columns.battery or "battery", "V")

    @property
    def name(self) -> str:
        """The raw table's, as ``source/table``."""
        return f"{self.table.source}/{self.table.name.table}"

    @property
    def quiet_us(self) -> int:
        """``quiet_seconds`` in microseconds."""
        return round(self.quiet_seconds * SECOND)

    def judge(self, readings: Iterable[pa.RecordBatch]) -> Judged:
        """What is to be said of readings, without knowing of any before them."""
        judged = Judged()
        for rows in readings:
            for sensor, at in rules.heard(rows, self.columns).items():
                judged.heard[sensor] = max(at, judged.heard.get(sensor, at))
            for limits in self.limits:
                judged.found += rules.velocity(rows, self.columns, limits)
            if self.battery_below_v is not None:
                judged.found += rules.battery(rows, self.columns, self.battery_below_v)
        return judged

    def note(self, ledger: Ledger, judged: Judged, batch_ids: Sequence[str] = ()) -> int:
        """Keep what readings came to, with alarms that are due, in one transaction.

        Returns how many incidents it opened. Done again, it opens none. Silence is judged here, by
        all that was heard so far: one that came and went between two calls goes unseen.
        """
        with ledger.together() as connection:
            alarms.take_fold(connection)
            heard = alarms.hear(connection, self.name, judged.heard)
            found = list(judged.found)
            if self.silent_seconds is not None:
                found += rules.silent(heard, self.silent_seconds, self.witnesses)
            folded = self._folded(connection, found)
            rows = [self._row(one, one.opened) for one in folded.changed if one.opened]
            alarms.open_incidents(connection, rows, self.channels, time.time())
            for one in folded.changed:
                if one.opened is None:
                    alarms.lengthen(connection, one.key, one.first_us, one.last_us)
            for key, other in folded.joined.items():
                alarms.join(connection, key, other)
            alarms.mark_judged(connection, self.name, batch_ids)
        crash.point("alarm_noted")
        return len(rows)

    def now_us(self, ledger: Ledger) -> int | None:
        """How late it is by the readings; as for silence, one clock alone is not believed."""
        newest = sorted(alarms.last_heard(ledger, self.name).values(), reverse=True)
        return newest[min(self.witnesses, len(newest)) - 1] if newest else None

    def _folded(self, connection: sa.Connection, found: Sequence[Exceedance]) -> Folded:
        if not found:
            return Folded((), {})
        first = min(one.first_us for one in found) - self.quiet_us
        last = max(one.last_us for one in found) + self.quiet_us
        standing = [
            Incident(row["first_us"], row["last_us"], row["key"], row["rule"], row["subject"])
            for row in alarms.near(connection, self.name, first, last)
        ]
        return fold(self.name, standing, found, self.quiet_us)

    def _row(self, one: Incident, opened: Exceedance) -> alarms.Row:
        span = {"opened_us": opened.first_us, "first_us": one.first_us, "last_us": one.last_us}
        mine = {"key": one.key, "watch": self.name, "quiet_us": self.quiet_us}
        return {**asdict(opened), **span, **mine}

    def _require(self, name: str, unit: str = "") -> None:
        column = self.table.by_name.get(name)
        if column is None or (unit and column.unit and column.unit != unit):
            raise ConfigError(
                f"alarms cannot be judged by {name!r}",
                "Name a column of the contract, in the unit that the rule is in.",
                source=str(self.table.name),
                expected=unit or "a column",
                actual=column.unit if column else "none",
                reason="config",
            )
