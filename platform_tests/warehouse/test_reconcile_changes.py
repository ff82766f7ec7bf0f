"""A slot's state in each warehouse against its source: the same answers from every engine."""

from pathlib import Path

from platform_tests.conftest import PlatformHome
from platform_tests.sources.logical_postgres import logical_postgres, logical_url
from platform_tests.sources.slots import DDL, TRUCK, Mine
from platform_tests.warehouse.engines import Engine

from malacate.ingest import Ingest
from malacate.ledger.ledger import Ledger
from malacate.reconcile import Difference
from malacate.reconcile_changes import reconcile_changes

__all__ = ["logical_postgres", "logical_url"]


def counts(told: Difference) -> tuple[int, int, int, int]:
    return told.lost, told.twice, told.wrong, told.behind


def test_lost_wrong_and_behind_are_told_by_key_whatever_the_warehouse(
    engine: Engine, logical_url: str, tmp_path: Path
) -> None:
    ledger, warehouse = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite"), engine.warehouse
    ingest = Ingest(ledger, engine.lake, warehouse)
    home = PlatformHome(tmp_path, ledger, engine.lake, warehouse, ingest)  # type: ignore[arg-type]
    mine = Mine(logical_url, home, f"w_{engine.name}_{tmp_path.name[-20:]}", (TRUCK,))
    mine.run(*DDL, "insert into app.truck select g, 'n' || g from generate_series(1, 60) g")
    mine.load()
    mine.run("update app.truck set note = 'x' where id = 7", "delete from app.truck where id = 8")
    mine.load()
    assert counts(reconcile_changes(mine.route(TRUCK), ingest)) == (0, 0, 0, 0)
    mine.run("update app.truck set note = 'later' where id = 9")
    # Rows that nobody logged: the source is changed where the slot does not look.
    mine.run("alter publication app_changes set (publish = '')")
    mine.run(
        "update app.truck set note = 'unseen' where id = 10",
        "delete from app.truck where id = 11",
        "insert into app.truck values (200, 'unseen')",
    )
    mine.run("alter publication app_changes set (publish = 'insert, update, delete, truncate')")
    told = reconcile_changes(mine.route(TRUCK), ingest, is_full=True)
    assert (counts(told), sorted(told.examples)) == ((1, 1, 1, 1), [
        "lost 200", "twice 11", "wrong 10",
    ])  # fmt: skip
    first = reconcile_changes(mine.route(TRUCK), ingest, rows=10)
    every = int(first.ranges.partition(" of ")[2])
    looks = [first, *(reconcile_changes(mine.route(TRUCK), ingest, turn, rows=10)
                      for turn in range(1, every))]  # fmt: skip
    assert sorted(key for one in looks for key in one.examples) == sorted(told.examples)
