"""The mine: starts its source systems, lets hours pass, stops them. The rest of it is behind this.

The row of ``app.clock`` is the one commit point. The plant, and the files of laboratory and
geophones, come before it: a tick that is repeated does the same again. Change files come after it,
from the database's log: what was committed and not told yet is told by the next start or tick.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
import pyarrow as pa

from acme.simulator import datastream, geophones, lab, phones, traces
from acme.simulator.drops import as_json, deliver
from acme.simulator.history import history
from acme.simulator.hour import live
from acme.simulator.journal import Journal
from acme.simulator.plant import Plant
from acme.simulator.postgres import Connection, Postgres, copy
from acme.simulator.replication import STREAMED, Log, publish
from acme.simulator.tables import TABLES
from acme.simulator.truth import Truth
from acme.simulator.world import World


@dataclass(frozen=True)
class Systems:
    """Where the mine's systems are: its databases, and the folder of its drops.

    ``drops`` holds ``lab``, ``datastream``, ``geophones`` and ``mobile``.
    """

    production_url: str
    plant_url: str
    drops: Path


@dataclass(frozen=True)
class TickReport:
    """What some hours brought: changes per table, new or rewritten files per drop."""

    ticks: int
    now_at: datetime
    inserted: dict[str, int]
    updated: dict[str, int]
    deleted: dict[str, int]
    files: dict[str, int]


class Mine:
    """The mine under ``home``: ``postgres``, ``drops``, ``held``, ``truth`` and ``mine.json``."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._postgres = Postgres(self._home / "postgres")
        self._drops = self._home / "drops"
        self._truth = Truth(self._home / "truth")
        self._log = Log(self._postgres)
        self._plant = Plant(self._postgres, self._truth)

    def start(self, seed: int = 7, scale: float = 1.0) -> Systems:
        """Make what is missing and start the databases. What exists keeps its seed and scale."""
        if not self._identity.exists():
            deliver(self._identity, as_json({"seed": seed, "scale": scale}))
        self._postgres.start()
        world = self._world()
        with self._alone():
            with self._postgres.connect() as connection:
                is_new = not _has_clock(connection)
                rows = {} if self._truth.is_written and not is_new else history(world)
                if is_new:
                    _load(connection, world, rows)
                elif not _is_published(connection):
                    raise RuntimeError(f"an earlier version made the mine in {self._home}: "
                                       "`make clean` forgets it")  # fmt: skip
            self._log.begin()
            self._plant.start(world)
            if rows:
                self._tell_history(world, rows)
            self._catch_up(world)
        return self.systems()

    def tick(self, hours: int = 1) -> TickReport:
        """Let ``hours`` pass in the simulated world."""
        world, counts = self._world(), Counter[tuple[str, str]]()
        for _ in range(hours):
            with self._alone():
                self._catch_up(world)
                counts += self._hour(world)
        ticks = self._ticks(world)
        found = {
            kind: {n: c for (k, n), c in sorted(counts.items()) if k == kind} for kind in _KINDS
        }
        return TickReport(
            ticks=ticks,
            now_at=world.after(ticks),
            inserted=found["INSERT"],
            updated=found["UPDATE"],
            deleted=found["DELETE"],
            files=found["file"],
        )

    def stop(self) -> None:
        """Stop the database; everything stays on disk."""
        self._postgres.stop()

    def is_running(self) -> bool:
        """Whether its database answers."""
        return self._postgres.is_running()

    def systems(self) -> Systems:
        """Where the systems are. The mine must be running."""
        if not self.is_running():
            raise RuntimeError(f"the mine in {self._home} does not run: malacate simulate start")
        return Systems(self._postgres.url, self._plant.url, self._drops)

    @property
    def _identity(self) -> Path:
        return self._home / "mine.json"

    def _world(self) -> World:
        known = json.loads(self._identity.read_text())
        return World(known["seed"], known["scale"])

    def _ticks(self, world: World) -> int:
        with self._postgres.connect() as connection:
            return _ticks(connection, world)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time, so that a tick tells its own changes."""
        self.systems()
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext('mine'))")
            yield

    def _tell_history(self, world: World, rows: dict[str, pa.Table]) -> None:
        for table in STREAMED:
            self._truth.note_rows("datastream", TABLES[table], rows[table])
        datastream.backfill(world, self._drops / "datastream", rows)
        for number in range(lab.DAYS):
            lab.RockFile(world, number).deliver(self._drops / "lab", self._truth.folder)
        for hour in geophones.hours_of_history(world):
            geophones.deliver_hour(world, self._drops / "geophones", self._truth.folder, hour)
        traces.deliver_hour(world, self._drops / "traces", self._truth.folder, -1)
        phones.deliver_history(world, self._drops / "mobile", self._truth.folder)
        self._truth.note_state(world, 0)

    def _catch_up(self, world: World) -> None:
        """Tell what was committed by a tick that was cut off."""
        ticks = self._ticks(world)
        if self._truth.ticks < ticks:
            self._tell_changes(world, ticks)

    def _tell_changes(self, world: World, tick: int) -> list[Path]:
        """Deliver the change files of a tick, then let the log go."""
        logged, end = self._log.waiting()
        drops, held = self._drops / "datastream", self._home / "held"
        made = datastream.stream(world, drops, held, tick, logged)
        self._log.forget(end)
        self._truth.note_state(world, tick)
        return made

    def _hour(self, world: World) -> Counter[tuple[str, str]]:
        tick = self._ticks(world) + 1
        if tick == _ROUND_TICK:
            self._postgres.pass_round_position()
        with self._postgres.connect() as connection:
            journal = Journal(connection, world.after(tick))
            live(world, tick, journal)
            self._plant.live(world, tick)
            counts = Counter[tuple[str, str]](
                (change.kind, change.table) for change in journal.changes
            )
            for drop, paths in self._deliver(world, tick, journal).items():
                counts["file", drop] += len(paths)
            connection.execute("UPDATE app.clock SET now_at = %s", [journal.now])
        counts["file", "datastream"] += len(self._tell_changes(world, tick))
        return counts

    def _deliver(self, world: World, tick: int, journal: Journal) -> dict[str, list[Path]]:
        truth, hour = self._truth.folder, tick - 1
        for table in STREAMED:
            self._truth.note_changes("datastream", TABLES[table], journal.changes)
        vibration = self._drops / "geophones"
        return {
            "lab": [file.deliver(self._drops / "lab", truth) for file in lab.due(world, tick)],
            "geophones": geophones.deliver_hour(world, vibration, truth, hour)
            + geophones.deliver_late(world, vibration, truth, hour - 1),
            "traces": traces.deliver_hour(world, self._drops / "traces", truth, hour),
            "mobile": phones.deliver_hour(world, self._drops / "mobile", truth, hour),
        }


_ROUND_TICK = 2
"""Before it the log's positions grow longer by a digit."""

_KINDS = ("INSERT", "UPDATE", "DELETE", "file")


def _has_clock(connection: Connection) -> bool:
    row = connection.execute("SELECT to_regclass('app.clock') AS clock").fetchone()
    return row is not None and row["clock"] is not None


def _is_published(connection: Connection) -> bool:
    row = connection.execute("SELECT count(*) AS there FROM pg_publication").fetchone()
    return row is not None and row["there"] > 0


def _ticks(connection: Connection, world: World) -> int:
    row = connection.execute("SELECT now_at FROM app.clock").fetchone()
    if row is None:
        raise LookupError("app.clock has lost its row")
    now_at: datetime = row["now_at"]
    return round((now_at - world.end).total_seconds() / 3600)


def _load(connection: Connection, world: World, rows: dict[str, pa.Table]) -> None:
    """Schema, rows, then keys between tables: one transaction, so never half a mine."""
    connection.execute("CREATE SCHEMA app")
    for name, table in TABLES.items():
        connection.execute(table.create())
        copy(connection, table.identifier, rows[name])
    for table in TABLES.values():
        for statement in table.finish():
            connection.execute(statement)
    connection.execute("CREATE TABLE app.clock (now_at timestamptz NOT NULL)")
    connection.execute("INSERT INTO app.clock VALUES (%s)", [world.end])
    publish(connection)
    connection.execute("ANALYZE")
