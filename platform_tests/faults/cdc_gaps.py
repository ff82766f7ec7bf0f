"""Changes that are lost at their source, each by a cause of its own: told, and made up for.

What is told names the slot or the table, where it happened and what to do. That is then done, and
nothing else; afterwards the state is the source's, with a tombstone for every key that went.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from platform_tests.faults.cases import Case
from platform_tests.faults.cdc_mine import ADD_COLUMN, PUBLICATION, TABLES, Mine, server, writing
from platform_tests.faults.cdc_reader import Reader, equal_rows
from platform_tests.faults.processes import told
from platform_tests.faults.verdict import Verdict
from platform_tests.sources.logical_postgres import logical_server, restored

from malacate.errors import MalacateError, SourceGap

LOST = (
    "delete from app.haul where id = 7",
    "update app.haul set tonnes = 77 where id = 8",
    "insert into app.haul values (99, 9.9, 'while nobody looked')",
    "delete from app.crew where nr = 3",
    "insert into app.shift values (99, 'while nobody looked')",
)
AFTER = (
    "insert into app.haul values (98, 1, 'it goes on')",
    "update app.crew set note = 'on' where nr = 4",
    "delete from app.shift where id = 99",
)

Step = Callable[[Mine, Reader], None]


def by_doctor(mine: Mine, reader: Reader, error: MalacateError) -> None:
    """``malacate doctor --fix``, as the error says."""
    assert "malacate doctor --fix" in error.advice, error.advice
    assert reader.fix(), "the doctor had nothing to do"


def by_owner(mine: Mine, reader: Reader, error: MalacateError) -> None:
    """The statement that the error gives to the table's owner."""
    found = re.search(r"alter table [\w.]+ replica identity full;", error.advice)
    assert found, error.advice
    mine.run(found[0])


@dataclass(frozen=True)
class Gap:
    """One cause; ``where`` says on which server it is provoked, if not on that of all."""

    cause: str
    reason: str
    provoke: Step
    plan: Callable[[Mine, Reader, MalacateError], None] = by_doctor
    where: Callable[[], Iterator[str]] | None = None

    def case(self, seed: int, mutant: str = "") -> Case:
        """It as a case."""

        def run(root: Path) -> Verdict:
            return told(root, lambda: self._history(root, seed), mutant)

        return Case(f"gap, {self.cause}", run, self.cause)

    def _history(self, root: Path, seed: int) -> Verdict:
        with contextmanager(self.where or _everybodys)() as url:
            mine = Mine.on(url)
            try:
                return self._on(root, mine, seed)
            finally:
                mine.forget()

    def _on(self, root: Path, mine: Mine, seed: int) -> Verdict:
        this = Verdict(injected=1)
        with writing(mine, root, seed) as writers:
            Reader(root, mine).step()
            writers.turn()
            mine.together(ADD_COLUMN)
            Reader(root, mine).step()
        self.provoke(mine, Reader(root, mine))
        error = self._must_be_told(Reader(root, mine), this)
        if error is None:
            return this
        self.plan(mine, Reader(root, mine), error)
        Reader(root, mine).step()
        mine.run(*AFTER)
        Reader(root, mine).step()
        reader = Reader(root, mine)
        for table in TABLES:
            equal_rows(reader, table, reader.log(table), this)
        return this

    def _must_be_told(self, reader: Reader, this: Verdict) -> MalacateError | None:
        before = reader.positions, [reader.state(t) for t in TABLES]
        try:
            reader.step()
        except SourceGap as error:
            self._is_told_well(error, reader, before, this)
            return error
        except MalacateError as error:
            this.problems.append(f"told as {type(error).__name__} {error.reason}: {error}")
            return None
        this.problems.append("changes were lost, and nobody was told")
        return None

    def _is_told_well(
        self, error: SourceGap, reader: Reader, before: tuple[object, object], this: Verdict
    ) -> None:
        if error.reason != self.reason:
            this.problems.append(f"told as {error.reason}, expected {self.reason}: {error}")
        facts = {"slot": error.object.startswith(reader.mine.name), "plan": bool(error.advice),
                 "table": error.source in {str(t.name) for t in TABLES},
                 "position": re.fullmatch(r"[0-9A-F]+/[0-9A-F]+", error.position)}  # fmt: skip
        if lacking := [name for name, is_there in facts.items() if not is_there]:
            this.problems.append(f"the error does not name {', '.join(lacking)}: {error}")
        named = [i for i, t in enumerate(TABLES) if str(t.name) == error.source]
        relation = [f"app.{TABLES[i].name.table}" for i in named]
        positions, states = before
        if any(reader.positions[r] != positions[r] for r in relation):  # type: ignore[index]
            this.problems.append("the table's position went on over the gap")
        if any(reader.state(TABLES[i]) != states[i] for i in named):  # type: ignore[index]
            this.problems.append("the state went on over the gap")


def _everybodys() -> Iterator[str]:
    yield server()


def _own() -> Iterator[str]:
    """A server whose settings are nobody else's business."""
    with logical_server() as url:
        yield url


def slot_dropped(mine: Mine, reader: Reader) -> None:
    mine.run(f"select pg_drop_replication_slot('{mine.name}')", *LOST)


def slot_advanced(mine: Mine, reader: Reader) -> None:
    mine.run(*LOST)
    mine.run(f"select pg_replication_slot_advance('{mine.name}', pg_current_wal_flush_lsn())")


def slot_recreated(mine: Mine, reader: Reader) -> None:
    slot_dropped(mine, reader)
    mine.run(f"select pg_create_logical_replication_slot('{mine.name}', 'pgoutput')")


def wal_removed(mine: Mine, reader: Reader) -> None:
    mine.run(*LOST, "alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
    noise = "create table if not exists app.noise (i int)"
    for _ in range(5):
        mine.run(noise, "insert into app.noise values (1)", "select pg_switch_wal()")
    mine.run("checkpoint", "checkpoint")


def publication_lost_a_table(mine: Mine, reader: Reader) -> None:
    mine.run(f"alter publication {PUBLICATION} drop table app.haul", *LOST)


def publication_dropped(mine: Mine, reader: Reader) -> None:
    mine.run(f"drop publication {PUBLICATION}", *LOST)


def identity_nothing(mine: Mine, reader: Reader) -> None:
    """Its updates and deletes fail at the source from now on; what is inserted still comes."""
    mine.run("alter table app.haul replica identity nothing",
             "insert into app.haul values (97, 1, 'inserted')")  # fmt: skip


def table_recreated(mine: Mine, reader: Reader) -> None:
    mine.run(
        "create table app.other (like app.haul including all)",
        "insert into app.other select * from app.haul where id > 5",
        "drop table app.haul",
        "alter table app.other rename to haul",
        f"alter publication {PUBLICATION} add table app.haul",
        *LOST,
    )


def _restorable() -> Iterator[str]:
    """A server that ends its recovery on another timeline before changes are lost."""
    home = Path(tempfile.mkdtemp(prefix="mlc"))
    with closing(restored(home)) as life:
        _LIVES[:] = [life]
        try:
            yield next(life)
        finally:
            shutil.rmtree(home, ignore_errors=True)


_LIVES: list[Iterator[str]] = []


def server_restored(mine: Mine, reader: Reader) -> None:
    next(_LIVES[0])
    mine.run(*LOST)


GAPS = (
    Gap("slot dropped", "slot_missing", slot_dropped),
    Gap("slot advanced by somebody", "consumed", slot_advanced),
    Gap("slot recreated under its name", "consumed", slot_recreated),
    Gap("slot's WAL removed", "wal_lost", wal_removed, where=_own),
    Gap("publication lost a table", "not_published", publication_lost_a_table),
    Gap("publication dropped", "not_published", publication_dropped),
    Gap("replica identity nothing", "no_replica_identity", identity_nothing, by_owner),
    Gap("table recreated", "other_identity", table_recreated),
    Gap("server restored", "other_identity", server_restored, where=_restorable),
)

SHORT = ("slot dropped", "table recreated", "SQL Server cleaned up")
"""Those of the short form."""


def gap_cases(seed: int, mutant: str = "") -> list[Case]:
    """Every gap of a slot; those with a server of their own first, they take longest."""
    return [gap.case(seed, mutant) for gap in sorted(GAPS, key=lambda g: g.where is None)]
