"""A database with tables that change, a slot on it, and the platform that reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pyarrow as pa
from platform_tests.conftest import PlatformHome

from malacate.batch import WriteMode
from malacate.contracts.changes import changes_of, keyed, state_of
from malacate.contracts.table import Column, Table
from malacate.ingest import Report, Route
from malacate.names import TableName
from malacate.sources.cdc import slot_setup
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable, relation_of
from malacate.sources.cdc.slot_position import Position
from malacate.sources.cdc.slot_server import SlotServer, SlotState
from malacate.warehouse.fold import Fold

Row = tuple[Any, ...]


def table(name: str, key: tuple[str, ...] = ("id",)) -> Table:
    """``id`` and a text ``note``, as ``app.<name>``."""
    columns = (Column("id", pa.int64(), bool(key)), Column("note", pa.string()))
    return Table(TableName("raw_app", name), columns, key, physical_name=f"app.{name}")


TRUCK, SHIFT = table("truck"), table("shift")
DDL = (
    "create schema app",
    "create table app.truck (id bigint primary key, note text)",
    "create table app.shift (id bigint primary key, note text)",
    "create table app.other (id bigint primary key, note text)",
    "create publication app_changes for table app.truck, app.shift",
)


@dataclass
class Mine:
    """A source with its slot, and what the warehouse has of it."""

    url: str
    home: PlatformHome
    name: str
    tables: Sequence[Table] = (TRUCK, SHIFT)
    limit: int = 200_000
    slot: ReplicationSlot = field(init=False)

    def __post_init__(self) -> None:
        self.fresh()

    def fresh(self) -> "Mine":
        """As a new process would begin: nothing is remembered."""
        self.slot = ReplicationSlot(self.server, self.tables, self.limit)
        return self

    def elsewhere(self) -> "Mine":
        """The same in a process of its own, with a ledger that it opened itself."""
        home = PlatformHome.at(self.home.root)
        return Mine(self.url, home, self.name, self.tables, self.limit)

    @property
    def server(self) -> SlotServer:
        return SlotServer(self.url, self.name, "app_changes")

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def ask(self, query: str) -> list[Row]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query.encode()).fetchall()

    def route(self, one: Table) -> Route:
        log = changes_of(keyed(one))
        source = SlotTable(self.slot, one, log)
        return Route(log, source, WriteMode.APPEND, derives=Fold(state_of(keyed(one))))

    def load(self, *some: Table) -> int:
        """One round: every table, then settle; how many rows came."""
        rows = 0
        for one in some or self.tables:
            rows += self.told(self.home.ingest.run(self.route(one)))
        self.slot.settle(self.positions())
        return rows

    def told(self, report: Report) -> int:
        ids = [str(batch["batch_id"]) for batch in report.batches]
        self.home.ledger.mark_reported(ids)
        return report.total("rows_read")

    def drain(self) -> None:
        """Rounds until the slot has nothing more."""
        for _ in range(200):
            for one in self.tables:
                self.told(self.home.ingest.run(self.route(one)))
            if not self.slot.settle(self.positions()):
                return
        raise AssertionError("the slot does not come to an end")

    def positions(self) -> dict[str, str | None]:
        warehouse = self.home.warehouse
        return {
            relation_of(one): warehouse.position(changes_of(keyed(one)).name) for one in self.tables
        }

    def position(self, one: Table) -> Position:
        found = Position.of(self.positions()[relation_of(one)])
        assert found is not None
        return found

    def fix(self) -> list[str]:
        return slot_setup.fix(self.fresh().slot, self.positions())

    @property
    def standing(self) -> SlotState:
        slots = self.server.generations()
        return slots[max(slots)]

    def log(self, one: Table) -> list[Mapping[str, Any]]:
        name = changes_of(keyed(one)).name.sql("duckdb")
        query = f"select * from {name} order by _position_hi, _position_lo, _seq, _file_row"
        return list(self.home.warehouse.query(query).to_pylist())

    def ops(self, one: Table) -> list[tuple[str, int | None]]:
        return [(row["_op"], row["id"]) for row in self.log(one)]

    def state(self, one: Table) -> list[Row]:
        """Rows that are alive, by the product's fold."""
        query = f"select id, note from {one.name.sql('duckdb')} where not is_deleted order by all"
        found = self.home.warehouse.query(query).to_pylist()
        return [(row["id"], row["note"]) for row in found]

    def source(self, one: Table) -> list[Row]:
        return self.ask(f"select id, note from {one.physical_name} order by id, note")

    def must_be_equal(self) -> None:
        """State = an own fold of the log = source; every event once."""
        for one in self.tables:
            source = self.source(one)
            by_log = sorted(folded(self.log(one)).values())
            assert set(by_log) ^ set(source) == set(), f"{one.name}: the log"
            differ = set(self.state(one)) ^ set(source)
            keys = {row[0] for row in differ}
            assert not differ, (differ, [row for row in self.log(one) if row["id"] in keys])
            assert len(self.state(one)) == len(by_log) == len(source)
            ids = [row["_event_id"] for row in self.log(one)]
            assert len(ids) == len(set(ids)), one.name


def folded(log: Sequence[Mapping[str, Any]], key: str = "id") -> dict[Any, Row]:
    """The log applied one by one, in its order."""
    alive: dict[Any, Row] = {}
    for row in log:
        if row["_op"] == "T":
            alive.clear()
        elif row["_op"] == "D":
            alive.pop(row[key], None)
        else:
            alive[row[key]] = (row["id"], row["note"])
    return alive
