"""No table is published to more often than BigQuery lets it be; no script is too much for it."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_tests.emulators import parts
from platform_tests.test_ingest import TABLE, Files
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.engines import on_bigquery
from platform_tests.warehouse.test_bigquery_pruning import MOVES, Yard, new_yard, rows_of
from platform_tests.warehouse.test_warehouse import NAME

from malacate.batch import WriteMode
from malacate.ingest import Ingest, Report, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.names import TableName
from malacate.warehouse import bigquery_quotas
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_quotas import EACH_DAY, Pace
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Publication, Published, Warehouse

DAY = 86_400.0


def asked_at(pace: Pace, instants: Sequence[float]) -> list[float]:
    """When what was asked for at these instants was done, each asking again until it may."""
    done: list[float] = []
    for at in instants:
        now = max([at, *done[-1:]])
        while (
            wait := pace.pause(len(done) - bisect_left(done, now - DAY), now - done[-1])
            if done
            else 0
        ):
            now += wait
        done.append(now)
    return done


@given(st.integers(2, 40), st.lists(st.floats(0, 3 * DAY), max_size=150))
def test_no_day_has_more_than_it_may_and_nobody_waits_for_long(
    most: int, instants: list[float]
) -> None:
    done = asked_at(Pace(most), sorted(instants))
    for at in done:
        assert len([one for one in done if at - DAY < one <= at]) <= most
    waited = [d - max(a, p) for a, d, p in zip(sorted(instants), done, [0.0, *done], strict=False)]
    assert max(waited, default=0.0) <= DAY / (most // 2) + 1


def test_who_waits_as_long_as_it_is_told_comes_to_its_turn() -> None:
    """What is left of a wait may be less than the clock can show."""
    pace, last = Pace(7), 243427.46299218995
    turn = last
    for _ in range(3):
        turn += pace.pause(3, turn - last)
    assert pace.pause(3, turn - last) == 0.0


def test_by_default_a_batch_waits_two_minutes_at_most() -> None:
    assert EACH_DAY.pause(749, 0.0) == 0.0
    assert EACH_DAY.pause(750, 0.0) == pytest.approx(115.2)
    assert EACH_DAY.pause(1500, 115.2) == 0.0


class Clocked(DuckDBWarehouse):
    """Has the pace that BigQuery's has, by a clock of the test."""

    pace = Pace(10)
    now = 0.0

    def __init__(self, *where: Any) -> None:
        super().__init__(*where)
        self.done: list[float] = []

    def publish(self, publications: Sequence[Publication]) -> list[Published]:
        self.done.append(self.now)
        return super().publish(publications)

    def pause(self, table: TableName) -> float:
        recent = [one for one in self.done if one > self.now - DAY]
        return self.pace.pause(len(recent), self.now - recent[-1]) if recent else 0.0


class Feed:
    """Drops that come one by one, a run after each."""

    def __init__(self, warehouse: Warehouse, lake: Lake, folder: Path, now: Callable[[], float]):
        self.files = Files({})
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.sqlite", clock=now)
        self.ingest = Ingest(self.ledger, lake, warehouse)
        self.route = Route(TABLE, self.files, WriteMode.APPEND)

    def drop(self, number: int) -> Report:
        self.files.content[f"{number}.csv"] = [(number, 1.0)]
        return self.ingest.run(self.route)

    @property
    def due(self) -> int:
        return len(self.ledger.due(*self.route.batches))

    def ids(self) -> list[int]:
        return sorted(self.ingest.warehouse.read(NAME, ["id"]).column("id").to_pylist())


def test_a_hundred_drops_one_by_one_are_few_modifications_and_all_arrive(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    warehouse = Clocked(tmp_path / "w.duckdb", lake.root)
    feed, waited = Feed(warehouse, lake, tmp_path, lambda: warehouse.now), 0
    for number in range(100):
        warehouse.now += 300
        report = feed.drop(number)
        waited += len(report.paced)
        assert [w.reason for w in report.warnings] == (["paced"] if report.paced else [])
    assert waited
    while feed.ledger.batches(*feed.route.batches, BATCH.c.state != "loaded"):
        warehouse.now += 600
        if feed.due:
            feed.ingest.run(feed.route)
        assert warehouse.now < 2 * DAY
    assert feed.ids() == list(range(100))
    assert len(warehouse.done) <= 10
    assert sorted(feed.files.reads) == sorted(f"{number}.csv" for number in range(100))


def test_what_waits_has_landed_and_is_asked_for_by_another_key(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    warehouse = Clocked(tmp_path / "w.duckdb", lake.root)
    warehouse.pace = Pace(2)
    feed = Feed(warehouse, lake, tmp_path, lambda: warehouse.now)
    feed.drop(1)
    report = feed.drop(2)
    assert (feed.ids(), len(report.paced), feed.due) == ([1], 1, 0)
    assert lake.landed(NAME.schema, NAME.table, next(iter(report.paced))) is not None
    warehouse.now += DAY
    ((_, tries),) = feed.ledger.due(*feed.route.batches)
    assert tries == 1
    feed.files.content = {}
    feed.ingest.run(feed.route)
    assert feed.ids() == [1, 2]


def test_bigquery_tells_its_pace_by_the_markers(
    bigquery_server: parts.BigQuery, bigquery_url: str, tmp_path: Path
) -> None:
    engine = on_bigquery(bigquery_server, bigquery_url)
    warehouse = engine.warehouse
    assert isinstance(warehouse, BigQueryWarehouse)
    warehouse._pace = Pace(4)
    feed = Feed(warehouse, engine.lake, tmp_path, lambda: 0.0)
    paced = [len(feed.drop(number).paced) for number in range(5)]
    assert paced == [0, 0, 1, 2, 3]
    assert warehouse.pause(NAME) == pytest.approx(DAY / 2, abs=60)
    assert warehouse.pause(TableName("raw_lab", "core")) == 0.0
    a_day_passes = (
        "update malacate.loads set published_at = timestamp_sub(published_at, interval 1 day)"
    )
    warehouse._jobs.query(f"{a_day_passes} where true")
    assert feed.drop(5).paced == set()
    assert feed.ids() == list(range(6))
    asked = "select count(distinct published_at) as n from malacate.loads"
    assert warehouse.query(asked).to_pylist() == [{"n": 3}]


@pytest.fixture
def yard(bigquery_server: parts.BigQuery, bigquery_url: str) -> Yard:
    return new_yard(bigquery_server, bigquery_url)


@pytest.mark.parametrize(("limit", "number"), [("QUERY_BYTES", 2500), ("PARTITIONS_PER_JOB", 3)])
def test_what_is_too_much_for_one_script_is_published_by_several_in_order(
    yard: Yard, limit: str, number: int
) -> None:
    batches = Batches(yard.engine.lake, MOVES)
    many = [batches.of(drop(f"{n}.csv"), rows_of(n)) for n in range(7)]
    newer = [batches.of(drop("0.csv", 2), rows_of(40))]
    with mock.patch.object(bigquery_quotas, limit, number):
        done = yard.engine.warehouse.publish([*many, *newer])
    assert [one.outcome for one in done] == ["published"] * 8
    assert len(yard.scripts) > 1
    expected = [row for n in (*range(1, 7), 40) for row in rows_of(n)]
    assert yard.held() == sorted(expected, key=repr)


def test_one_batch_that_is_too_much_is_left_to_bigquery_to_refuse(yard: Yard) -> None:
    with mock.patch.object(bigquery_quotas, "PARTITIONS_PER_JOB", 0):
        yard.publish(Batches(yard.engine.lake, MOVES).of(drop(), rows_of(0)))
    assert len(yard.held()) == 10
