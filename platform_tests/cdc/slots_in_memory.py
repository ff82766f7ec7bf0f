"""A slot whose server is a list of commits, and a platform that keeps what it has done in memory.

The slot and its tables are the product's own; the steps of the platform are those of ``ingest``,
each with the crash point that it has there.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, cast

import pyarrow as pa
from platform_tests.cdc.model import TABLE, Key, Life, Step, Values, _message, relation
from platform_tests.sources.test_pgoutput import Log, batch

from malacate import crash
from malacate.batch import Chunk, Found, Reading
from malacate.contracts.changes import changes_of
from malacate.contracts.table import Table
from malacate.errors import Superseded
from malacate.names import TableName
from malacate.sources.cdc import slot as slot_module
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable, relation_of
from malacate.sources.cdc.slot_position import Position
from malacate.sources.cdc.slot_server import (
    Exported,
    PublicationState,
    ServerState,
    SlotState,
    TableState,
)
from malacate.sources.protocol import Known

SHIFT = replace(TABLE, name=TableName("raw_lab", "shift"), physical_name="lab.shift")
RELATIONS = {"lab.truck": relation(), "lab.shift": replace(relation(), oid=78, name="shift")}


class Killed(BaseException):
    """The end of the process, as far as one process can tell."""


@dataclass
class Server:
    """Commits by the end of each; what is ``confirmed`` is forgotten."""

    commits: list[tuple[int, list[tuple[str, Step]]]] = field(default_factory=list)
    rows: dict[str, dict[Key, Values]] = field(default_factory=lambda: {n: {} for n in RELATIONS})
    end: int = 0xFFFF_F000
    confirmed: int = -1
    moments: dict[str, dict[str, dict[Key, Values]]] = field(default_factory=dict)
    name: str = "s"
    publication: str = "p"

    @property
    def url(self) -> Any:
        return self

    def resolve(self, url: Any) -> Any:
        return url

    def commit(self, steps: Sequence[tuple[str, Step]]) -> None:
        self.end += 1000
        self.commits.append((self.end, list(steps)))
        for name, step in steps:
            rows = self.rows[name]
            rows.pop(step.key or (0, 0), None)
            if step.op != "D":
                rows[step.to or step.key or (0, 0)] = step.new

    def slot_name(self, generation: int) -> str:
        return self.name

    def generations(self) -> dict[int, SlotState]:
        at = self.confirmed
        slot = SlotState("s", "pgoutput", "lab", False, None, "reserved", None, at, at)
        return {0: slot} if at >= 0 else {}

    def state(self) -> ServerState:
        return ServerState(1, "00000001", "lab", self.end + 8, self.end + 8, self.end + 8)

    def published(self) -> PublicationState:
        return PublicationState(5, True, False)

    def table(self, name: str) -> TableState:
        oid = RELATIONS[name].oid
        return TableState(oid, "r", "d", "p", ["life", "id"], True, "", oid, True)

    def create(self, generation: int) -> Exported:
        exported = self.moment()
        self.confirmed = exported.lsn
        return exported

    def moment(self) -> Exported:
        """A snapshot of all commits so far; to find its place writes into the log."""
        self.end += 100
        name = f"moment {len(self.moments)}"
        self.moments[name] = {table: dict(rows) for table, rows in self.rows.items()}
        return Exported(cast(Any, _Connection()), name, self.end)

    def messages(
        self, slot: str, upto: int = 0, limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        log, told = Log(), set[str]()
        for end, steps in self.commits:
            if end <= self.confirmed:
                continue
            log.lsn = end - 1000
            fresh = {name for name, _ in steps} - told
            told |= fresh
            announced = [("announce", RELATIONS[name]) for name in sorted(fresh)]
            log.transaction([*announced, *(_message(s, RELATIONS[n]) for n, s in steps)])
            if (upto and end >= upto) or (limit is not None and len(log.messages) >= limit):
                break
        if log.messages:
            yield batch(log.messages)

    def advance(self, slot: str, position: Position) -> None:
        self.confirmed = max(self.confirmed, position.lsn)

    def beat(self) -> None:
        self.end += 100


class _Connection:
    closed = False

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Whole:
    """A table read whole, of an exported moment."""

    table: Table
    server: Server
    resolve: Callable[[str], str] = str
    snapshot: str = ""

    def read(self, found: Found, lake: Any) -> Reading:
        rows = self.server.moments[self.snapshot][relation_of(self.table)]
        names = self.table.schema.names
        told = [dict(zip(names, (*key, *values), strict=True)) for key, values in rows.items()]
        return Reading(iter([Chunk(pa.RecordBatch.from_pylist(told, self.table.schema))]))


@dataclass
class Platform:
    """What outlives a process: notes, landed rows, and the warehouse with its positions."""

    server: Server
    limit: int
    noted: dict[str, list[Found]] = field(default_factory=lambda: {n: [] for n in RELATIONS})
    done: set[str] = field(default_factory=set)
    landed: dict[str, pa.Table] = field(default_factory=dict)
    logs: dict[str, list[pa.Table]] = field(default_factory=lambda: {n: [] for n in RELATIONS})
    positions: dict[str, str | None] = field(default_factory=lambda: dict.fromkeys(RELATIONS))
    deaths: int = 0

    def __post_init__(self) -> None:
        self.fresh()

    def fresh(self) -> None:
        """As a new process begins."""
        self.slot = ReplicationSlot(cast(Any, self.server), (TABLE, SHIFT), self.limit)

    def load(self, tables: Sequence[Table]) -> bool:
        """One round; whether there is more to read."""
        for table in tables:
            self._run(table)
        return self.slot.settle(self.positions)

    def _run(self, table: Table) -> None:
        name = relation_of(table)
        source = SlotTable(self.slot, table, changes_of(table))
        known = Known(self.positions[name], self.waiting(name))
        crash.point("seen")
        notes = {one.batch_id for one in self.noted[name]}
        self.noted[name] += [
            one for one in source.discover(known) if one.batch_id not in notes
        ]  # fmt: skip
        crash.point("noted")
        for found in self.waiting(name):
            if found.batch_id not in self.landed:
                try:
                    chunks = list(source.read(found, cast(Any, None)).chunks)
                except Superseded:
                    self.done.add(found.batch_id)
                    continue
                crash.point("parsed")
                rows = [chunk.rows for chunk in chunks]
                self.landed[found.batch_id] = pa.Table.from_pylist(
                    [row for one in rows for row in one.to_pylist()], source.log.schema
                )
            crash.point("landed")
            self.publish(name, found)
            crash.point("committed")
            self.done.add(found.batch_id)
            crash.point("loaded")

    def waiting(self, name: str) -> list[Found]:
        return [one for one in self.noted[name] if one.batch_id not in self.done]

    def publish(self, name: str, found: Found) -> None:
        """Rows and position in one step, once; only from where the table stands."""
        if found.lo == self.positions[name]:
            self.logs[name].append(self.landed[found.batch_id])
            self.positions[name] = found.hi

    def killed(self, after: int, tables: Sequence[Table]) -> None:
        passed = count(1)

        def point(name: str) -> None:
            if next(passed) == after:
                raise Killed(name)

        original, crash.point = crash.point, point
        try:
            self.load(tables)
        except Killed:
            self.deaths += 1
            self.fresh()
        finally:
            crash.point = original


@contextmanager
def whole_tables() -> Iterator[None]:
    """Snapshots of this server in place of a database's."""
    kept = slot_module.DatabaseTable
    slot_module.DatabaseTable = Whole  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        slot_module.DatabaseTable = kept  # type: ignore[misc]


def lived(seed: int, length: int) -> tuple[Server, Platform]:
    """Commits of two tables, loads, and deaths, in any order; then all is loaded."""
    choose = random.Random(seed)
    server = Server()
    platform = Platform(server, choose.choice([1, 4, 1000]))
    lives = {name: iter(Life(0, choose.randrange(1 << 30), length).steps) for name in RELATIONS}
    both: Sequence[Table] = (TABLE, SHIFT)
    for _ in range(2 * length):
        what = choose.random()
        if what < 0.55:
            names = choose.choices(list(RELATIONS), k=choose.randrange(1, 4))
            steps = [(name, step) for name in names if (step := next(lives[name], None))]
            if steps:
                server.commit(steps)
        elif what < 0.9:
            platform.killed(choose.randrange(1, 26), choose.choice([both, both, both[:1]]))
        else:
            platform.fresh()
    still = 0
    while still < 2:
        before = dict(platform.positions)
        has_more = platform.load(both)
        still = 0 if has_more or before != platform.positions else still + 1
    return server, platform


def state_of_log(log: Sequence[pa.Table]) -> dict[Key, Values]:
    """Events applied one by one in the order of their positions."""
    alive: dict[Key, Values] = {}
    moved: Values = (None, None)
    rows = [row for one in log for row in one.to_pylist()]
    for row in sorted(rows, key=lambda r: (r["_position_hi"], r["_position_lo"], r["_seq"])):
        key = (row["life"], row["id"])
        if row["_op"] == "D":
            moved = alive.pop(key, moved)
            continue
        old = moved if row["_is_key_change"] else alive.get(key, moved)
        alive[key] = (row["value"], old[1] if row["_missing"] else row["big"])
    return alive


def ids(log: Sequence[pa.Table]) -> list[str]:
    return [one for part in log for one in part.column("_event_id").to_pylist()]
