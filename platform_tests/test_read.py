"""Tables as data scientists read them: the rows, what they are made of, and as they stood."""

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from platform_tests.company import (
    Command,
    Company,
    instance,
    malacate,
    newer,
    run_to_end,
    sale,
    sales,
    shop,
)
from platform_tests.emulators.parts import BigQuery, GoogleSQL
from platform_tests.warehouse.batches import Batches, drop, snapshot, table, window
from platform_tests.warehouse.conftest import (
    bigquery_proxied,
    bigquery_server,
    bigquery_url,
    engine,
    storage,
)
from platform_tests.warehouse.engines import Engine, on_bigquery, on_duckdb
from platform_tests.warehouse.test_bigquery_words import Strict, analyzer

import malacate as library
from malacate.batch import WriteMode
from malacate.contracts.table import Column
from malacate.errors import ConfigError, LakeError, WarehouseBusy
from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.lake.sweep import sweep
from malacate.names import TableName
from malacate.readers import read as readers
from malacate.readers.rows import Rows
from malacate.stores.folder import FolderStore
from malacate.warehouse.protocol import Partition, Publication

__all__ = [
    "analyzer",
    "bigquery_proxied",
    "bigquery_server",
    "bigquery_url",
    "engine",
    "instance",
    "malacate",
    "shop",
    "storage",
]
KEY = "raw/lab/rock"
NAME = TableName("raw_lab", "rock")
NARROW = table(Column("id", pa.int32(), True), Column("name", pa.string()))
WIDE = table(
    Column("id", pa.int64(), True), Column("rqd", pa.float64()), Column("name", pa.string())
)


def rows(*ids: int, name: str = "n") -> list[dict[str, Any]]:
    return [{"id": i, "name": name} for i in ids]


def told(found: pa.Table) -> list[str]:
    """Rows in one order, without what is null: a column that came later says nothing."""
    return sorted(
        repr(sorted((k, v) for k, v in row.items() if v is not None)) for row in found.to_pylist()
    )


@dataclass
class Past:
    """Publishes, and remembers what the table held after each publication."""

    engine: Engine
    adds_up: bool = False
    remembered: list[tuple[datetime, list[str]]] = field(default_factory=list)
    position: int = 0
    clock: int = 0

    def append(self, *drops: tuple[str, int, Sequence[int]], wide: bool = False) -> None:
        batches = self._batches(WriteMode.APPEND, wide)
        self.publish(
            self._again(batches.of(drop(name, version), rows(*ids, name=f"{name}{version}")))
            for name, version, ids in drops
        )

    def upsert(self, ids: Sequence[int], alive: Sequence[int] | None, wide: bool = False) -> None:
        self.clock += 1
        hi = self.position + 5
        found = window(self.position or None, hi, lsn=self.clock)
        keys = None if alive is None else rows(*alive)
        batches = self._batches(WriteMode.UPSERT, wide)
        self.position = hi
        self.publish([batches.of(found, rows(*ids, name=f"w{self.clock}"), keys=keys)])

    def whole(self, ids: Sequence[int], wide: bool = False) -> None:
        self.clock += 1
        given = rows(*ids, name=f"s{self.clock}")
        self.publish([self._batches(WriteMode.SNAPSHOT, wide).of(snapshot(self.clock), given)])

    def at(self, instant: datetime, **asked: Any) -> Rows:
        lake, warehouse = self.engine.lake, self.engine.warehouse
        return readers.at(warehouse, lambda: lake, lambda: ("id",), KEY, instant, **asked)

    def is_as_remembered(self) -> None:
        for instant, stood in self.remembered:
            then = self.at(instant)
            assert told(then.arrow()) == stood
            assert then.arrow().equals(self.at(instant).arrow())
        current, latest = readers.now(self.engine.warehouse, KEY), self.at(datetime.now(UTC))
        assert current.batches == latest.batches
        assert current.fingerprint == latest.fingerprint
        assert told(current.arrow()) == told(latest.arrow())

    def _batches(self, mode: WriteMode, wide: bool) -> Batches:
        return Batches(self.engine.lake, WIDE if wide else NARROW, mode)

    def _again(self, this: Publication) -> Publication:
        """The landing that stands: the same version always has the same rows."""
        landing = self.engine.lake.commit(this.landing)
        return Publication(this.table, landing, this.mode, replaces_older=not self.adds_up)

    def publish(self, publications: Iterable[Publication]) -> None:
        warehouse = self.engine.warehouse
        warehouse.publish([self._again(one) for one in publications])
        if warehouse.exists(NAME):
            self.remembered.append((datetime.now(UTC), told(warehouse.read(NAME))))


IDS = st.lists(st.integers(1, 6), max_size=4, unique=True)
DROP = st.tuples(st.sampled_from("ab"), st.integers(1, 3), st.just(()))
APPEND = st.tuples(st.just("append"), st.lists(DROP, min_size=1, max_size=3))
UPSERT = st.tuples(st.just("upsert"), IDS, st.none() | IDS)
WHOLE = st.tuples(st.just("whole"), IDS)
LIVES = st.one_of(
    st.lists(step, min_size=2, max_size=5) for step in (APPEND, UPSERT, APPEND | UPSERT | WHOLE)
)


def live(past: Past, steps: Sequence[Any], widens_after: int) -> None:
    for number, (what, *this) in enumerate(steps):
        wide = number >= widens_after
        if what == "append":
            drops = [(name, v, [v, ord(name)]) for name, v, _ in this[0]]
            past.append(*drops, wide=wide)
        else:
            getattr(past, what)(*this, wide=wide)


@settings(max_examples=15)
@given(LIVES, st.booleans(), st.integers(1, 5))
@example([("append", [("a", 1, ())]), ("whole", [1]), ("append", [("a", 1, ())])], False, 1)
def test_as_of_each_instant_is_what_the_table_held_then(
    steps: list[Any], adds_up: bool, widens_after: int
) -> None:
    with TemporaryDirectory() as folder:
        past = Past(on_duckdb(Path(folder)), adds_up)
        live(past, steps, widens_after)
        past.is_as_remembered()


HISTORIES: dict[str, list[Any]] = {
    "snapshots": [("whole", [1, 2]), ("whole", [2, 3]), ("whole", [])],
    "versions that replace": [
        ("append", [("a", 1, ()), ("b", 1, ())]),
        ("append", [("a", 3, ())]),
        ("append", [("a", 2, ()), ("b", 2, ())]),
    ],
    "windows": [("upsert", [1, 2], [1, 2]), ("upsert", [2, 3], None), ("upsert", [4], [2, 4])],
    "a snapshot, then windows": [("whole", [1, 2]), ("upsert", [2, 3], None), ("upsert", [4], [2])],
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_every_engine_gives_what_stood(engine: Engine, kind: str) -> None:
    past = Past(engine)
    live(past, HISTORIES[kind], widens_after=2)
    past.is_as_remembered()


def test_what_is_asked_of_bigquery_is_googlesql(
    bigquery_server: BigQuery, bigquery_url: str, analyzer: GoogleSQL
) -> None:
    strict = type("Analyzed", (Strict,), {"analyzer": analyzer, "seen": 0})
    past = Past(on_bigquery(bigquery_server, bigquery_url, client=strict))
    live(past, HISTORIES["windows"], widens_after=2)
    assert len(readers.now(past.engine.warehouse, KEY, ["id"], ("id", 2, 9))) == 2
    assert len(past.at(past.remembered[0][0])) == 2


def test_versions_that_add_up_stand_beside_each_other_on_every_engine(engine: Engine) -> None:
    past = Past(engine, adds_up=True)
    past.append(("a", 2, [2]))
    past.append(("a", 1, [1]), ("b", 1, [9]))
    past.is_as_remembered()
    assert len(past.at(datetime.now(UTC))) == 3


@pytest.mark.parametrize("has_windows", [False, True])
def test_a_column_that_was_widened_is_as_wide_as_its_batches(
    tmp_path: Path, has_windows: bool
) -> None:
    past = Past(on_duckdb(tmp_path))
    past.append(("a", 1, [1]))
    if has_windows:
        past.upsert([2], None)
    past.append(("b", 1, [2**40]), wide=True)
    past.publish([Batches(past.engine.lake, WIDE).of(drop("c"), rows(3), schema=NARROW.schema)])
    past.is_as_remembered()
    kinds = [past.at(instant).arrow().schema.field("id").type for instant, _ in past.remembered]
    assert (kinds[0], kinds[-1]) == (pa.int32(), pa.int64())


def test_what_is_read_again_under_a_newer_contract_takes_the_place_of_the_first(
    tmp_path: Path,
) -> None:
    past = Past(on_duckdb(tmp_path), adds_up=True)
    past.append(("a", 1, [1]))
    first = drop("a", 1)
    batches = Batches(past.engine.lake, NARROW)
    past.adds_up = False
    past.publish([batches.of(first.again(1, "c2"), rows(1, 5))])
    past.adds_up = True
    past.append(("b", 1, [7]))
    past.is_as_remembered()


def test_columns_and_partitions_are_read_of_the_past_as_of_now(engine: Engine) -> None:
    past = Past(engine)
    past.upsert([1, 2, 3], [1, 2, 3])
    past.upsert([3, 4], None)
    for partition, ids in ((("id", 2, 4), [2, 3]), (("id", 4), [4]), (("id", "1", "3"), [1, 2])):
        asked: dict[str, Any] = {"columns": "id", "partition": partition}
        for found in (
            past.at(datetime.now(UTC), **asked),
            readers.now(engine.warehouse, KEY, **asked),
        ):
            assert found.arrow().schema.names == ["id"]
            assert sorted(found.arrow()["id"].to_pylist()) == ids


def test_a_lake_in_a_bucket_gives_what_stood_too(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    lake = Lake(BucketPlace(FolderStore(tmp_path / "bucket"), tmp_path / "tmp"))
    past = Past(on_duckdb(tmp_path))
    for ids in ([1], [1, 2]):
        past.upsert(ids, ids)
    for landing in past.engine.lake.landings():
        lake.bring(landing, past.engine.lake)
        lake.commit(landing)
    for instant, stood in past.remembered:
        warehouse = past.engine.warehouse
        found = readers.at(warehouse, lambda: lake, lambda: ("id",), KEY, instant)
        assert told(found.arrow()) == stood


def test_swept_snapshots_say_from_when_on_the_table_is_kept(tmp_path: Path) -> None:
    past = Past(on_duckdb(tmp_path))
    for ids in ([1], [2], [3]):
        past.whole(ids)
    (first, _), (second, stood), _ = past.remembered
    old = time.time() - 30 * 86_400
    for landing in past.engine.lake.landings():
        if landing.ordinal < 3:
            for path in (tmp_path / "lake" / "final").rglob(f"*{landing.batch_id}*/*"):
                os.utime(path, (old, old))
    sweep(past.engine.lake)
    with pytest.raises(ConfigError, match="not kept") as refused:
        past.at(first)
    begun = datetime.fromisoformat(refused.value.expected.split()[0])
    assert first < begun < second
    assert told(past.at(begun).arrow()) == told(past.at(second).arrow()) == stood


def test_an_instant_before_the_first_publication_is_refused_with_the_earliest(
    tmp_path: Path,
) -> None:
    past = Past(on_duckdb(tmp_path))
    before = datetime.now(UTC)
    past.append(("a", 1, [1]))
    with pytest.raises(ConfigError, match="not kept") as refused:
        past.at(before)
    earliest = datetime.fromisoformat(refused.value.expected.split()[0])
    assert len(past.at(earliest)) == 2 - 1


@pytest.mark.parametrize(
    "instant",
    [datetime(2026, 1, 1), datetime.now(UTC) + timedelta(days=9), "2026-01-01", date(2026, 1, 1)],
)
def test_an_instant_without_zone_or_to_come_is_refused(tmp_path: Path, instant: Any) -> None:
    past = Past(on_duckdb(tmp_path))
    past.append(("a", 1, [1]))
    with pytest.raises(ConfigError, match="no instant that has been"):
        past.at(instant)


def test_a_lost_file_of_the_lake_is_told(tmp_path: Path) -> None:
    past = Past(on_duckdb(tmp_path))
    past.append(("a", 1, [1]))
    (part,) = (tmp_path / "lake").rglob("*.parquet")
    part.unlink()
    with pytest.raises(LakeError, match="missing"):
        past.at(datetime.now(UTC))


def test_partitions_that_are_written_over_are_not_kept(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    batches = Batches(engine.lake, NARROW, WriteMode.PARTITION)
    engine.warehouse.publish([batches.of(drop(), rows(1), partition=Partition("id", 0, 9))])
    past = Past(engine)
    with pytest.raises(ConfigError) as refused:
        past.at(datetime.now(UTC))
    assert refused.value.reason == "not_kept"
    assert readers.now(engine.warehouse, KEY).batches


TIMED = table(
    Column("id", pa.int64()), Column("shift_on", pa.date32()),
    Column("begun_at", pa.timestamp("us", "UTC")),
)  # fmt: skip


@pytest.fixture
def timed(engine: Engine) -> Engine:
    given = [
        {"id": n, "shift_on": date(2026, 11, n), "begun_at": datetime(2026, 11, n, 7, tzinfo=UTC)}
        for n in (1, 2, 3)
    ]
    engine.warehouse.publish([Batches(engine.lake, TIMED).of(drop(), given)])
    return engine


@pytest.mark.parametrize(
    ("partition", "ids"),
    [
        (date(2026, 11, 2), [2]),
        (("shift_on", date(2026, 11, 2)), [2]),
        (("shift_on", date(2026, 11, 2), date(2026, 11, 9)), [2, 3]),
        (("shift_on", "2026-11-02", "2026-11-03"), [2]),
        (("begun_at", date(2026, 11, 2)), [2]),
        (("begun_at", date(2026, 11, 1), datetime(2026, 11, 2, 7, tzinfo=UTC)), [1]),
        (("begun_at", "2026-11-02T07:00", "2026-11-03T07:00:01"), [2, 3]),
        (("id", 9), []),
    ],
)
def test_a_partition_is_of_its_columns_type(timed: Engine, partition: Any, ids: list[int]) -> None:
    found = readers.now(timed.warehouse, KEY, partition=partition)
    assert sorted(found.arrow()["id"].to_pylist()) == ids


@pytest.mark.parametrize(
    "partition",
    [
        ("id", 1.5), ("id", "one"), ("shift_on", datetime(2026, 11, 2, 5)), ("begun_at", 7),
        ("begun_at", "noon"), ("id", None), ("id",), ("id", 1, 2, 3),
    ],
)  # fmt: skip
def test_a_bound_that_is_no_value_of_its_column_is_refused(tmp_path: Path, partition: Any) -> None:
    engine = on_duckdb(tmp_path)
    engine.warehouse.ensure([TIMED])
    with pytest.raises(ConfigError) as refused:
        readers.now(engine.warehouse, KEY, partition=partition)
    assert refused.value.reason == "bad_partition"


def test_a_day_alone_is_refused_where_no_column_or_more_than_one_has_dates(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    engine.warehouse.ensure([table()])
    with pytest.raises(ConfigError, match="which column"):
        readers.now(engine.warehouse, KEY, partition=date(2026, 11, 2))


def test_before_anything_is_materialized_the_answer_says_so(engine: Engine) -> None:
    with pytest.raises(ConfigError, match="once its asset was materialized") as refused:
        readers.now(engine.warehouse, KEY)
    assert refused.value.reason == "unknown_table"


def test_unknown_names_are_answered_with_near_ones(engine: Engine) -> None:
    engine.warehouse.ensure([table(name="drillhole")])
    engine.warehouse.publish([Batches(engine.lake, table()).of(drop(), rows(1))])
    for key, column, near in (
        ("raw/lab/rocks", "id", "raw/lab/rock"),
        ("raw/lab/drill_hole", "id", "raw/lab/drillhole"),
        ("raw/lap/rock", "id", "raw/lab/rock"),
        (KEY, "nam", "name"),
    ):
        with pytest.raises(ConfigError) as refused:
            readers.now(engine.warehouse, key, columns=[column])
        assert near in refused.value.advice
        assert refused.value.reason in ("unknown_table", "unknown_column")
    with pytest.raises(ConfigError, match="'ident'"):
        readers.now(engine.warehouse, KEY, partition=("ident", 1))


def test_a_table_that_moves_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    engine = on_duckdb(tmp_path)
    batches, moves = Batches(engine.lake, NARROW), iter(range(100))

    class Moving:
        def __init__(self, times: int) -> None:
            self._inner, self._left = engine.warehouse, times

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def read(self, *asked: Any) -> pa.Table:
            found = self._inner.read(*asked)
            if self._left:
                self._left -= 1
                number = next(moves)
                self._inner.publish([batches.of(drop(f"d{number}"), rows(number))])
            return found

    engine.warehouse.ensure([NARROW])
    found = readers.now(Moving(2), KEY)  # type: ignore[arg-type]
    assert (len(found), len(found.batches)) == (2, 2)
    with pytest.raises(WarehouseBusy, match="each time"):
        readers.now(Moving(50), KEY)  # type: ignore[arg-type]


def test_rows_come_in_the_form_that_is_wanted() -> None:
    big = 2**53 + 1
    found = Rows("gold/x", pa.table({"n": [big, None], "name": ["a", "b"]}))
    assert found.arrow().num_rows == len(found) == 2
    frame = found.pandas()
    assert isinstance(frame, pd.DataFrame)
    assert frame["n"][0] == big
    relation = found.lazy()
    gc.collect()
    assert relation.filter("n is not null").project("name").fetchall() == [("a",)]


def test_polars_is_named_where_it_is_missing_and_used_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = Rows("gold/x", pa.table({"n": [1]}))
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(ConfigError, match="pip install polars"):
        found.polars()
    made = type("polars", (), {"from_arrow": staticmethod(lambda rows: ("frame", rows))})
    monkeypatch.setitem(sys.modules, "polars", made)
    assert found.polars() == ("frame", found.arrow())


@pytest.mark.parametrize("name", ["r", "rr", "R"])
def test_the_fingerprint_of_a_computed_table_is_that_of_its_rows_in_any_order(name: str) -> None:
    held = pa.table({"a": [1, 2, 2, None], name: [0.5, float("nan"), None, 1.0]})
    same = Rows("gold/x", held)
    assert Rows("gold/x", held.take([3, 1, 0, 2])).fingerprint == same.fingerprint
    others = [held.slice(1), held.take([0, 1, 1, 3]), held.rename_columns(["b", name])]
    others.append(held.set_column(0, "a", pa.array([1, 2, 3, None])))
    assert same.fingerprint not in {Rows("gold/x", other).fingerprint for other in others}


def test_a_data_scientist_reads_what_stood_and_what_stands(shop: Company, instance: Any) -> None:
    first = shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    run_to_end(shop, ["raw/shop/sale", "silver/sale"], instance)
    found = library.read("raw/shop/sale", columns=["sale_id"])
    then, fingerprint = datetime.now(UTC), found.fingerprint
    newer(first, sales(sale(2), sale(3), sale(4)))
    run_to_end(shop, ["raw/shop/sale", "silver/sale"], instance)
    now = library.read("raw/shop/sale", partition=("sold_at", date(2026, 1, 2)))
    assert sorted(now.pandas()["sale_id"]) == [2, 3, 4]
    assert now.fingerprint != fingerprint
    stood = library.read("raw/shop/sale", columns=["sale_id"], as_of=then)
    assert stood.arrow()["sale_id"].to_pylist() == [1, 2]
    assert (stood.fingerprint, stood.batches) == (fingerprint, found.batches)
    assert stood.as_of == then
    assert len(library.read("silver/sale")) == 3
    assert len(library.read("silver/sale", as_of=then)) == 2


def test_the_command_shows_rows_writes_parquet_and_tells_the_fingerprint(
    shop: Company, malacate: Command, tmp_path: Path
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2), sale(3)))
    shop.ingest.run(shop.route("raw/shop/sale"))
    found = library.read("raw/shop/sale")
    assert "fingerprint" in malacate("read", "raw/shop/sale", "--first", "1")[1]
    arguments = ("--partition", "sale_id", "2", "9", "--column", "sale_id", "--json")
    to = tmp_path / "sale.parquet"
    code, out, _ = malacate("read", "raw/shop/sale", *arguments, "--to", str(to))
    told = json.loads(out)
    assert code == 0
    assert told["first"] == [{"sale_id": 2}, {"sale_id": 3}]
    assert (told["rows"], told["batches"]) == (2, 1)
    assert told["fingerprint"] == found.fingerprint
    assert pq.read_table(to).to_pylist() == told["first"]
    at = ("--as-of", datetime.now(UTC).isoformat())
    assert json.loads(malacate("read", "raw/shop/sale", "--json", *at)[1])["rows"] == 3


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("raw/shop/sales",), "raw/shop/sale"),
        (("raw/shop/sale", "--column", "weight"), "weight_t"),
        (("raw/shop/sale", "--to", "no/such/folder/sale.parquet"), "no/such/folder"),
        (("raw/shop/sale", "--as-of", "yesterday"), "2026-11-03T06:00:00Z"),
        (("raw/shop/sale", "--as-of", "2020-01-01T00:00:00Z"), "not kept"),
        (("raw/shop/refund", "--as-of", "2020-01-01T00:00:00Z"), "not kept"),
    ],
)
def test_the_command_answers_mistakes_in_one_line(
    shop: Company, malacate: Command, arguments: tuple[str, ...], advice: str
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    for key in ("raw/shop/sale", "raw/shop/refund"):
        shop.ingest.run(shop.route(key))
    code, _, err = malacate("read", *arguments)
    assert code == 2
    assert advice in err
    assert "Traceback" not in err


def test_importing_malacate_imports_the_standard_library_alone() -> None:
    code = (
        "import json, sys; before = set(sys.modules); import malacate; malacate.read; "
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) - sys.stdlib_module_names == {"malacate"}
