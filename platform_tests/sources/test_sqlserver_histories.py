"""Whatever happens at the source and here: the log tells the source's table, or a gap is told."""

import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from platform_tests.conftest import PlatformHome
from platform_tests.sources.sqlserver_standin import (
    KINDS,
    TRUCK,
    Trucks,
    folded,
    move,
    place,
    put,
    remove,
)
from psycopg import sql

from acme.simulator.sqlserver import SqlServer
from malacate import crash
from malacate.errors import SourceGap
from malacate.ingest import Ingest
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.warehouse.duckdb import DuckDBWarehouse

NUMBERS = st.integers(1, 4)
CHANGES = st.one_of(
    st.tuples(st.just("put"), NUMBERS, st.sampled_from("abc")),
    st.tuples(st.just("remove"), NUMBERS, st.none()),
    st.tuples(st.just("move"), NUMBERS, NUMBERS),
)
STEPS = st.one_of(
    st.tuples(st.just("commit"), st.lists(CHANGES, min_size=1, max_size=5)),
    st.tuples(st.just("commit"), st.lists(CHANGES, min_size=1, max_size=5)),
    st.tuples(st.just("capture"), st.one_of(st.none(), st.integers(1, 3))),
    st.tuples(st.just("load"), st.none()),
    st.tuples(st.just("load"), st.none()),
    st.tuples(st.just("killed"), st.integers(1, 40)),
    st.tuples(st.just("cleanup"), st.none()),
    st.tuples(st.just("new_instance"), st.none()),
    st.tuples(st.just("old_instance_goes"), st.none()),
    st.tuples(st.just("together"), st.booleans()),
)
_TABLES = itertools.count()


class Killed(BaseException):
    """Stands for the end of the process, as far as one process can tell."""


class History:
    """One table's life at the server, and in a platform that may die and may find gaps."""

    def __init__(self, server: SqlServer, root: Path, splits: bool) -> None:
        self.number, self.instances = next(_TABLES), list[str]()
        relation = f"dbo.truck_{self.number}"
        server.create_table(relation, KINDS, ("id",), splits)
        self.trucks = Trucks(server, _opened(root), relation=relation, settings={"most": 2})
        self.lost, self.gaps, self.made = False, 0, itertools.count()
        self.new_instance(None)

    def commit(self, changes: list[tuple[str, int, object]]) -> None:
        self.trucks.server.run(*(s for one in changes for s in self.statements(*one)))

    def statements(self, what: str, number: int, with_: object) -> Iterator[sql.Composed]:
        at = self.trucks.relation
        if what == "put":
            yield put(number, str(with_), relation=at)
        elif what == "remove":
            yield remove(number, at)
        elif number != with_:
            yield remove(int(str(with_)), at)
            yield move(number, int(str(with_)), at)

    def capture(self, transactions: int | None) -> None:
        self.trucks.server.capture(transactions)

    def together(self, is_together: bool) -> None:
        self.trucks.server.together(is_together)

    def new_instance(self, _: None) -> None:
        if len(self.instances) < 2:
            name = f"truck_{self.number}_{next(self.made)}"
            self.trucks.server.enable(self.trucks.relation, name)
            self.instances.append(name)

    def old_instance_goes(self, _: None) -> None:
        """Before what only it has was read, at times."""
        if len(self.instances) == 2:
            before = self.unread()
            self.trucks.server.disable(self.instances.pop(0))
            self.lost |= self.unread() < before

    def cleanup(self, _: None) -> None:
        if not self.trucks.server.ask("select sys.fn_cdc_get_max_lsn()")[0][0]:
            return
        before = self.unread()
        for name in self.instances:
            begins = self.trucks.server.ask("select sys.fn_cdc_get_min_lsn(%s)", name)[0][0]
            if begins < self.trucks.server.newest():
                self.trucks.server.cleanup(name)
        self.lost |= self.unread() < before

    def unread(self) -> int:
        """Commits of the table that were captured, and stand where they can be read still."""
        if self.trucks.position is None:
            return 0
        edge = int(self.trucks.position).to_bytes(10, "big")
        found: set[bytes] = set()
        for name in self.instances:
            query = sql.SQL('select "__$start_lsn" from cdc.{} where "__$start_lsn" >= %s')
            table = query.format(sql.Identifier(f"{name}_CT")).as_string()
            found |= {bytes(row[0]) for row in self.trucks.server.ask(table, edge)}  # type: ignore[arg-type]
        return len(found)

    def load(self, _: None) -> None:
        if not self.trucks.server.ask("select sys.fn_cdc_get_max_lsn()")[0][0]:
            self.trucks.server.tick()
        try:
            self.trucks.load()
            assert not self.lost, "changes were lost, and nobody was told"
        except SourceGap:
            self.gaps += 1
            self.trucks.settings["accept_gap_at"] = self.trucks.position
            self.lost = False
            self.trucks.load()

    def killed(self, after: int) -> None:
        passed = itertools.count(1)

        def point(name: str) -> None:
            if next(passed) == after:
                raise Killed(name)

        original, crash.point = crash.point, point
        try:
            self.load(None)
        except Killed:
            pass
        finally:
            crash.point = original
        self.trucks.home = _opened(self.trucks.home.root)

    def end(self) -> None:
        """Let everything come in: the same table here and there, each change once."""
        self.trucks.server.together(False)
        self.trucks.server.tick()
        newest = int.from_bytes(self.trucks.server.newest(), "big")
        while int(self.trucks.position or 0) <= newest:
            self.load(None)
        log = self.trucks.log()
        assert folded(log) == self.trucks.state() == self.trucks.at_source()
        assert len({row["_event_id"] for row in log}) == len(log)
        assert len({place(row) for row in log if row["_op"] != "R"}) == len(
            [row for row in log if row["_op"] != "R"]
        )


def _opened(root: Path) -> PlatformHome:
    """A platform whose claims lapse at once: its last worker is dead."""
    ledger = Ledger(f"sqlite:///{root}/ledger.sqlite", lease_seconds=0.0)
    lake = Lake(root / "lake")
    warehouse = DuckDBWarehouse(root / "warehouse.duckdb", lake.root)
    return PlatformHome(root, ledger, lake, warehouse, Ingest(ledger, lake, warehouse))


@pytest.fixture(scope="module")
def server(postgres_server: str) -> SqlServer:
    """One for all histories: each has a table of its own."""
    import psycopg

    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("drop database if exists histories")
        connection.execute("create database histories")
    made = SqlServer(postgres_server.replace("/postgres?", "/histories?"))
    made.install()
    return made


@settings(
    max_examples=int(os.environ.get("MALACATE_HISTORIES", "12")),
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(steps=st.lists(STEPS, max_size=14), splits=st.booleans())
def test_the_log_tells_the_source_or_a_gap_was_told(
    server: SqlServer, steps: list[tuple[str, object]], splits: bool
) -> None:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        history = History(server, Path(folder), splits)
        for name, argument in steps:
            getattr(history, name)(argument)
        history.end()


WORKER = """
import sys
from pathlib import Path
from platform_tests.conftest import PlatformHome
from platform_tests.sources.sqlserver_standin import Trucks
from acme.simulator.sqlserver import SqlServer
Trucks(SqlServer(sys.argv[1]), PlatformHome.at(Path(sys.argv[2]))).load()
"""


@pytest.mark.parametrize("point", ["claimed", "parsed", "landed", "tx_rows", "committed", "loaded"])
def test_a_worker_that_is_killed_loses_and_doubles_nothing(
    postgres_url: str, platform_home: PlatformHome, point: str
) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "a")
    trucks.server.capture()
    trucks.load()
    trucks.server.run(put(1, "b"), put(2, "c"), move(2, 3))
    trucks.server.capture()
    told = subprocess.run(
        [sys.executable, "-c", WORKER, trucks.server.url, str(trucks.home.root)],
        env={**os.environ, "MALACATE_CRASH": f"{point}:1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert told.returncode == -9, told.stderr
    trucks.catch_up()
    assert folded(trucks.log()) == trucks.state() == trucks.at_source()
    assert trucks.operations() == ["R", "U", "I", "D", "I"]
