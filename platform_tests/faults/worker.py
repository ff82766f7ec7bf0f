"""A worker: runs every route until nothing is left, and notes what it met."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platform_tests.faults import mutants
from platform_tests.faults.routes import ROUTES, routes_of
from platform_tests.faults.world import ACTS, World

from malacate import crash
from malacate.batch import Found, Reading
from malacate.errors import Fenced, MalacateError
from malacate.ingest import Ingest, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.warehouse.duckdb import DuckDBWarehouse

DONE, STUCK = 0, 3


@dataclass(frozen=True)
class Orders:
    """What one worker is to do, and what is to happen to it."""

    crash: str = ""
    pause: str = ""
    mutant: str = ""
    deadly: str = ""
    turn: int = 0
    routes: int = ROUTES
    acts: int = ACTS
    serve: bool = False
    lease_seconds: float = 300.0
    max_crashes: int = 3
    patience_seconds: float = 20.0
    rounds: int = 12


def work(root: Path, orders: Orders) -> int:
    """The body of a worker process; its exit code says whether anything is left."""
    arm(orders.crash, orders.pause, orders.mutant)
    ingest = platform_of(root, orders)
    if orders.serve:
        return _serve(root, ingest, orders)
    for act in range(1, orders.acts + 1):
        world = World(root)
        world.perform(act)
        if world.act == act and not _drain(root, ingest, act, orders):
            return STUCK
    return DONE


def arm(at: str = "", pause: str = "", mutant: str = "") -> None:
    """Let this process die or stop at a point, and plant a bug in it."""
    os.environ.update(MALACATE_CRASH=at, MALACATE_PAUSE=pause)
    crash.point = _told_apart(crash._armed())
    mutants.apply(mutant)


def platform_of(root: Path, orders: Orders) -> Ingest:
    """Ledger, lake and warehouse of a world."""
    url = f"sqlite:///{root}/ledger.db"
    lake = Lake(root / "lake")
    patience = orders.patience_seconds
    return Ingest(
        Ledger(url, lease_seconds=orders.lease_seconds, max_crashes=orders.max_crashes),
        lake,
        DuckDBWarehouse(root / "warehouse.duckdb", lake.root, patience_seconds=patience),
    )


def _drain(root: Path, ingest: Ingest, act: int, orders: Orders) -> bool:
    for _ in range(orders.rounds):
        routes = routes_of(root, act, orders.turn, orders.routes)
        quiet = [_run(root, ingest, route, orders) for route in routes]
        if all(quiet):
            return True
        time.sleep(0.05)
    return False


def _serve(root: Path, ingest: Ingest, orders: Orders) -> int:
    while not (root / "stop").exists():
        for route in routes_of(root, World(root).act):
            _run(root, ingest, route, orders)
    return DONE


def _run(root: Path, ingest: Ingest, route: Route, orders: Orders) -> bool:
    """Whether the route came to rest."""
    if orders.deadly:
        route = replace(route, source=_Deadly(route.source, orders.deadly))
    try:
        ingest.run(route)
    except Exception as error:
        kind = "Fenced" if isinstance(error, Fenced) else type(error).__name__
        note(root, "errors", [kind, str(route.table.name), str(error)[:400]])
        known = isinstance(error, MalacateError)
        return False if known else bool(time.sleep(0.02))
    table = route.table
    waiting = (BATCH.c.source == table.source) & (BATCH.c.table_name == table.name.table)
    return not ingest.ledger.batches(waiting & BATCH.c.state.in_(("seen", "processing")))


def note(root: Path, name: str, what: Any) -> None:
    """A line that survives the worker."""
    with (root / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps(what) + "\n")


def notes(root: Path, name: str) -> Iterator[Any]:
    """The lines that workers left."""
    file = root / f"{name}.jsonl"
    if file.exists():
        yield from map(json.loads, file.read_text().splitlines())


def _told_apart(point: Callable[[str], None]) -> Callable[[str], None]:
    """Passings inside a publication count once more, as ``name/publish``: most are mere reads."""
    inside: list[bool] = []
    original = DuckDBWarehouse.publish

    def publish(self: DuckDBWarehouse, publications: Any) -> Any:
        inside.append(True)
        try:
            return original(self, publications)
        finally:
            inside.pop()

    def passing(name: str) -> None:
        point(name)
        if inside:
            point(f"{name}/publish")

    DuckDBWarehouse.publish = publish  # type: ignore[method-assign]
    return passing


@dataclass(frozen=True)
class _Deadly:
    """A source with one object that no worker survives."""

    source: Any
    object: str
    supersedes: bool = True

    def discover(self, known: Any) -> list[Found]:
        return list(self.source.discover(known))

    def read(self, found: Found, lake: Lake) -> Reading:
        reading: Reading = self.source.read(found, lake)
        if found.object == self.object:
            os.kill(os.getpid(), signal.SIGKILL)
        return reading
