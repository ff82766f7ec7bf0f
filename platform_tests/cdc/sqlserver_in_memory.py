"""A SQL Server whose capture is lists: two tables, their instances, cleanup, and one log."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from platform_tests.cdc.model import TABLE, Key, Life, Step, Values

from malacate.batch import Chunk
from malacate.contracts.changes import changes_of
from malacate.contracts.table import Table
from malacate.names import TableName
from malacate.sources.cdc import sqlserver_sql as words
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.sources.cdc.sqlserver_client import Refused, Row
from malacate.sources.protocol import Known

TRUCK = replace(TABLE, physical_name="dbo.truck")
SHIFT = replace(TABLE, name=TableName("raw_lab", "shift"), physical_name="dbo.shift")
NOW = datetime(2026, 11, 3, tzinfo=UTC)
_DELETE, _INSERT, _BEFORE, _AFTER = 1, 2, 3, 4
_FUNCTION = re.compile(r"fn_cdc_get_all_changes_(\w+)")


@dataclass
class Instance:
    """A capture instance: what it holds, and from where on."""

    name: str
    table: str
    begins: int
    held: list[tuple[int, int, int, tuple[Any, ...]]] = field(default_factory=list)


@dataclass
class Server:
    """Commits are captured as they come."""

    instances: list[Instance] = field(default_factory=list)
    mapping: list[tuple[int, bytes]] = field(default_factory=list)
    rows: dict[str, dict[Key, Values]] = field(default_factory=dict)
    newest: int = 0xFF_FFFFFF00_0001
    made: int = 0

    def enable(self, table: str) -> Instance:
        self.made += 1
        one = Instance(f"i{self.made}", table, self._next())
        self.instances.append(one)
        self.tick()
        return one

    def commit(self, table: str, steps: Sequence[Step]) -> None:
        at, rows = self._next(), self.rows.setdefault(table, {})
        self.mapping.append((at, b"t"))
        for place, step in enumerate(steps):
            for operation, values in _told(step):
                for one in self.of(table):
                    one.held.append((at, place, operation, values))
            rows.pop(step.key or (0, 0), None)
            if step.op != "D":
                rows[step.to or step.key or (0, 0)] = step.new

    def tick(self) -> None:
        """The entry that the job writes while nothing happens."""
        self.mapping.append((self._next(), words.NO_TRANSACTION))

    def cleanup(self, one: Instance, edge: int) -> None:
        one.begins = max(one.begins, edge)
        one.held = [row for row in one.held if row[0] >= one.begins]

    def of(self, table: str) -> list[Instance]:
        return [one for one in self.instances if one.table == table]

    def _next(self) -> int:
        self.newest += 0x10000
        return self.newest


def _told(step: Step) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """An update of the key as an update: with the values before it."""
    old = (*(step.key or (0, 0)), *step.old)
    new = (*(step.to or step.key or (0, 0)), *step.new)
    if step.op == "I":
        yield _INSERT, new
    elif step.op == "D":
        yield _DELETE, old
    else:
        yield _BEFORE, old
        yield _AFTER, new


@dataclass
class Session:
    """Answers what the product asks."""

    server: Server

    def rows(self, statement: str, *values: Any) -> Iterator[list[Row]]:
        yield list(self._answer(statement, values))

    def close(self) -> None:
        pass

    def _answer(self, statement: str, values: Sequence[Any]) -> Iterator[Row]:
        if statement == words.VISIBLE:
            yield (1,)
        elif statement == words.NEWEST:
            yield (words.lsn(self.server.newest),)
        elif statement == words.CLOCK:
            yield (NOW,)
        elif statement == words.INSTANCES:
            for one in self.server.of(values[0].replace("[", "").replace("]", "")):
                begins = words.lsn(one.begins)
                yield one.name, begins, begins, None
        elif statement == words.COLUMNS:
            yield from zip(TABLE.schema.names, ("bigint",) * 3 + ("nvarchar",), strict=True)
        elif statement == words.SOME_COMMITS:
            yield self._some(*values)
        elif found := _FUNCTION.search(statement):
            yield from self._changes(found[1], *map(words.number, values))
        else:
            rows = self.server.rows.get("dbo.truck" if "truck" in statement else "dbo.shift", {})
            yield from ((*key, *values) for key, values in rows.items())

    def _some(self, most: int, low: bytes, high: bytes, none: bytes) -> Row:
        lo, hi = words.number(low), words.number(high)
        found = [at for at, xact in self.server.mapping if lo <= at <= hi and xact != none][:most]
        return (words.lsn(found[-1]) if found else None, len(found))

    def _changes(self, name: str, lo: int, hi: int) -> Iterator[Row]:
        (one,) = (i for i in self.server.instances if i.name == name)
        if lo < one.begins or hi > self.server.newest:
            raise Refused("An insufficient number of arguments were supplied for the function")
        for at, place, operation, values in one.held:
            if lo <= at <= hi:
                order = (words.lsn(at), words.lsn(place), operation)
                yield (*order, NOW.replace(tzinfo=None), *values)


@dataclass
class Reader:
    """A table's windows, read one by one; a gap is answered by a new snapshot."""

    server: Server
    table: Table
    most: int
    position: str | None = None
    accepted: str = ""
    log: list[pa.RecordBatch] = field(default_factory=list)
    gaps: int = 0

    def load(self) -> None:
        """One look; raises ``SourceGap``."""
        source = ChangeTable(
            changes_of(self.table), self.table, "", accept_gap_at=self.accepted, most=self.most,
            client=lambda _: Session(self.server),
        )  # fmt: skip
        for found in source.discover(Known(self.position)):
            chunks: list[Chunk] = list(source.read(found, None).chunks)  # type: ignore[arg-type]
            assert [reject for chunk in chunks for reject in chunk.rejects] == []
            self.log += [chunk.rows for chunk in chunks]
            self.position = found.hi

    @property
    def reach(self) -> int:
        """From where on all changes can be read."""
        begins = (one.begins for one in self.server.of(str(self.table.physical_name)))
        return min(begins, default=1 << 80)

    @property
    def unread(self) -> set[int]:
        """Commits of the table that were not read yet, and are held by some instance."""
        held = (row[0] for i in self.server.of(str(self.table.physical_name)) for row in i.held)
        return {at for at in held if at >= int(self.position or 0)}

    def state(self) -> dict[Key, Values]:
        """Events applied one by one in the order of their positions."""
        alive: dict[Key, Values] = {}
        rows = [row for one in self.log for row in one.to_pylist()]
        for row in sorted(rows, key=lambda r: (r["_position_hi"], r["_position_lo"], r["_seq"])):
            if row["_op"] == "T":
                alive.clear()
            elif row["_op"] == "D":
                alive.pop((row["life"], row["id"]), None)
            else:
                alive[(row["life"], row["id"])] = (row["value"], row["big"])
        return alive


def catch_up(reader: Reader) -> None:
    reader.server.tick()
    while int(reader.position or 0) <= reader.server.newest:
        before = reader.position
        reader.load()
        assert reader.position != before


def steps_of(choose: random.Random, length: int) -> Iterator[Step]:
    return iter(Life(0, choose.randrange(1 << 30), length).steps)
