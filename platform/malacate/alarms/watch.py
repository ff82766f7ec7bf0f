"""A watch over one raw table: its rules, and what becomes of readings in the ledger.

Readings are judged when they are collected and again when they are loaded. Both end in the same
incidents: what an incident covers already opens none.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

import pyarrow as pa
import sqlalchemy as sa

from malacate import crash
from malacate.alarms import rules
from malacate.alarms.incidents import Folded, Incident, fold, incident, key_of_raised
from malacate.alarms.limits import Limits
from malacate.alarms.raised import Raised, earliest
from malacate.alarms.rules import SECOND, Columns, Exceedance, Heard, latest
from malacate.alarms.trend import COMPLETENESS, Trend, rising
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger

_Known = Mapping[str, tuple[int, int]]


@dataclass
class Judged:
    """What readings come to: exceedances, what they raise, and what was heard of each sensor."""

    found: list[Exceedance] = field(default_factory=list)
    raised: list[Exceedance] = field(default_factory=list)
    heard: dict[str, Heard] = field(default_factory=dict)


@dataclass(frozen=True)
class Watch:
    """Rules over the readings of ``table``, or over hours, in which case they are a ``trend``; a
    rule that lacks its number or table is off. ``fed_by`` is the table whose batches bring rows.

    An incident ends after ``quiet_seconds`` of event time without an exceedance. Those that open
    within ``storm_seconds`` at one site are told together. What came more than
    ``tell_within_hours`` before the newest reading did is kept, and told to nobody.
    """

    table: Table
    columns: Columns
    limits: tuple[Limits, ...] = ()
    battery_below_v: float | None = None
    silent_seconds: float | None = None
    witnesses: int = 3
    quiet_seconds: float = 900.0
    channels: tuple[str, ...] = ("log",)
    raised: Raised | None = None
    storm_seconds: float = 60.0
    tell_within_hours: float = 72.0
    trend: Trend | None = None
    fed_by: str = ""

    def __post_init__(self) -> None:
        columns = self.columns
        self._require(columns.sensor)
        self._require(columns.instant)
        for name in (columns.received, columns.site):
            if name:
                self._require(name)
        if self.limits:
            for name in columns.axes or ("axes",):
                self._require(name, "mm/s")
            self._require(columns.frequency or "frequency", "Hz")
        if self.battery_below_v is not None:
            self._require(columns.battery or "battery", "V")
        if self.raised is not None:
            self._require(columns.received or "received")
            for name in (columns.sensor, *self.raised.columns):
                self._require_plain(name)
        if self.trend is not None:
            for name in (self.trend.column, COMPLETENESS):
                self._require_number(name)

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
        judged, columns = Judged(), self.columns
        for rows in readings:
            for sensor, now in rules.heard(rows, columns).items():
                before = judged.heard.get(sensor, now)
                judged.heard[sensor] = Heard(*map(max, now, before))
            for limits in self.limits:
                judged.found += rules.velocity(rows, columns, limits)
            if self.battery_below_v is not None:
                judged.found += rules.battery(rows, columns, self.battery_below_v)
            if self.raised is not None:
                judged.raised += self.raised.judge(rows, columns)
            if self.trend is not None:
                unit = self.table.by_name[self.trend.column].unit
                judged.found += rising(rows, columns, self.trend, unit)
        return judged

    def note(
        self, ledger: Ledger, judged: Judged, batch_ids: Sequence[str] = (),
        more_waits: bool = False,
    ) -> int:  # fmt: skip
        """Keep what readings came to, with alarms that are due, in one transaction.

        Returns how many incidents it opened. Done again, it opens none. Silence is judged here, by
        all that was heard so far: one that came and went between two calls goes unseen. Where
        ``more_waits`` to be judged, alarms are held until ``settle``.
        """
        with ledger.together() as connection:
            alarms.take_turn(connection)
            heard = alarms.hear(connection, self.name, judged.heard)
            folded = self._folded(connection, [*judged.found, *self._silent(heard)])
            rows = [self._row(one, one.opened) for one in folded.changed if one.opened]
            rows += self._raised(connection, judged.raised)
            alarms.open_incidents(connection, rows, self.channels, time.time())
            for one in folded.changed:
                if one.opened is None:
                    alarms.lengthen(connection, one.key, one.first_us, one.last_us, one.came_us)
            for key, other in folded.joined.items():
                alarms.join(connection, key, other)
            alarms.mark_judged(connection, self.name, batch_ids)
            if not more_waits:
                self._settle(connection, heard)
        crash.point("alarm_noted")
        return len(rows)

    def settle(self, ledger: Ledger) -> None:
        """All that waited is judged: what is held is due, or too old to be told."""
        with ledger.together() as connection:
            self._settle(connection, alarms.hear(connection, self.name, {}))

    def now_us(self, ledger: Ledger) -> int | None:
        """How late it is by the readings; as for silence, one clock alone is not believed."""
        heard = alarms.last_heard(ledger, self.name)
        return latest((last for last, _ in heard.values()), self.witnesses)

    def _settle(self, connection: sa.Connection, heard: _Known) -> None:
        now = self._came(heard)
        within = round(self.tell_within_hours * 3600 * SECOND)
        since = None if now is None else now - within
        alarms.settle(connection, self.name, self.channels, since)

    def _came(self, heard: _Known) -> int | None:
        """How late it is where readings are received."""
        return latest((came for _, came in heard.values()), self.witnesses)

    def _silent(self, heard: _Known) -> list[Exceedance]:
        if self.silent_seconds is None:
            return []
        last = {sensor: at for sensor, (at, _) in heard.items()}
        return rules.silent(last, self.silent_seconds, self.witnesses, self._came(heard))

    def _folded(self, connection: sa.Connection, found: Sequence[Exceedance]) -> Folded:
        if not found:
            return Folded((), {})
        first = min(one.first_us for one in found) - self.quiet_us
        last = max(one.last_us for one in found) + self.quiet_us
        names = ("first_us", "last_us", "key", "rule", "subject", "came_us")
        near = alarms.near(connection, self.name, first, last)
        standing = [Incident(*(row[name] for name in names)) for row in near]
        return fold(self.name, standing, found, self.quiet_us)

    def _raised(self, connection: sa.Connection, raised: Sequence[Exceedance]) -> list[alarms.Row]:
        """Of each subject the earliest that is told now, unless it was told of before."""
        found = {key_of_raised(self.name, one): one for one in earliest(raised)}
        known = alarms.known(connection, sorted(found))
        alone = {"quiet_us": 0, "storm_us": None}
        return [
            {**self._row(incident(key, one), one), **alone}
            for key, one in found.items()
            if key not in known
        ]

    def _row(self, one: Incident, opened: Exceedance) -> alarms.Row:
        span = {"opened_us": opened.first_us, "first_us": one.first_us, "last_us": one.last_us}
        mine = {"key": one.key, "watch": self.name, "quiet_us": self.quiet_us}
        storm_us = round(self.storm_seconds * SECOND)
        return {**asdict(opened), **span, **mine, "came_us": one.came_us, "storm_us": storm_us}

    def _require_plain(self, name: str) -> None:
        self._require(name)
        if self.table.by_name[name].classification.startswith("pii"):
            raise ConfigError(
                f"an alarm would tell {name!r}, which is about a person",
                "Leave it out of `raised`: an alarm leaves the platform unmasked.",
                source=str(self.table.name),
                expected="columns that are not pii",
                actual=self.table.by_name[name].classification,
                reason="config",
            )

    def _require_number(self, name: str) -> None:
        self._require(name)
        kind = self.table.by_name[name].type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
            raise ConfigError(
                f"a trend cannot be judged by {name!r}",
                "Name a column of the hours that is a number.",
                source=str(self.table.name),
                expected="a double, a float or an integer",
                actual=str(kind),
                reason="config",
            )

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
