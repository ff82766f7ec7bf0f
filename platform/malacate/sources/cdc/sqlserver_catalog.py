"""What a SQL Server knows of its own capture: instances, how far the log was read, columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from malacate.errors import SourceUnreachable
from malacate.sources.cdc import sqlserver_sql as sql
from malacate.sources.cdc.sqlserver_client import Session, asked, first, grants
from malacate.sources.cdc.sqlserver_rows import arrow_type


@dataclass(frozen=True)
class Instance:
    """A capture instance; it holds every change from ``begins`` on."""

    name: str
    begins: int


@dataclass(frozen=True)
class Captured:
    """How far the capture job has come: its newest LSN, when that was committed, and its age."""

    newest: int
    at: datetime | None
    age_seconds: float


@dataclass(frozen=True)
class Catalog:
    """Answers of one session about ``relation``, which becomes ``table``."""

    session: Session
    table: str
    relation: str

    def instances(self, only: str = "") -> list[Instance]:
        """The table's capture instances, oldest first; those whose capture has begun."""
        relation = sql.bracketed(self.relation)
        if first(self.session, sql.VISIBLE, relation) in ((), (None,)):
            advice = f"Check its name. {grants(self.relation)}"
            raise self.problem("the table is not there, or not visible", advice, "no_table")
        found: list[Instance] = []
        for name, start, begins, role in asked(self.session, sql.INSTANCES, relation):
            if only not in ("", name) or start is None:
                continue
            if not sql.number(begins):
                what = f"this user may not read the capture instance {name}"
                raise self.problem(what, grants(self.relation, role), "denied")
            found.append(Instance(name, sql.number(begins)))
        return found

    def newest(self) -> int:
        """The last LSN that was captured, of whatever table."""
        (newest,) = first(self.session, sql.NEWEST) or (None,)
        if sql.number(newest):
            return sql.number(newest)
        advice = "See that SQL Server Agent runs with its capture job: EXEC sys.sp_cdc_help_jobs;"
        raise self.problem("nothing was captured yet", advice, "capture_not_begun")

    def end(self, lo: int, newest: int, most: int) -> int:
        """Just after the first ``most`` commits, and the block of the log that the last is in.

        The rest of the block before ``lo`` comes besides: no two windows end in one block.
        """
        block = ((lo - 1) | sql.BLOCK) + 1
        edges = (sql.lsn(block), sql.lsn(newest), sql.NO_TRANSACTION)
        last, commits = first(self.session, sql.SOME_COMMITS, most, *edges)
        return newest + 1 if commits < most else min(newest, sql.number(last) | sql.BLOCK) + 1

    def columns(self, instance: Instance) -> dict[str, pa.DataType | None]:
        """What an instance captures, as types where the name of one tells it."""
        captured = asked(self.session, sql.COLUMNS, instance.name)
        return {name: arrow_type(kind) for name, kind in captured}

    def clock(self) -> datetime:
        """The server's time, with its distance from UTC."""
        now: datetime = first(self.session, sql.CLOCK)[0]
        return now

    def captured(self) -> Captured:
        """How far the capture job has come."""
        newest, now = self.newest(), self.clock()
        (ended,) = first(self.session, sql.TIME_OF, sql.lsn(newest))
        if ended is None:
            return Captured(newest, None, float("inf"))
        at = (ended - (now.utcoffset() or timedelta())).replace(tzinfo=UTC)
        return Captured(newest, at, (now - at).total_seconds())

    def problem(
        self, what: str, advice: str, reason: str, expected: str = "", actual: str = ""
    ) -> SourceUnreachable:
        """Something to put right at the server."""
        facts = {"source": self.table, "object": self.relation}
        return SourceUnreachable(
            what, advice, **facts, expected=expected, actual=actual, reason=reason
        )


def stretches(instances: Sequence[Instance], lo: int, hi: int) -> list[tuple[Instance, int, int]]:
    """Which instance is read from where to where, so that ``[lo, hi)`` is whole; none if none can.

    The newest one that has a change is read for it: it knows columns that came later. Each is
    asked about its own beginning: an older one that reaches further back hides no gap.
    """
    found: list[tuple[Instance, int, int]] = []
    for instance in reversed(instances):
        if instance.begins < hi and hi > lo:
            start = max(lo, instance.begins)
            found.insert(0, (instance, start, hi))
            hi = start
    return found if hi == lo else []
