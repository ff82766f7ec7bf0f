"""A SQL Server's stand-in with a table of trucks, and what its changes come to in a platform."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from platform_tests.conftest import PlatformHome
from psycopg import sql

from acme.simulator.sqlserver import SqlServer, connect
from malacate.batch import WriteMode
from malacate.contracts.changes import changes_of, keyed, state_of
from malacate.contracts.table import Column, Table
from malacate.ingest import Report, Route
from malacate.names import TableName
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.warehouse.fold import Fold

TRUCK = "dbo.truck"
COLUMNS = (
    Column("id", pa.int64(), True),
    Column("name", pa.string(), physical_name="Name of it"),
    Column("load_t", pa.decimal128(12, 3)),
)
KINDS = {"id": "bigint", "Name of it": "nvarchar", "load_t": "decimal"}


@dataclass
class Trucks:
    """One captured table, its route, and the state that its log comes to."""

    server: SqlServer
    home: PlatformHome
    columns: tuple[Column, ...] = COLUMNS
    key: tuple[str, ...] = ("id",)
    relation: str = TRUCK
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def at(cls, url: str, home: PlatformHome, splits: bool = True) -> "Trucks":
        server = SqlServer(url)
        server.install()
        server.create_table(TRUCK, KINDS, ("id",), splits)
        return cls(server, home)

    @property
    def table(self) -> Table:
        name = TableName("raw_erp", self.relation.partition(".")[2])
        return Table(name, self.columns, self.key, physical_name=self.relation)

    @property
    def source(self) -> ChangeTable:
        table = self.table
        log = changes_of(keyed(table))
        made = ChangeTable(log, table, self.server.url, client=connect)
        return replace(made, **self.settings)

    @property
    def route(self) -> Route:
        source, derives = self.source, Fold(state_of(keyed(self.table)))
        return Route(source.log, source, WriteMode.APPEND, derives=derives)

    def load(self) -> Report:
        report = self.home.ingest.run(self.route)
        self.home.ledger.mark_reported([str(batch["batch_id"]) for batch in report.batches])
        return report

    def catch_up(self) -> None:
        """Capture and load until nothing is left."""
        self.server.tick()
        while int(self.position or 0) <= int.from_bytes(self.server.newest(), "big"):
            self.load()

    @property
    def position(self) -> str | None:
        return self.home.warehouse.position(self.source.log.name)

    def put(self, number: int, name: str, load: str = "1.5") -> None:
        """Insert a truck, or update it."""
        self.server.run(put(number, name, load, self.relation))

    def remove(self, number: int) -> None:
        self.server.run(remove(number, self.relation))

    def move(self, number: int, to: int) -> None:
        self.server.run(move(number, to, self.relation))

    def log(self) -> list[dict[str, Any]]:
        """The changes as they came, in the order of the source's log."""
        rows = self.home.warehouse.read(self.source.log.name).to_pylist()
        return sorted(rows, key=place)

    def state(self) -> dict[int, Mapping[str, Any]]:
        """What the platform's fold makes of them: rows that are not deleted."""
        found = self.home.warehouse.read(self.table.name).to_pylist()
        return {row["id"]: shown(row) for row in found if not row["is_deleted"]}

    def at_source(self) -> dict[int, Mapping[str, Any]]:
        query = sql.SQL('select id, "Name of it", load_t from {}')
        path = sql.Identifier(*self.relation.split("."))
        rows = self.server.ask(query.format(path).as_string())  # type: ignore[arg-type]
        return {number: {"name": name, "load_t": load} for number, name, load in rows}

    def operations(self) -> list[str]:
        return [row["_op"] for row in self.log()]


def put(number: int, name: str, load: str = "1.5", relation: str = TRUCK) -> sql.Composed:
    return sql.SQL(
        'insert into {} (id, "Name of it", load_t) values ({}, {}, {}) on conflict (id) '
        'do update set "Name of it" = excluded."Name of it", load_t = excluded.load_t'
    ).format(sql.Identifier(*relation.split(".")), number, name, load)


def remove(number: int, relation: str = TRUCK) -> sql.Composed:
    path = sql.Identifier(*relation.split("."))
    return sql.SQL("delete from {} where id = {}").format(path, number)


def move(number: int, to: int, relation: str = TRUCK) -> sql.Composed:
    path = sql.Identifier(*relation.split("."))
    return sql.SQL("update {} set id = {} where id = {}").format(path, to, number)


def place(row: Mapping[str, Any]) -> tuple[int, int, int]:
    return row["_position_hi"], row["_position_lo"], row["_seq"]


def shown(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"name": row["name"], "load_t": row["load_t"]}


def folded(log: list[dict[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """The state behind a log, told naively: change by change."""
    state: dict[int, Mapping[str, Any]] = {}
    for row in sorted(log, key=place):
        if row["_op"] == "T":
            state.clear()
        elif row["_op"] == "D":
            state.pop(row["id"], None)
        else:
            state[row["id"]] = shown(row)
    return state
