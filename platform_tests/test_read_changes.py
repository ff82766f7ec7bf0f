"""Change tables as their source had them at an instant, whenever it was published."""

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.company import Command, Company, malacate, shop
from platform_tests.emulators.parts import BigQuery, GoogleSQL
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.conftest import (
    bigquery_proxied,
    bigquery_server,
    bigquery_url,
    engine,
    storage,
)
from platform_tests.warehouse.engines import Engine, on_bigquery, on_duckdb
from platform_tests.warehouse.test_bigquery_words import Strict, analyzer
from platform_tests.warehouse.test_fold import (
    EPOCH,
    LOG,
    STATE,
    Key,
    Source,
    Values,
    backfilled,
    change,
    placed,
    shown,
)

from malacate.contracts.changes import STATE_COLUMNS
from malacate.errors import ConfigError
from malacate.names import TableName
from malacate.readers import read as readers
from malacate.readers.rows import Rows
from malacate.warehouse.fold import Fold

__all__ = [
    "analyzer", "bigquery_proxied", "bigquery_server", "bigquery_url", "engine", "malacate", "shop",
    "storage",
]  # fmt: skip
KEY = "raw/lab/truck"
A, B = ("a", 1), ("b", 1)
Row = dict[str, Any]


def after(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)


def publish(engine: Engine, *files: Sequence[Row], first: int = 0) -> None:
    make, fold = Batches(engine.lake, LOG), Fold(STATE)
    engine.warehouse.ensure([LOG, fold.target])
    publications = [
        make.of(drop(f"{n}"), placed(rows), derives=fold, replaces_older=False)
        for n, rows in enumerate(files, first)
    ]
    for one in publications:
        engine.lake.commit(one.landing)
    engine.warehouse.publish(publications)


def at(engine: Engine, instant: datetime, **asked: Any) -> Rows:
    def no_lake() -> Any:
        raise AssertionError("the log is in the warehouse")

    return readers.at(engine.warehouse, no_lake, lambda: STATE.key, KEY, instant, **asked)


def by_key(found: Rows) -> dict[Key, Row]:
    rows = found.arrow().to_pylist()
    keyed = {(row["site"], row["id"]): row for row in rows}
    assert len(keyed) == len(rows)
    return keyed


@dataclass
class Remembering(Source):
    """A source that knows what it held after each second."""

    held: list[dict[Key, Values | None]] = field(default_factory=list)

    def step(self, key: Key, values: Values, at: int) -> None:
        self.held.append(self.expected())
        super().step(key, values, at)

    def live(self, steps: int) -> None:
        super().live(steps)
        self.held.append(self.expected())

    @property
    def begins(self) -> int:
        """The second from which on its log is complete, as far as the log tells."""
        snapshots = [one["_source_at"] for one in self.log if one["_is_snapshot"]]
        return int((min(snapshots, default=after(1)) - EPOCH).total_seconds())


@st.composite
def delivered(draw: st.DrawFn) -> tuple[Remembering, list[list[Row]]]:
    """A history, and its changes shuffled, repeated, and cut into files."""
    source = Remembering(draw(st.randoms(use_true_random=False)))
    source.live(draw(st.integers(1, 24)))
    order = draw(st.permutations([*source.log, *source.log[:3]]))
    return source, [list(order[::2]), list(order[1::2])]


def is_as_it_was(
    engine: Engine, source: Remembering, seconds: Iterable[int], later: float = 0
) -> None:
    """``later`` is a part of a second: nothing was changed within one."""
    for second in seconds:
        held = source.held[second]
        if second < source.begins:
            with pytest.raises(ConfigError, match="begins after"):
                at(engine, after(second))
            continue
        assert shown(by_key(at(engine, after(second + later)))) == held
    now = readers.now(engine.warehouse, KEY).arrow()
    last = at(engine, datetime.now(UTC)).arrow()
    assert last.schema == now.schema
    in_order = [(name, "ascending") for name in STATE.key]
    assert last.sort_by(in_order).equals(now.sort_by(in_order))


@settings(max_examples=10)
@given(delivered(), st.randoms(use_true_random=False), st.sampled_from([0, 0.999999]))
def test_each_instant_gives_what_the_source_held_then(
    history: tuple[Remembering, list[list[Row]]], choose: random.Random, later: float
) -> None:
    source, files = history
    seconds = choose.sample(range(len(source.held)), k=min(4, len(source.held)))
    with TemporaryDirectory() as folder:
        engine = on_duckdb(Path(folder))
        publish(engine, *files)
        is_as_it_was(engine, source, seconds, later)


def test_every_engine_gives_what_the_source_held(engine: Engine) -> None:
    source = Remembering(random.Random(5))
    source.live(9)
    publish(engine, source.log[1::2], source.log[::2])
    is_as_it_was(engine, source, range(len(source.held)))


def test_what_is_asked_of_bigquery_is_googlesql(
    bigquery_server: BigQuery, bigquery_url: str, analyzer: GoogleSQL
) -> None:
    class Reading(Strict):
        """What publishes is a script, which its own tests have analyzed."""

        def query(self, query: str, job_config: Any = None, **more: Any) -> Any:
            ask = super() if query.lower().startswith("select") else super(Strict, self)
            return ask.query(query, job_config=job_config, **more)

    strict = type("Analyzed", (Reading,), {"analyzer": analyzer, "seen": 0})
    engine = on_bigquery(bigquery_server, bigquery_url, client=strict)
    publish(engine, [change("I", A, (1, "x"), 1), change("U", A, (2, "y"), 2)])
    assert shown(by_key(at(engine, after(1), partition=("value", 0, 9)))) == {A: (1, "x")}


def test_a_change_that_comes_late_is_among_those_of_its_instant(engine: Engine) -> None:
    publish(engine, [change("I", A, (1, "x"), 1), change("U", A, (3, "x"), 9)])
    before = at(engine, after(5))
    publish(engine, [change("U", A, (2, "x"), 4)], first=1)
    now = at(engine, after(5))
    assert shown(by_key(before)) == {A: (1, "x")}
    assert shown(by_key(now)) == {A: (2, "x")}
    assert (before.changed_at, now.changed_at) == (after(1), after(4))
    assert before.fingerprint != now.fingerprint


def test_the_fingerprint_is_that_of_the_changes_by_then(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    publish(engine, [change("I", A, (1, "x"), 1), change("U", A, (2, "y"), 4)])
    first, second = at(engine, after(1)), at(engine, after(4))
    assert first.batches == second.batches
    assert first.fingerprint != second.fingerprint
    publish(engine, [change("U", A, (3, "z"), 9)], first=1)
    for instant, same in ((1, first), (3, first), (4, second), (8, second)):
        assert at(engine, after(instant)).fingerprint == same.fingerprint
    assert len(at(engine, after(9)).batches) == 2


def test_a_moved_row_takes_along_what_was_not_sent(engine: Engine) -> None:
    half = {"_is_key_change": True}
    publish(
        engine,
        [
            change("I", A, (1, "large"), 1),
            change("D", A, at=5, seq=0, **half),
            change("I", B, (2, None), 5, 1, _missing="note", **half),
        ],
    )
    assert shown(by_key(at(engine, after(4)))) == {A: (1, "large")}
    assert shown(by_key(at(engine, after(5)))) == {A: None, B: (2, "large")}


@pytest.mark.parametrize(
    ("first", "begins"),
    [(backfilled(A, (2, "y"), 5), 5), (change("U", A, (2, "y"), 7), 3)],
    ids=["a snapshot", "no snapshot"],
)
def test_an_instant_before_the_log_begins_is_refused_with_the_first(
    tmp_path: Path, first: Row, begins: int
) -> None:
    engine = on_duckdb(tmp_path)
    publish(engine, [change("I", A, (1, "x"), 3), first])
    with pytest.raises(ConfigError, match="begins after") as refused:
        at(engine, after(begins - 0.000001))
    assert refused.value.expected.startswith(after(begins).isoformat())
    assert len(at(engine, after(begins))) == 1


def test_a_log_without_a_change_says_so(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    publish(engine, [])
    with pytest.raises(ConfigError, match="begins after") as refused:
        at(engine, datetime.now(UTC))
    assert refused.value.expected == "no change has come"


def test_columns_and_partitions_are_read_of_the_past_as_of_now(engine: Engine) -> None:
    publish(engine, [change("I", A, (1, "x"), 1), change("I", B, (5, "y"), 2)])
    asked: list[dict[str, Any]] = [
        {"columns": ["note"], "partition": ("value", 0, 3)},
        {"columns": "_op", "partition": ("site", "a")},
        {"columns": ["is_deleted", "site"], "partition": ("_source_at", after(0), after(2))},
    ]
    for one in asked:
        then = at(engine, datetime.now(UTC), **one).arrow()
        assert then.num_rows == 1
        assert then.equals(readers.now(engine.warehouse, KEY, **one).arrow())
    with pytest.raises(ConfigError, match="'notes'"):
        at(engine, after(9), columns="notes")


@pytest.mark.parametrize("instant", [datetime(2026, 11, 3), datetime.now(UTC) + timedelta(9)])
def test_an_instant_without_zone_or_to_come_is_refused(tmp_path: Path, instant: datetime) -> None:
    engine = on_duckdb(tmp_path)
    publish(engine, [change("I", A, (1, "x"), 1)])
    with pytest.raises(ConfigError, match="no instant that has been"):
        at(engine, instant)


def test_the_log_itself_is_read_as_it_was_published(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    publish(engine, [change("I", A, (1, "x"), 1)])
    published = datetime.now(UTC)
    publish(engine, [change("U", A, (2, "x"), 2)], first=1)

    def log(instant: datetime) -> Rows:
        lake: Callable[[], Any] = lambda: engine.lake  # noqa: E731
        return readers.at(engine.warehouse, lake, lambda: (), f"{KEY}_changes", instant)

    assert (len(log(published)), len(log(datetime.now(UTC)))) == (1, 2)


def test_a_table_that_has_a_states_columns_without_a_log_is_none(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    lonely = STATE.having(*STATE_COLUMNS, name="lonely")
    engine.warehouse.ensure([lonely])
    with pytest.raises(ConfigError, match="computed, and written over"):
        readers.at(
            engine.warehouse, lambda: engine.lake, lambda: (), "raw/lab/lonely", datetime.now(UTC)
        )
    assert TableName("raw_lab", "lonely") == lonely.name


DECLARED = """
type: malacate.components.ChangeFiles
attributes:
  source: shop
  folder: ${SHOP_DROPS}
  tables: [{name: refund, files: ["changes/*.json"]}]
  decimals: string
"""


def debezium(op: str, amount: str | None, second: int) -> str:
    at = int(after(second).timestamp() * 1000)
    row = {"sale_id": 1, "amount": amount}
    about = {"connector": "postgresql", "schema": "public", "table": "refund", "lsn": second}
    images = {"before": {"sale_id": 1} if op == "d" else None, "after": None if op == "d" else row}
    return json.dumps({**images, "op": op, "source": {**about, "txId": 1, "ts_ms": at}}) + "\n"


def test_the_command_reads_a_change_table_as_of_an_instant_at_its_source(
    shop: Company, malacate: Command
) -> None:
    shop.write("defs/shop/defs.yaml", DECLARED)
    shop.drop("changes/1.json", debezium("c", "1.50", 10) + debezium("u", "2.50", 20))
    shop.drop("changes/2.json", debezium("d", None, 30))
    shop.ingest.run(shop.route("raw/shop/refund_changes"))
    asked = ("read", "raw/shop/refund", "--column", "amount", "--column", "is_deleted", "--json")
    for second, amount, batches in ((10, "1.50", 1), (25, "2.50", 1), (30, "None", 2)):
        code, out, err = malacate(*asked, "--as-of", after(second).isoformat())
        assert code == 0, err
        told = json.loads(out)
        assert told["first"] == [{"amount": told["first"][0]["amount"], "is_deleted": second == 30}]
        assert (str(told["first"][0]["amount"]), told["batches"]) == (amount, batches)
        assert told["changed_at"] == after(second // 10 * 10).isoformat()
    code, _, err = malacate(*asked, "--as-of", after(9).isoformat())
    assert code == 2
    assert after(10).isoformat() in err
    assert "Traceback" not in err
