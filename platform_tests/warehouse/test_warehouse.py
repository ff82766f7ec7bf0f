"""The suite of every warehouse."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from platform_tests.warehouse.batches import Batches, drop, snapshot, table, window
from platform_tests.warehouse.engines import Engine

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError, ContractError, MalacateError, SchemaDrift, SourceGap
from malacate.lake.lake import Lake
from malacate.names import TableName
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Partition, Publication, Warehouse

NAME = TableName("raw_lab", "rock")
REFUSALS = (MalacateError, duckdb.Error)


@pytest.fixture
def lake(engine: Engine) -> Lake:
    return engine.lake


@pytest.fixture
def warehouse(engine: Engine) -> Warehouse:
    return engine.warehouse


@pytest.fixture
def append(lake: Lake) -> Batches:
    return Batches(lake, table())


@pytest.fixture
def upsert(lake: Lake) -> Batches:
    return Batches(lake, table(), WriteMode.UPSERT)


def rows(*ids: int, name: str | None = "n") -> list[dict[str, Any]]:
    return [{"id": i, "name": name} for i in ids]


def held(warehouse: Warehouse, name: TableName = NAME) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = warehouse.read(name).to_pylist()
    return sorted(found, key=repr)


def ids(warehouse: Warehouse) -> list[int]:
    return sorted(row["id"] for row in held(warehouse))


def outcome(warehouse: Warehouse, *publications: Publication) -> list[str]:
    return [published.outcome for published in warehouse.publish(publications)]


def everything(warehouse: Warehouse) -> dict[str, Any]:
    """Whatever a publication could change."""
    names = [NAME] if warehouse.exists(NAME) else []
    return {
        "rows": [held(warehouse, name) for name in names],
        "markers": warehouse.markers(NAME),
        "position": warehouse.position(NAME),
    }


def test_before_anything_is_published_nothing_is_there(warehouse: Warehouse) -> None:
    assert not warehouse.exists(NAME)
    assert warehouse.markers(NAME) == {}
    assert warehouse.position(NAME) is None


def test_rows_join_the_table_with_their_marker(warehouse: Warehouse, append: Batches) -> None:
    one, two = append.of(drop("a"), rows(1, 2)), append.of(drop("b"), rows(3))
    assert outcome(warehouse, one) == ["published"]
    assert outcome(warehouse, two) == ["published"]
    assert ids(warehouse) == [1, 2, 3]
    markers = warehouse.markers(NAME)
    assert {m.object: (m.rows, m.version, m.is_current) for m in markers.values()} == {
        "a": (2, "1", True),
        "b": (1, "1", True),
    }
    assert warehouse.markers(NAME, [one.landing.batch_id, "nobody"]).keys() == {
        one.landing.batch_id
    }
    assert warehouse.markers(TableName("raw_lab", "core")) == {}


def test_equal_rows_of_two_files_are_both_kept(warehouse: Warehouse, append: Batches) -> None:
    outcome(warehouse, append.of(drop("a"), rows(1)), append.of(drop("b"), rows(1)))
    assert ids(warehouse) == [1, 1]


def test_reading_hides_the_batch_unless_it_is_asked_for(
    warehouse: Warehouse, append: Batches
) -> None:
    one = append.of(drop(), rows(1))
    outcome(warehouse, one)
    assert warehouse.read(NAME).schema.names == ["id", "name"]
    assert warehouse.read(NAME, ["_batch_id"]).to_pylist() == [{"_batch_id": one.landing.batch_id}]


@pytest.mark.parametrize("mode", [m for m in WriteMode if m is not WriteMode.PARTITION])
def test_publishing_twice_is_publishing_once(
    warehouse: Warehouse, lake: Lake, mode: WriteMode
) -> None:
    batch = Batches(lake, table(), mode).of(drop(), rows(1, 2))
    assert outcome(warehouse, batch) == ["published"]
    before = everything(warehouse)
    assert outcome(warehouse, batch) == ["already"]
    assert outcome(warehouse, batch, batch) == ["already"] * 2
    assert everything(warehouse) == before


def test_a_batch_that_stands_twice_in_one_call_is_published_once(
    warehouse: Warehouse, append: Batches
) -> None:
    batch = append.of(drop(), rows(1))
    assert outcome(warehouse, batch, batch) == ["published", "already"]
    assert ids(warehouse) == [1]


def test_a_newer_version_replaces_the_rows_of_the_older(
    warehouse: Warehouse, append: Batches
) -> None:
    outcome(warehouse, append.of(drop("a", 1), rows(1, 2)), append.of(drop("b"), rows(9)))
    (published,) = warehouse.publish([append.of(drop("a", 2), rows(2, 3))])
    assert (published.outcome, published.rows) == ("published", 2)
    assert ids(warehouse) == [2, 3, 9]
    current = {(m.object, m.version): m.is_current for m in warehouse.markers(NAME).values()}
    assert current == {("a", "1"): False, ("a", "2"): True, ("b", "1"): True}


def test_a_lower_ordinal_never_replaces_a_higher_one(warehouse: Warehouse, append: Batches) -> None:
    outcome(warehouse, append.of(drop("a", 2), rows(2)))
    assert outcome(warehouse, append.of(drop("a", 1), rows(1))) == ["superseded"]
    assert ids(warehouse) == [2]
    assert len(warehouse.markers(NAME)) == 1


def test_versions_in_one_call_end_with_the_newest(warehouse: Warehouse, append: Batches) -> None:
    versions = [append.of(drop("a", v), rows(v)) for v in (1, 3, 2)]
    assert outcome(warehouse, *versions) == ["published", "published", "superseded"]
    assert ids(warehouse) == [3]


def test_where_versions_add_up_each_is_kept(warehouse: Warehouse, append: Batches) -> None:
    versions = [append.of(drop("a", v), rows(v), replaces_older=False) for v in (2, 1)]
    assert outcome(warehouse, *versions) == ["published"] * 2
    assert ids(warehouse) == [1, 2]


def test_an_upsert_replaces_by_key(warehouse: Warehouse, upsert: Batches) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1, 2, name="old")))
    outcome(warehouse, upsert.of(window(5, 9), rows(2, 3, name="new")))
    assert [(r["id"], r["name"]) for r in held(warehouse)] == [(1, "old"), (2, "new"), (3, "new")]


def test_a_sweep_removes_the_keys_that_are_gone(warehouse: Warehouse, upsert: Batches) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1, 2, 3), keys=rows(1, 2, 3)))
    outcome(warehouse, upsert.of(window(5, 9), rows(4), keys=rows(1, 4)))
    assert ids(warehouse) == [1, 4]


def test_a_sweep_of_an_empty_source_empties_the_table(
    warehouse: Warehouse, upsert: Batches
) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1, 2), keys=rows(1, 2)))
    outcome(warehouse, upsert.of(window(5, 9), [], keys=[]))
    assert ids(warehouse) == []


def test_a_key_of_many_columns_is_matched_whole(warehouse: Warehouse, lake: Lake) -> None:
    columns = [Column(n, pa.int64(), True) for n in ("hole", "from_m")] + [Column("v", pa.string())]
    batches = Batches(lake, table(*columns, key=("hole", "from_m")), WriteMode.UPSERT)
    cells = [(1, 1), (1, 2), (2, 1)]
    start = [{"hole": h, "from_m": f, "v": "old"} for h, f in cells]
    outcome(warehouse, batches.of(window(None, 5), start, keys=start))
    new = [{"hole": 1, "from_m": 2, "v": "new"}]
    outcome(warehouse, batches.of(window(5, 9), new, keys=start[:2]))
    assert [tuple(r.values()) for r in held(warehouse)] == [(1, 1, "old"), (1, 2, "new")]


def test_a_partition_is_replaced_alone(warehouse: Warehouse, lake: Lake) -> None:
    batches = Batches(lake, table(), WriteMode.PARTITION)
    outcome(
        warehouse, batches.of(drop("1"), rows(1, 2), partition=Partition("id", 0, 10)),
        batches.of(drop("2"), rows(10, 11), partition=Partition("id", 10, 20)),
    )  # fmt: skip
    outcome(warehouse, batches.of(drop("1", 2), rows(3), partition=Partition("id", 0, 10)))
    assert ids(warehouse) == [3, 10, 11]
    assert warehouse.read(NAME, ["id"], Partition("id", 10)).to_pylist() == [{"id": 10}]
    assert warehouse.read(NAME, ["id"], Partition("id", 3, 11)).num_rows == 2


@pytest.mark.parametrize("found", [10, -1, None])
def test_a_row_outside_its_partition_is_refused_with_all_of_it(
    warehouse: Warehouse, lake: Lake, found: int | None
) -> None:
    """It would stay when the partition is replaced, and come twice."""
    nullable = table(Column("id", pa.int64()), Column("name", pa.string()), key=())
    batches = Batches(lake, nullable, WriteMode.PARTITION)
    inside = Partition("id", 0, 10)
    outcome(warehouse, batches.of(drop("1"), rows(1, 2), partition=inside))
    before = everything(warehouse)
    given = [*rows(3), {"id": found, "name": "n"}]
    with pytest.raises(ConfigError) as refused:
        warehouse.publish([batches.of(drop("1", 2), given, partition=inside)])
    assert (refused.value.reason, refused.value.actual) == (
        "outside_partition",
        "1 of 2 rows outside",
    )
    assert everything(warehouse) == before


def test_a_snapshot_is_the_table(warehouse: Warehouse, lake: Lake) -> None:
    batches = Batches(lake, table(), WriteMode.SNAPSHOT)
    warehouse.ensure([batches.table])
    outcome(warehouse, batches.of(snapshot(1), rows(1, 2)))
    assert ids(warehouse) == [1, 2]
    outcome(warehouse, batches.of(snapshot(3), rows(2)))
    assert outcome(warehouse, batches.of(snapshot(2), rows(7))) == ["superseded"]
    warehouse.ensure([batches.table])
    assert ids(warehouse) == [2]
    assert outcome(warehouse, batches.of(snapshot(4), [])) == ["published"]
    assert ids(warehouse) == []


def test_what_was_appended_before_a_snapshot_and_comes_again_takes_no_row_of_it(
    warehouse: Warehouse, lake: Lake
) -> None:
    whole = Batches(lake, table(), WriteMode.SNAPSHOT)
    first = Batches(lake, table()).of(drop(), rows(1))
    outcome(warehouse, first)
    outcome(warehouse, whole.of(snapshot(5), rows(2)))
    assert outcome(warehouse, first) == ["already"]
    assert ids(warehouse) == [2]


def test_a_snapshot_may_become_a_table_and_back(warehouse: Warehouse, lake: Lake) -> None:
    whole, upserted = (Batches(lake, table(), m) for m in (WriteMode.SNAPSHOT, WriteMode.UPSERT))
    outcome(warehouse, whole.of(snapshot(1), rows(1)))
    outcome(warehouse, upserted.of(window(None, 5), rows(2)))
    assert ids(warehouse) == [2]
    outcome(warehouse, whole.of(snapshot(7), rows(3)))
    assert ids(warehouse) == [3]


def test_a_part_that_is_missing_leaves_everything_as_it_was(
    warehouse: Warehouse, append: Batches, lake: Lake
) -> None:
    outcome(warehouse, append.of(drop("a", 1), rows(1)))
    before = everything(warehouse)
    good, bad = append.of(drop("b"), rows(2)), append.of(drop("a", 2), rows(3))
    lake.remove(bad.landing.parts[0].path)
    with pytest.raises(REFUSALS):
        warehouse.publish([good, bad])
    assert everything(warehouse) == before
    assert outcome(warehouse, good) == ["published"]


def spoil(lake: Lake, path: str) -> None:
    """No Parquet any more; in a bucket, gone."""
    if lake.uri(path).startswith("gs://"):
        lake.remove(path)
    else:
        Path(lake.uri(path)).write_bytes(b"PAR1 is not enough")


@pytest.mark.parametrize("mode", [m for m in WriteMode if m is not WriteMode.PARTITION])
def test_a_part_of_other_types_leaves_everything_as_it_was(
    warehouse: Warehouse, lake: Lake, mode: WriteMode
) -> None:
    batches = Batches(lake, table(), mode)
    outcome(warehouse, batches.of(drop("a", 1), rows(1)))
    before = everything(warehouse)
    text = pa.schema([("id", pa.string()), ("name", pa.string())])
    bad = batches.of(drop("a", 2), [{"id": "seven", "name": "x"}], schema=text)
    if mode is WriteMode.SNAPSHOT:
        spoil(lake, bad.landing.parts[0].path)
    with pytest.raises(REFUSALS):
        warehouse.publish([batches.of(drop("b"), rows(2)), bad])
    assert everything(warehouse) == before


def test_a_failing_first_publication_leaves_no_table(
    warehouse: Warehouse, append: Batches, lake: Lake
) -> None:
    bad = append.of(drop(), rows(1))
    lake.remove(bad.landing.parts[0].path)
    with pytest.raises(REFUSALS):
        warehouse.publish([bad])
    assert not warehouse.exists(NAME)


def test_columns_go_by_name_not_by_place(
    warehouse: Warehouse, append: Batches, request: pytest.FixtureRequest
) -> None:
    if warehouse.dialect == "bigquery":
        emulated = "the emulator loads Parquet by place, which BigQuery does not"
        request.applymarker(pytest.mark.xfail(strict=True, reason=emulated))
    turned = pa.schema(list(reversed(append.table.schema)))
    outcome(warehouse, append.of(drop("a"), rows(1), schema=turned))
    columns = (Column("name", pa.string()), Column("id", pa.int64(), True))
    other = replace(append, table=table(*columns))
    outcome(warehouse, other.of(drop("b"), rows(2)))
    assert held(warehouse) == rows(1, 2)


HOSTILE = ("select", "order", "rows", "Größe", "x y", "a'b", "<b>&", "a-b")
IMPOSSIBLE = ('a"b', "a`b", "'; drop table canary; --", "a, b", "*", "x', 'y")
"""To BigQuery, which has no such names."""


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.UPSERT, WriteMode.SNAPSHOT])
def test_reserved_and_hostile_column_names_are_only_names(
    engine: Engine, lake: Lake, mode: WriteMode
) -> None:
    warehouse = engine.warehouse
    names = HOSTILE if engine.name == "bigquery" else (*HOSTILE, *IMPOSSIBLE)
    columns = [Column(name, pa.int64()) for name in names]
    batches = Batches(lake, table(*columns, name="group", key=names[:3]), mode)
    row = {name: i for i, name in enumerate(names)}
    keys = None if mode is WriteMode.APPEND else [row]
    outcome(warehouse, batches.of(window(None, 5), [row], keys=keys))
    assert held(warehouse, batches.table.name) == [row]
    assert warehouse.read(batches.table.name, [names[-1]]).to_pylist() == [
        {names[-1]: row[names[-1]]}
    ]


@pytest.mark.parametrize("key", IMPOSSIBLE)
def test_a_name_that_the_engine_has_not_is_refused_with_advice(engine: Engine, key: str) -> None:
    if engine.name == "duckdb":
        engine.warehouse.ensure([table(Column(key, pa.int64()))])
        return
    with pytest.raises(ContractError, match="Change the column"):
        engine.warehouse.ensure([table(Column(key, pa.int64()))])
    assert not engine.warehouse.exists(NAME)


@pytest.mark.parametrize("key", ["sel ect", "group", "a'b"])
def test_a_hostile_key_column_still_sweeps(warehouse: Warehouse, lake: Lake, key: str) -> None:
    columns = [Column(key, pa.int64(), True), Column("other", pa.int64(), True)]
    batches = Batches(lake, table(*columns, key=(key, "other")), WriteMode.UPSERT)
    both = [{key: 1, "other": 1}, {key: 1, "other": 2}]
    outcome(warehouse, batches.of(window(None, 5), both, keys=both))
    outcome(warehouse, batches.of(window(5, 9), [], keys=both[1:]))
    assert held(warehouse) == both[1:]


def test_a_value_that_looks_like_sql_is_a_value(warehouse: Warehouse, append: Batches) -> None:
    name = "'); drop table raw_lab.rock; --"
    outcome(warehouse, append.of(drop(name), rows(1, name=name)))
    outcome(warehouse, append.of(drop(name, 2), rows(2, name=name)))
    assert held(warehouse) == rows(2, name=name)
    found = warehouse.query("select count(*) as n from raw_lab.rock where name = $n", {"n": name})
    assert found.to_pylist() == [{"n": 1}]


def test_a_lake_with_a_quote_in_its_path_is_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "it's a [lake] * 🪨")
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", lake.root)
    for mode in (WriteMode.SNAPSHOT, WriteMode.UPSERT):
        batches = Batches(lake, table(name=mode.value), mode)
        outcome(warehouse, batches.of(drop(mode.value), rows(1), keys=rows(1)))
        assert held(warehouse, batches.table.name) == rows(1)


def test_an_added_column_is_null_before(warehouse: Warehouse, append: Batches) -> None:
    outcome(warehouse, append.of(drop("a"), rows(1)))
    wider = replace(append, table=append.table.having(Column("rqd", pa.float64())))
    warehouse.ensure([wider.table])
    outcome(warehouse, wider.of(drop("b"), [{"id": 2, "name": "n", "rqd": 0.5}]))
    outcome(warehouse, append.of(drop("c"), rows(3)))
    assert [r["rqd"] for r in held(warehouse)] == [None, 0.5, None]


def test_a_column_that_the_contract_dropped_keeps_its_rows(
    warehouse: Warehouse, append: Batches
) -> None:
    outcome(warehouse, append.of(drop("a"), rows(1)))
    narrower = replace(append, table=table(Column("id", pa.int64(), True)))
    outcome(warehouse, narrower.of(drop("b"), [{"id": 2}]))
    assert held(warehouse) == [*rows(1), {"id": 2, "name": None}]


WIDER = [
    (pa.int16(), pa.int64(), [-32768, 32767]),
    (pa.int32(), pa.float64(), [2**31 - 1]),
    (pa.float32(), pa.float64(), [0.5]),
    (pa.decimal128(5, 2), pa.decimal128(20, 4), [Decimal("999.99")]),
    (pa.int32(), pa.decimal128(20, 2), [2**31 - 1]),
]


@pytest.mark.parametrize(("old", "new", "values"), WIDER)
def test_a_widened_column_keeps_its_values(
    warehouse: Warehouse, lake: Lake, old: pa.DataType, new: pa.DataType, values: list[Any]
) -> None:
    for version, kind in enumerate((old, new)):
        batches = Batches(lake, table(Column("id", kind)))
        outcome(warehouse, batches.of(drop(f"{version}"), [{"id": v} for v in values]))
    assert warehouse.read(NAME).schema.field("id").type == new
    assert sorted(r["id"] for r in held(warehouse)) == sorted(values * 2)


@pytest.mark.parametrize(("old", "new", "values"), WIDER)
def test_a_narrowed_column_is_drift_and_changes_nothing(
    warehouse: Warehouse, lake: Lake, old: pa.DataType, new: pa.DataType, values: list[Any]
) -> None:
    wide, narrow = (Batches(lake, table(Column("id", kind))) for kind in (new, old))
    outcome(warehouse, wide.of(drop("a"), [{"id": v} for v in values]))
    before = everything(warehouse)
    with pytest.raises(SchemaDrift) as caught:
        warehouse.publish([narrow.of(drop("b"), [{"id": values[0]}])])
    assert (caught.value.object, bool(caught.value.advice)) == ("id", True)
    with pytest.raises(SchemaDrift):
        warehouse.ensure([narrow.table])
    assert everything(warehouse) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [(pa.int64(), pa.string()), (pa.string(), pa.date32()), (pa.int64(), pa.bool_())],
)
def test_a_column_of_another_kind_is_drift(
    warehouse: Warehouse, lake: Lake, old: pa.DataType, new: pa.DataType
) -> None:
    warehouse.ensure([table(Column("id", old))])
    with pytest.raises(SchemaDrift):
        warehouse.ensure([table(Column("id", new))])


def test_ensure_makes_an_empty_table_and_may_be_repeated(
    warehouse: Warehouse, append: Batches
) -> None:
    for _ in range(2):
        warehouse.ensure([append.table])
    assert (warehouse.exists(NAME), held(warehouse)) == (True, [])
    outcome(warehouse, append.of(drop(), rows(1)))
    warehouse.ensure([append.table])
    assert ids(warehouse) == [1]


def test_a_column_that_partitions_is_only_a_hint_to_the_engine(
    warehouse: Warehouse, lake: Lake
) -> None:
    columns = (Column("id", pa.int64(), True), Column("on", pa.date32()))
    parted = replace(table(*columns), partitioned_by="on")
    days = [datetime(2026, month, 1).date() for month in range(1, 13)]
    given = [{"id": i, "on": day} for i, day in enumerate(days)] + [{"id": 99, "on": None}]
    outcome(warehouse, Batches(lake, parted).of(drop(), given))
    assert ids(warehouse) == [*range(12), 99]
    assert warehouse.read(NAME, ["id"], Partition("on", days[3], days[5])).num_rows == 2


def test_many_publications_are_one_transaction(warehouse: Warehouse, append: Batches) -> None:
    many = [append.of(drop(f"{i}"), rows(i)) for i in range(100)]
    assert outcome(warehouse, *many) == ["published"] * 100
    assert ids(warehouse) == list(range(100))
    assert len(warehouse.markers(NAME)) == 100


def test_the_position_is_that_of_the_last_window(warehouse: Warehouse, upsert: Batches) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1)))
    assert warehouse.position(NAME) == "5"
    outcome(warehouse, upsert.of(window(5, 9), rows(2)))
    assert warehouse.position(NAME) == "9"
    assert warehouse.position(TableName("raw_lab", "core")) is None


def test_a_window_after_a_gap_is_refused(warehouse: Warehouse, upsert: Batches) -> None:
    with pytest.raises(SourceGap):
        warehouse.publish([upsert.of(window(3, 5), rows(1))])
    outcome(warehouse, upsert.of(window(None, 5), rows(1)))
    before = everything(warehouse)
    with pytest.raises(SourceGap) as caught:
        warehouse.publish([upsert.of(window(7, 9), rows(2))])
    assert (caught.value.expected, caught.value.actual) == ("a window from 5", "one from 7")
    assert everything(warehouse) == before


def test_a_window_that_overlaps_leaves_no_gap(warehouse: Warehouse, upsert: Batches) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1, 2)))
    assert outcome(warehouse, upsert.of(window(3, 9), rows(2, 3))) == ["published"]
    assert (ids(warehouse), warehouse.position(NAME)) == ([1, 2, 3], "9")


def test_a_stale_window_never_moves_the_position_back(
    warehouse: Warehouse, upsert: Batches
) -> None:
    outcome(warehouse, upsert.of(window(None, 5), rows(1, name="old")))
    outcome(warehouse, upsert.of(window(5, 9, lsn=90), rows(1, name="new")))
    stale = upsert.of(window(5, 7, lsn=70), rows(1, name="stale"))
    later = upsert.of(window(5, 7, lsn=95), rows(1, name="stale"))
    assert outcome(warehouse, stale, later) == ["superseded"] * 2
    assert (held(warehouse), warehouse.position(NAME)) == (rows(1, name="new"), "9")


def test_negative_positions_are_numbers(warehouse: Warehouse, upsert: Batches) -> None:
    outcome(warehouse, upsert.of(window(None, -10, lsn=1), rows(1)))
    outcome(warehouse, upsert.of(window(-10, 2, lsn=2), rows(2)))
    outcome(warehouse, upsert.of(window(2, 10, lsn=3), rows(3)))
    assert (ids(warehouse), warehouse.position(NAME)) == ([1, 2, 3], "10")


REJECT = {"position": 3, "reason": "too_long", "detail": "name is", "raw": b"\xff\x00'"}


def quarantined(warehouse: Warehouse) -> list[dict[str, Any]]:
    sql = "select position, reason, detail, raw from malacate.quarantine order by position"
    return list(warehouse.query(sql).to_pylist())


def test_rejected_rows_are_kept_with_their_bytes(warehouse: Warehouse, append: Batches) -> None:
    batch = append.of(drop("a"), rows(1), rejects=[REJECT])
    outcome(warehouse, batch)
    outcome(warehouse, batch)
    assert quarantined(warehouse) == [REJECT]
    (marker,) = warehouse.markers(NAME).values()
    assert (marker.rows, marker.rows_quarantined) == (1, 1)


def test_a_newer_version_replaces_the_rejects_of_the_older(
    warehouse: Warehouse, append: Batches
) -> None:
    outcome(warehouse, append.of(drop("a"), rows(1), rejects=[REJECT]))
    outcome(warehouse, append.of(drop("b"), rows(1), rejects=[{**REJECT, "position": 9}]))
    outcome(warehouse, append.of(drop("a", 2), rows(1)))
    assert [row["position"] for row in quarantined(warehouse)] == [9]


TYPED: dict[str, tuple[pa.DataType, Any]] = {
    "flag": (pa.bool_(), True),
    "tiny": (pa.int8(), -128),
    "big": (pa.int64(), 9_007_199_254_740_993),
    "real": (pa.float32(), 0.5),
    "money": (pa.decimal128(38, 10), Decimal("-9999999999999999999999999999.9999999999")),
    "text": (pa.string(), "e\u0301🪨\n\t'\"\\"),
    "bytes": (pa.binary(), b"\x00\xff"),
    "day": (pa.date32(), datetime(1, 1, 1).date()),
    "at": (pa.timestamp("us", "UTC"), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)),
    "local": (pa.timestamp("us"), datetime(2026, 3, 29, 2, 30)),
    "list": (pa.list_(pa.int32()), [1, None]),
    "pair": (pa.struct([("a b", pa.string()), ("c", pa.int64())]), {"a b": "x", "c": None}),
}
TYPED_IN_BIGQUERY = TYPED | {
    "money": (pa.decimal128(38, 9), Decimal("-99999999999999999999999999999.999999999")),
    "list": (pa.list_(pa.int32()), [1, 2]),
    "pair": (pa.struct([("a", pa.string()), ("c", pa.int64())]), {"a": "x", "c": None}),
}
"""Its arrays hold no null; the emulator quotes no name inside a struct, and has no BIGNUMERIC."""


@pytest.mark.parametrize("mode", [WriteMode.APPEND, WriteMode.SNAPSHOT])
def test_every_type_comes_back_exactly(warehouse: Warehouse, lake: Lake, mode: WriteMode) -> None:
    typed = TYPED if warehouse.dialect == "duckdb" else TYPED_IN_BIGQUERY
    columns = [Column(name, kind) for name, (kind, _) in typed.items()]
    given: Table = table(*columns, key=())
    row = {name: value for name, (_, value) in typed.items()}
    nulls = dict.fromkeys(row) | ({} if warehouse.dialect == "duckdb" else {"list": []})
    outcome(warehouse, Batches(lake, given, mode).of(drop(), [row, nulls]))
    assert sorted(warehouse.read(NAME).to_pylist(), key=lambda r: r["flag"] is None) == [row, nulls]


def test_the_warehouse_says_where_it_is(engine: Engine, append: Batches) -> None:
    warehouse = engine.warehouse
    outcome(warehouse, append.of(drop(), rows(1)))
    assert warehouse.location == engine.again().location
    assert engine.name == "bigquery" or Path(warehouse.location).is_file()
