"""The plant's system on SQL Server: what the mills made of the ore, and the work on the machines.

It runs on the stand-in of ``sqlserver``, in a database of its own beside the production app's.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from psycopg import sql

from acme.simulator import columns
from acme.simulator.columns import NEVER
from acme.simulator.journal import Journal
from acme.simulator.postgres import Connection, Postgres, copy
from acme.simulator.sqlserver import SqlServer
from acme.simulator.tables import AT, BIGINT, TEXT, AppTable, decimal
from acme.simulator.truth import Truth
from acme.simulator.world import HOUR, Seconds, World, instant

DATABASE = "plant"
MILLS = ("ML-01", "ML-02")
KINDS = ("inspection", "repair", "service")
_FIRST_ORDER, _ORDERS_A_DAY, _TECHNICIANS = 400_001, 6, 24
_T_SQL = {TEXT: "nvarchar", BIGINT: "bigint", AT: "datetimeoffset"}
_OPEN = sql.SQL("SELECT order_id FROM dbo.work_order WHERE closed_at IS NULL ORDER BY order_id")
_NEXT = sql.SQL("SELECT max(order_id) + 1 AS id FROM dbo.work_order")

TABLES: Mapping[str, AppTable] = {
    table.name: table
    for table in (
        AppTable(
            "mill_hour",
            {
                "mill_id": TEXT, "hour_at": AT, "feed_tph": decimal(8, 1),
                "feed_cu_pct": decimal(6, 4), "recovery_pct": decimal(5, 2),
                "concentrate_t": decimal(10, 2),
            },
            key=("mill_id", "hour_at"),
            owner="dbo",
        ),
        AppTable(
            "work_order",
            {
                "order_id": BIGINT, "equipment_id": TEXT, "kind": TEXT, "technician_id": TEXT,
                "opened_at": AT, "closed_at": AT, "planned_h": decimal(6, 2),
                "worked_h": decimal(6, 2),
            },
            key=("order_id",),
            optional=frozenset({"closed_at", "worked_h"}),
            owner="dbo",
        ),
    )
}  # fmt: skip


class Plant:
    """The plant's database on ``postgres``; what is true of it is noted in ``truth``."""

    def __init__(self, postgres: Postgres, truth: Truth) -> None:
        self._postgres = postgres
        self._truth = truth

    @property
    def url(self) -> str:
        """Where it answers, once it was made."""
        return self._postgres.url_of(DATABASE)

    def start(self, world: World) -> None:
        """Make the database and what it held before the first tick, unless it is there."""
        self._postgres.create_database(DATABASE, lambda name: self._fill(name, world))
        SqlServer(self.url).tick()

    def live(self, world: World, tick: int) -> None:
        """Make the changes of hour ``tick``, once, and let them be captured."""
        with self._postgres.connect(DATABASE) as connection:
            if _ticks(connection) < tick:
                journal = Journal(connection, world.after(tick), TABLES)
                _mill(world, tick, journal)
                _maintain(world, tick, journal)
                for table in TABLES.values():
                    self._truth.note_changes(DATABASE, table, journal.changes)
                connection.execute("UPDATE sys.lived SET ticks = %s", [tick])
        SqlServer(self.url).tick()

    def _fill(self, database: str, world: World) -> None:
        server = SqlServer(self._postgres.url_of(database))
        server.install()
        server.run("CREATE TABLE sys.lived (ticks int)", "INSERT INTO sys.lived VALUES (0)")
        for table, rows in ((t, _HISTORY[t.name](world)) for t in TABLES.values()):
            relation = f"dbo.{table.name}"
            server.create_table(relation, {f.name: _t_sql(f.type) for f in table.schema}, table.key)
            with self._postgres.connect(database) as connection:
                copy(connection, table.identifier, rows)
            server.capture()
            server.enable(relation, f"dbo_{table.name}")
            self._truth.note_rows(DATABASE, table, rows)


def _ticks(connection: Connection) -> int:
    row = connection.execute("SELECT ticks FROM sys.lived FOR UPDATE").fetchone()
    return int(row["ticks"]) if row else 0


def _t_sql(kind: pa.DataType) -> str:
    return "decimal" if pa.types.is_decimal(kind) else _T_SQL[kind]


def _mill(world: World, tick: int, journal: Journal) -> None:
    """An hour of each mill; the laboratory corrects what it said of an hour before."""
    rng, begin = world.rng("tick", tick, "mill"), world.end_s + (tick - 1) * HOUR
    journal.insert_all(_mill_hours(rng, np.array([begin])), "mill_hour")
    key = {"mill_id": MILLS[tick % 2], "hour_at": instant(begin - 3 * HOUR)}
    recovery = {"recovery_pct": round(float(rng.uniform(84, 92)), 2)}
    journal.update("mill_hour", key, recovery)


def _maintain(world: World, tick: int, journal: Journal) -> None:
    """Orders are opened, closed, taken back, and at times given another number."""
    rng = world.rng("tick", tick, "maintenance")
    begin, first = world.end_s + (tick - 1) * HOUR, int(journal.query(_NEXT)[0]["id"])
    waiting = journal.query(_OPEN)
    opened = np.sort(begin + rng.integers(0, HOUR, 3))
    journal.insert_all(_orders(world, rng, opened, np.full(3, NEVER), first), "work_order")
    for order in waiting[:2]:
        worked = {"closed_at": journal.now, "worked_h": round(float(rng.uniform(0.5, 9)), 2)}
        journal.update("work_order", order, worked)
    if tick % 3 == 1:
        journal.delete("work_order", {"order_id": first})
    if tick % 4 == 2:
        journal.update("work_order", {"order_id": first + 1}, {"order_id": first + 3})


def _mill_history(world: World) -> pa.Table:
    hours = np.arange(world.start_s, world.end_s, HOUR)
    return _mill_hours(world.rng("mill"), hours)


def _mill_hours(rng: np.random.Generator, hours: Seconds) -> pa.Table:
    count = len(hours) * len(MILLS)
    feed, grade = rng.uniform(820, 1080, count), np.clip(rng.normal(0.82, 0.08, count), 0.3, 2)
    recovery = rng.uniform(84, 92, count)
    rows = {
        "mill_id": columns.picked(MILLS, np.tile(np.arange(len(MILLS)), len(hours))),
        "hour_at": np.repeat(hours, len(MILLS)),
        "feed_tph": feed,
        "feed_cu_pct": grade,
        "recovery_pct": recovery,
        "concentrate_t": feed * grade / 100 * recovery / 100 / 0.27,
        "updated_at": np.repeat(hours, len(MILLS)) + HOUR,
    }
    return columns.table(TABLES["mill_hour"].schema, rows)


def _order_history(world: World) -> pa.Table:
    """All but the last day's are closed."""
    rng, count = world.rng("maintenance"), world.days * _ORDERS_A_DAY
    opened = np.sort(rng.integers(world.start_s, world.end_s, count))
    closed = opened + rng.integers(2 * HOUR, 30 * HOUR, count)
    ended = np.where(closed > world.end_s, NEVER, closed)
    return _orders(world, rng, opened, ended, _FIRST_ORDER)


def _orders(
    world: World, rng: np.random.Generator, opened: Seconds, closed: Seconds,
    first: int,
) -> pa.Table:  # fmt: skip
    count, machines = len(opened), [*world.trucks.ids, *world.loaders]
    is_open = closed == NEVER
    rows = {
        "order_id": np.arange(first, first + count),
        "equipment_id": columns.picked(machines, rng.integers(0, len(machines), count)),
        "kind": columns.picked(KINDS, rng.integers(0, len(KINDS), count)),
        "technician_id": [f"TC-{n:03d}" for n in rng.integers(1, _TECHNICIANS, count)],
        "opened_at": opened,
        "closed_at": closed,
        "planned_h": rng.uniform(1, 12, count),
        "worked_h": np.where(is_open, np.nan, rng.uniform(0.5, 14, count)),
        "updated_at": np.where(is_open, opened, closed),
    }
    return columns.table(TABLES["work_order"].schema, rows)


_HISTORY = {"mill_hour": _mill_history, "work_order": _order_history}
