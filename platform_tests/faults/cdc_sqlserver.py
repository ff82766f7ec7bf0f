"""The same for SQL Server, on its stand-in: readers that die while writers go on."""

import itertools
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from platform_tests.conftest import PlatformHome
from platform_tests.faults.cases import KILLED, Case, Size
from platform_tests.faults.cdc_kills import LAND, PATIENCE_SECONDS, PUBLISH, RANDOM
from platform_tests.faults.cdc_mine import server
from platform_tests.faults.expected import cell
from platform_tests.faults.processes import Process, apart, told
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, STUCK, note, notes
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
from malacate.errors import MalacateError
from malacate.ingest import Ingest
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.warehouse.duckdb import DuckDBWarehouse

INSTANCE = "dbo_truck"
MOST = 4
"""Transactions in a window, so that a run that catches up takes several."""

HARMLESS = {"Fenced", "WarehouseBusy"}


def database() -> str:
    """URL of a new one."""
    name = f"q_{uuid.uuid4().hex[:20]}"
    with psycopg.connect(server(), autocommit=True) as connection:
        connection.execute(f"create database {name}".encode())
    return server().replace("/postgres?", f"/{name}?")


def installed() -> SqlServer:
    """A stand-in with a table of trucks, captured."""
    made = SqlServer(database())
    made.install()
    made.create_table(TRUCK, KINDS, ("id",))
    made.enable(TRUCK, INSTANCE)
    made.run(*(put(number, "first") for number in range(1, 10)))
    made.tick()
    return made


def trucks(root: Path, sql_server: SqlServer, **settings: Any) -> Trucks:
    """The platform at ``root``, as a process has it."""
    lake = Lake(root / "lake")
    ledger = Ledger(f"sqlite:///{root}/ledger.db", max_crashes=1_000_000)
    warehouse = DuckDBWarehouse(root / "warehouse.duckdb", lake.root)
    home = PlatformHome(root, ledger, lake, warehouse, Ingest(ledger, lake, warehouse))
    return Trucks(sql_server, home, settings={"most": MOST, **settings})


@dataclass
class Writers:
    """A process that changes trucks and one that captures, until the end."""

    sql_server: SqlServer
    root: Path
    seed: int
    begun: list[Process] = field(default_factory=list)

    def __enter__(self) -> "Writers":
        log = self.root / "writers.log"
        self.begun = [Process(self._write, log), Process(self._capture, log)]
        return self

    def __exit__(self, *_: object) -> None:
        (self.root / "stop").touch()
        codes = [one.wait(30) for one in self.begun]
        if any(codes):
            raise AssertionError((self.root / "writers.log").read_text())

    def _write(self) -> int:
        choice = random.Random(self.seed)
        while not (self.root / "stop").exists():
            with suppress(psycopg.errors.UniqueViolation):
                self.sql_server.run(*(change(choice) for _ in range(choice.randrange(1, 6))))
            time.sleep(choice.random() * 0.2)
        return DONE

    def _capture(self) -> int:
        choice = random.Random(self.seed + 1)
        while not (self.root / "stop").exists():
            self.sql_server.together(choice.random() < 0.3)
            self.sql_server.capture(choice.choice((1, 3, None)))
            time.sleep(choice.random() * 0.1)
        return DONE


def change(choice: random.Random) -> sql.Composed:
    number, name = choice.randrange(30), str(choice.random())
    made = (put(number, name), put(number, name), remove(number), move(number, number + 30))
    return choice.choice(made)


def work(root: Path, sql_server: SqlServer) -> int:
    """The body of a worker process: windows until it has caught up, or ten."""
    try:
        one = trucks(root, sql_server)
        for _ in range(10):
            before = one.position
            one.load()
            if one.position == before:
                break
    except MalacateError as error:
        note(root, "errors", [type(error).__name__, error.source, str(error)[:600]])
        return STUCK
    return DONE


def kills(name: str, aims: list[str], seed: int, mutant: str = "") -> Case:
    """Kills one after the other under writers; an empty aim is a random moment."""

    def run(root: Path) -> Verdict:
        choice, died, sql_server = random.Random(seed), Counter[str](), installed()
        with Writers(sql_server, root, seed):
            for aim in aims:
                child = apart(root, lambda: work(root, sql_server), aim, mutant)
                if not aim:
                    time.sleep(choice.uniform(0.02, 0.8))
                    child.send(signal.SIGKILL)
                code = child.wait(PATIENCE_SECONDS)
                died[_named(aim.partition(":")[0] or RANDOM)] += code == KILLED
        verdict = told(root, lambda: judge(root, sql_server), mutant)
        verdict.injected, verdict.hits = died.total(), dict(+died)
        return verdict

    return Case(name, run)


def _named(point: str) -> str:
    return f"SQL Server, {point}"


POINTS = ("seen", *LAND, *PUBLISH)
PASSED = tuple(map(_named, (*POINTS, RANDOM)))
"""What hits are counted under."""


def judge(root: Path, sql_server: SqlServer) -> Verdict:
    """Catch up, and compare: state and source, log and change table."""
    this, one = Verdict(), trucks(root, sql_server)
    sql_server.together(False)
    try:
        one.catch_up()
    except MalacateError as error:
        this.problems.append(f"did not finish: {error}")
        return this
    log = one.log()
    equal(one, this)
    begins = min(place(row)[:2] for row in log)
    query = f'select "__$start_lsn", "__$operation" from cdc."{INSTANCE}_CT"'
    letters = {1: "D", 2: "I", 4: "U"}
    wanted = Counter(
        (bytes(lsn).hex(), letters[operation])
        for lsn, operation in sql_server.ask(query)  # type: ignore[arg-type]
        if operation in letters and _halves(bytes(lsn)) > begins
    )
    came = Counter(
        (((row["_position_hi"] << 16) | row["_position_lo"]).to_bytes(10, "big").hex(), row["_op"])
        for row in log if not row["_is_snapshot"]
    )  # fmt: skip
    this.compare("the log", wanted, came)
    for kind, table, text in notes(root, "errors"):
        this.fenced += kind == "Fenced"
        if kind not in HARMLESS:
            this.problems.append(f"raised {kind} for {table}: {text}")
    return this


def _halves(lsn: bytes) -> tuple[int, int]:
    return int.from_bytes(lsn[:8], "big"), int.from_bytes(lsn[8:], "big")


def equal(one: Trucks, this: Verdict) -> None:
    log = one.log()
    source, state, by_log = map(_counted, (one.at_source(), one.state(), folded(log)))
    this.compare("the state", source, state)
    this.compare("the log, folded", source, by_log)
    kept = one.home.warehouse.read(one.table.name).to_pylist()
    gone = {row["id"] for row in kept if row["is_deleted"]}
    came = {row["id"] for row in log if row["_op"] != "T"}
    if gone != came - one.at_source().keys():
        this.problems.append("tombstones are not the keys that went")
    if len({row["_event_id"] for row in log}) != len(log):
        this.problems.append("an event stands twice in the log")


def _counted(rows: Mapping[int, Mapping[str, Any]]) -> Counter[tuple[str, ...]]:
    return Counter((cell(k), cell(v["name"]), f"{v['load_t']:.3f}") for k, v in rows.items())


def kill_cases(size: Size, seed: int, mutant: str = "") -> list[Case]:
    """Between reading, landing and publishing."""
    choice = random.Random(seed)
    if not size.is_long:
        aims = [*(f"{choice.choice(step)}:1" for step in (LAND, LAND, PUBLISH, PUBLISH)), ""]
        return [kills("SQL Server, killed", aims, seed, mutant)]
    aims = [f"{point}:{hit}" for point, hit in zip(POINTS, itertools.cycle((1, 2)), strict=False)]
    choice.shuffle(aims)
    return [
        kills("SQL Server, killed", aims, seed, mutant),
        kills("SQL Server, killed at random", ["landed:1", "tx_rows/publish:2", *[""] * 8],
              seed + 1, mutant),
    ]  # fmt: skip
