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
from malacate.alarms.asked import INSTANT, NAME, NUMBER, require, require_untold_of_people
from malacate.alarms.incidents import Folded, Incident, fold, incident, key_of_raised
from malacate.alarms.limits import Limits
from malacate.alarms.raised import Raised, earliest
from malacate.alarms.rules import SECOND, SILENT, Columns, Exceedance, Heard, latest
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
        table, columns = self.table, self.columns
        require(table, columns.sensor, NAME)
        require(table, columns.instant, INSTANT)
        if columns.received:
            require(table, columns.received, INSTANT)
        if columns.site:
            require(table, columns.site, NAME)
        if self.limits:
            for name in columns.axes or ("axes",):
                require(table, name, NUMBER, "mm/s")
            require(table, columns.frequency or "frequency", NUMBER, "Hz")
        if self.battery_below_v is not None:
            require(table, columns.battery or "battery", NUMBER, "V")
        if self.raised is not None:
            self._require_raised(self.raised)
        if self.trend is not None:
            for name in (self.trend.column, COMPLETENESS):
                require(table, name, NUMBER)

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
            folded = self._folded(connection, judged.found, self._silent(heard))
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

    def _folded(
        self, connection: sa.Connection, found: Sequence[Exceedance], silent: Sequence[Exceedance]
    ) -> Folded:
        """A silence spans all since a sensor was heard, and what others opened meanwhile: only the
        incidents of its own sensors and rule are looked up for it.
        """
        rows = self._near(connection, found) + self._near(connection, silent, SILENT)
        near = {row["key"]: row for row in rows}
        names = ("first_us", "last_us", "key", "rule", "subject", "came_us")
        standing = [Incident(*(row[name] for name in names)) for row in near.values()]
        return fold(self.name, standing, [*found, *silent], self.quiet_us)

    def _near(
        self, connection: sa.Connection, found: Sequence[Exceedance], rule: str = ""
    ) -> list[alarms.Row]:
        if not found:
            return []
        first = min(one.first_us for one in found) - self.quiet_us
        last = max(one.last_us for one in found) + self.quiet_us
        if not rule:
            return alarms.near(connection, self.name, first, last)
        subjects = sorted({one.subject for one in found})
        return alarms.near_of(connection, self.name, first, last, rule, subjects)

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

    def _require_raised(self, raised: Raised) -> None:
        table = self.table
        require(table, self.columns.received or "received", INSTANT)
        for name in (self.columns.sensor, *raised.columns):
            require(table, name, NAME)
            require_untold_of_people(table, name)
        if not raised.where or not all(raised.where.values()):
            raise ConfigError(
                f"every row, or none, would raise {raised.rule!r}",
                "Say under `raised` which rows are meant: `where: {column: [value]}`.",
                source=str(table.name),
                expected="a column in `where`, and a value of each",
                actual=str(dict(raised.where)),
                reason="config",
            )
