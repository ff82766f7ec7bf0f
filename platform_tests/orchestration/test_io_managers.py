"""Assets in Python: a table in, a table out; partitions replaced whole; no file named by a key."""

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from platform_tests.emulators import bigquery_proxy, bigquery_storage, gcs, parts

from malacate.errors import MalacateError
from malacate.names import TableName
from malacate.orchestration.io_managers import LakeIOManager, WarehouseIOManager
from malacate.orchestration.resources import Platform

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
STATIC = dg.StaticPartitionsDefinition(["north", "south", "it's"])
DAYS = dg.DailyPartitionsDefinition("2026-01-01", end_date="2026-02-01")


@dataclass
class Home:
    """A lake and a warehouse, the IO managers over them, and Dagster's memory."""

    root: Path
    instance: dg.DagsterInstance
    lake: str
    warehouse: str

    def __post_init__(self) -> None:
        text = "local: {lake: '%s', warehouse: '%s', ledger: 'sqlite:///%s/l'}"
        (self.root / "targets.yaml").write_text(text % (self.lake, self.warehouse, self.root))
        self.platform = Platform(targets=str(self.root / "targets.yaml"))

    def materialize(
        self, assets: Sequence[dg.AssetsDefinition], partition: str | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        managers = {
            "warehouse": WarehouseIOManager(platform=self.platform),
            "lake": LakeIOManager(platform=self.platform),
        }
        return dg.materialize(
            assets, resources={"platform": self.platform, **managers}, instance=self.instance,
            partition_key=partition, run_config=QUIET, **options,
        )  # fmt: skip

    def refused(self, assets: Sequence[dg.AssetsDefinition], partition: str | None = None) -> Any:
        with pytest.raises(MalacateError) as caught:
            self.materialize(assets, partition)
        return caught.value

    def rows(self) -> list[dict[str, Any]]:
        found = self.platform.target.open_warehouse().read(TableName("silver", "thing"))
        return sorted(found.to_pylist(), key=lambda row: tuple(row.values()))

    def files(self) -> set[Path]:
        return {path for path in self.root.parent.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Stand-ins of Cloud Storage and BigQuery: the variables by which they are found."""
    root = tmp_path_factory.mktemp("buckets")
    with ExitStack() as stack:
        server = stack.enter_context(parts.bigquery(root))
        proxy = stack.enter_context(bigquery_proxy.proxied(server.url))
        yield {
            "STORAGE_EMULATOR_HOST": stack.enter_context(gcs.serving(root)),
            "BIGQUERY_EMULATOR_HOST": proxy.url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": stack.enter_context(
                bigquery_storage.serving(server, proxy)
            ).url,
            "GOOGLE_CLOUD_PROJECT": "acme",
        }


@pytest.fixture
def home(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> Home:
    root = tmp_path / "root"
    root.mkdir()
    if getattr(request, "param", "duckdb") == "duckdb":
        return Home(root, instance, f"{root}/lake", f"duckdb://{root}/w.duckdb")
    for name, value in {**request.getfixturevalue("google"), "MALACATE_HOME": str(root)}.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid4().hex[:12]}"
    storage.Client("acme", credentials=AnonymousCredentials()).create_bucket(name)
    return Home(root, instance, f"gs://{name}", f"bigquery://{name}")


on_both_engines = pytest.mark.parametrize("home", ["duckdb", "bigquery"], indirect=True)


def thing(
    make: Callable[[str | None], Any],
    partitions: dg.PartitionsDefinition | None = None,
    column: str | None = None,
    manager: str = "warehouse",
    policy: dg.BackfillPolicy | None = None,
) -> dg.AssetsDefinition:
    """``silver/thing``: what ``make`` gives for a partition."""
    metadata = {"partition_column": column} if column else None

    @dg.asset(
        key=["silver", "thing"], io_manager_key=manager, partitions_def=partitions,
        metadata=metadata, backfill_policy=policy,
    )  # fmt: skip
    def made(context: dg.AssetExecutionContext) -> Any:
        return make(context.partition_key if partitions and policy is None else None)

    return made


def reader(kind: type, seen: list[Any], partitions: Any = None) -> dg.AssetsDefinition:
    def look(thing: Any) -> None:
        seen.append(thing)

    look.__annotations__["thing"] = kind
    ins = {"thing": dg.AssetIn(dg.AssetKey(["silver", "thing"]))}
    return dg.asset(key=["gold", "seen"], ins=ins, partitions_def=partitions)(look)


HOSTILE = ["../../x", "/absolute/x", "a" * 300, "..", "line\nbreak", "a%2F..%2Fb"]
EVERY_TYPE = pa.table(
    {
        "n": pa.array([1, None], pa.int64()),
        "x_t": pa.array([1.5, None]),
        "name": pa.array(["ñ", None]),
        "is_new": pa.array([True, None]),
        "on_day": pa.array([date(2026, 1, 2), None]),
        "made_at": pa.array([datetime(2026, 1, 2, 3, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "price": pa.array([Decimal("1.20"), None], pa.decimal128(12, 2)),
        "tags": pa.array([["a"], None], pa.list_(pa.string())),
    }
)


@on_both_engines
@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_an_arrow_table_comes_back_as_it_went_in(home: Home, manager: str) -> None:
    seen: list[pa.Table] = []
    home.materialize([thing(lambda _: EVERY_TYPE, manager=manager), reader(pa.Table, seen)])
    assert seen[0].select(EVERY_TYPE.schema.names).to_pylist() == EVERY_TYPE.to_pylist()
    assert seen[0].schema.names == EVERY_TYPE.schema.names


@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_a_frame_comes_back_as_a_frame_without_its_index(home: Home, manager: str) -> None:
    frame = pd.DataFrame({"n": [1, 2], "name": ["a", None]}, index=[7, 8])
    seen: list[pd.DataFrame] = []
    home.materialize([thing(lambda _: frame, manager=manager), reader(pd.DataFrame, seen)])
    assert list(seen[0].columns) == ["n", "name"]
    assert seen[0]["n"].tolist() == [1, 2]
    assert seen[0]["name"].isna().tolist() == [False, True]


@pytest.fixture
def pl(monkeypatch: pytest.MonkeyPatch) -> Any:
    parts.POLARS.require()
    monkeypatch.syspath_prepend(parts.POLARS.folder)
    return importlib.import_module("polars")


@on_both_engines
@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_a_polars_frame_comes_back_as_one(home: Home, pl: Any, manager: str) -> None:
    frame = pl.DataFrame(
        {
            "n": [2**53 + 1, None],
            "name": ["ñ", None],
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "made_at": [datetime(2026, 1, 2, 3, tzinfo=UTC), None],
            "at_time": [time(1, 2, 3), None],
            "price": pl.Series([Decimal("1.20"), None], dtype=pl.Decimal(12, 2)),
            "tags": [["a"], []],
        }
    )
    seen: list[Any] = []
    home.materialize([thing(lambda _: frame, manager=manager), reader(pl.DataFrame, seen)])
    assert isinstance(seen[0], pl.DataFrame)
    assert seen[0].columns == frame.columns
    assert sorted(seen[0].rows(), key=repr) == sorted(frame.rows(), key=repr)


@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_what_polars_made_is_given_as_what_the_reader_names(
    home: Home, pl: Any, manager: str
) -> None:
    seen: list[Any] = []
    made = thing(lambda _: pl.DataFrame({"n": [1, 2]}), manager=manager)
    for kind in (pa.Table, pd.DataFrame, pl.DataFrame):
        home.materialize([made, reader(kind, seen)])
    assert [type(one) for one in seen] == [pa.Table, pd.DataFrame, pl.DataFrame]


def test_a_partition_may_be_a_polars_frame(home: Home, pl: Any) -> None:
    for name, values in (("north", [9.0]), ("south", [3.0]), ("north", [1.0, 2.0])):
        made = pl.DataFrame({"region": [name] * len(values), "x_t": values})
        home.materialize([thing(lambda _, made=made: made, STATIC, "region")], name)
    assert by_region(home) == {"north": [1.0, 2.0], "south": [3.0]}


def test_the_managers_do_not_import_polars() -> None:
    code = "import sys, malacate.orchestration.io_managers; sys.exit('polars' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_told_of_a_table(home: Home) -> None:
    done = home.materialize([thing(lambda _: EVERY_TYPE)])
    (made,) = done.asset_materializations_for_node("silver__thing")
    columns = made.metadata["dagster/column_schema"].value.columns
    assert made.metadata["dagster/row_count"].value == 2
    assert made.metadata["dagster/table_name"].value == "silver.thing"
    assert {c.name: c.type for c in columns}["price"] == "decimal(12,2)"
    assert {c.name: c.type for c in columns}["made_at"] == "timestamptz"


def test_a_table_is_replaced_whole_whatever_its_columns_were(home: Home) -> None:
    home.materialize([thing(lambda _: pa.table({"a": [1, 2], "b": ["x", "y"]}))])
    home.materialize([thing(lambda _: pa.table({"b": [5], "c": [2.5]}))])
    assert home.rows() == [{"b": 5, "c": 2.5}]


def test_the_same_again_is_not_twice(home: Home) -> None:
    for _ in range(2):
        home.materialize([thing(lambda _: pa.table({"a": [1, 2]}))])
    assert home.rows() == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_a_frame_without_rows_is_a_table_without_rows(home: Home, manager: str) -> None:
    seen: list[pa.Table] = []
    empty = EVERY_TYPE.slice(0, 0)
    home.materialize([thing(lambda _: empty, manager=manager), reader(pa.Table, seen)])
    assert (seen[0].num_rows, seen[0].schema.names) == (0, empty.schema.names)


def regions(rows: dict[str, list[float]], names: Sequence[str] = ("region", "x_t")) -> Any:
    def make(partition: str | None) -> pa.Table:
        values = rows[str(partition)]
        named = pa.array([partition] * len(values), pa.string())
        table = pa.table({"region": named, "x_t": pa.array(values, "double")})
        return table.select(list(names))

    return make


def by_region(home: Home) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for row in home.rows():
        found.setdefault(row["region"], []).append(row["x_t"])
    return found


@on_both_engines
def test_a_partition_is_replaced_and_no_other_is_touched(home: Home) -> None:
    rows = {"north": [1.0, 2.0], "south": [3.0], "it's": [4.0]}
    for name in rows:
        home.materialize([thing(regions(rows), STATIC, "region")], name)
    again = thing(regions({"north": [9.0]}), STATIC, "region")
    done = home.materialize([again], "north")
    (made,) = done.asset_materializations_for_node("silver__thing")
    assert by_region(home) == {"north": [9.0], "south": [3.0], "it's": [4.0]}
    assert made.metadata["dagster/partition_row_count"].value == 1


def test_the_order_of_columns_does_not_matter(home: Home) -> None:
    home.materialize([thing(regions({"north": [1.0]}), STATIC, "region")], "north")
    turned = regions({"south": [2.0]}, ("x_t", "region"))
    home.materialize([thing(turned, STATIC, "region")], "south")
    assert by_region(home) == {"north": [1.0], "south": [2.0]}


@on_both_engines
def test_a_partition_without_rows_empties_it(home: Home) -> None:
    for rows in ({"north": [1.0]}, {"north": []}):
        home.materialize([thing(regions(rows), STATIC, "region")], "north")
    assert by_region(home) == {}


def test_a_partition_that_lacks_its_column_leaves_everything_as_it_was(home: Home) -> None:
    home.materialize([thing(regions({"north": [1.0]}), STATIC, "region")], "north")
    before = home.rows()
    without = pa.table({"x_t": [2.0]})
    retyped = pa.table({"region": ["north"], "x_t": ["much"]})
    told = [home.refused([thing(lambda _, v=v: v, STATIC, "region")], "north").reason
            for v in (without, retyped)]  # fmt: skip
    assert told == ["no_partition_column", "schema_drift"]
    assert home.rows() == before


@on_both_engines
@pytest.mark.parametrize("other", ["south", None])
def test_a_row_outside_its_partition_is_refused_as_it_would_come_twice(
    home: Home, other: str | None
) -> None:
    home.materialize([thing(regions({"north": [1.0]}), STATIC, "region")], "north")
    stray = pa.table({"region": ["north", other], "x_t": [1.0, 2.0]})
    error = home.refused([thing(lambda _: stray, STATIC, "region")], "north")
    assert error.reason == "outside_partition"
    assert by_region(home) == {"north": [1.0]}


def test_an_instant_at_the_end_of_a_day_is_not_of_that_day(home: Home) -> None:
    end = pa.array([datetime(2026, 1, 3, tzinfo=UTC)], pa.timestamp("us", "UTC"))
    made = thing(lambda _: pa.table({"made_at": end}), DAYS, "made_at")
    assert home.refused([made], "2026-01-02").reason == "outside_partition"


@on_both_engines
@pytest.mark.parametrize("manager", ["warehouse", "lake"])
def test_a_reader_without_partitions_gets_all_of_them(home: Home, manager: str) -> None:
    seen: list[pa.Table] = []
    rows = {"north": [1.0], "south": [2.0], "it's": [3.0]}
    made = thing(regions(rows), STATIC, "region", manager)
    for name in rows:
        home.materialize([made], name)
    home.materialize([made, reader(pa.Table, seen)], selection=["gold/seen"])
    assert sorted(seen[0]["x_t"].to_pylist()) == [1.0, 2.0, 3.0]


def test_a_partitioned_asset_has_to_name_its_column(home: Home) -> None:
    error = home.refused([thing(regions({"north": [1.0]}), STATIC)], "north")
    assert error.reason == "no_partition_column"
    assert 'metadata={"partition_column"' in error.advice


def days(hours: Sequence[int]) -> Callable[[str | None], pa.Table]:
    def make(partition: str | None) -> pa.Table:
        start = datetime.fromisoformat(f"{partition}T00:00:00+00:00")
        at = [start.replace(hour=hour) for hour in hours]
        return pa.table({"made_at": pa.array(at, pa.timestamp("us", "UTC")), "hour": list(hours)})

    return make


@on_both_engines
def test_a_day_is_replaced_from_midnight_to_midnight(home: Home) -> None:
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        home.materialize([thing(days([0, 23]), DAYS, "made_at")], day)
    home.materialize([thing(days([5]), DAYS, "made_at")], "2026-01-02")
    found = [(row["made_at"].day, row["hour"]) for row in home.rows()]
    assert found == [(1, 0), (1, 23), (2, 5), (3, 0), (3, 23)]


@on_both_engines
def test_a_reader_of_a_day_gets_that_day(home: Home) -> None:
    seen: list[pa.Table] = []
    made = thing(days([0, 23]), DAYS, "made_at")
    home.materialize([made], "2026-01-01")
    home.materialize([made, reader(pa.Table, seen, DAYS)], "2026-01-02")
    assert {at.day for at in seen[0]["made_at"].to_pylist()} == {2}
    assert seen[0].num_rows == 2


@on_both_engines
def test_one_run_over_many_days_replaces_all_of_them(home: Home) -> None:
    def make(_: str | None) -> pa.Table:
        return pa.concat_tables(days([7])(f"2026-01-0{day}") for day in (1, 2, 3))

    for day in ("2026-01-02", "2026-01-04"):
        home.materialize([thing(days([0, 23]), DAYS, "made_at")], day)
    made = thing(make, DAYS, "made_at", policy=dg.BackfillPolicy.single_run())
    span = {
        "dagster/asset_partition_range_start": "2026-01-01",
        "dagster/asset_partition_range_end": "2026-01-03",
    }
    home.materialize([made], tags=span)
    found = [(row["made_at"].day, row["hour"]) for row in home.rows()]
    assert found == [(1, 7), (2, 7), (3, 7), (4, 0), (4, 23)]


@pytest.mark.parametrize("name", ["Weight", "weight t", "select", "", 'x"; drop table y; --'])
def test_a_write_with_an_illegal_column_leaves_the_rows_before(home: Home, name: str) -> None:
    home.materialize([thing(lambda _: pa.table({"a": [1]}))])
    if name == "select":
        home.materialize([thing(lambda _: pa.table({name: [2]}))])
        assert home.rows() == [{"select": 2}]
        return
    error = home.refused([thing(lambda _: pa.table({name: [2]}))])
    assert error.reason == "illegal_name"
    assert home.rows() == [{"a": 1}]


@pytest.mark.parametrize("manager", ["warehouse", "lake"])
@pytest.mark.parametrize("value", [None, [1], {"a": 1}, "text", pd.Series([1])])
def test_what_is_no_table_is_refused_with_advice(home: Home, manager: str, value: object) -> None:
    error = home.refused([thing(lambda _: value, manager=manager)])
    assert error.reason == "not_a_table"
    assert type(value).__name__ in error.what
    assert "pyarrow.Table or a pandas.DataFrame" in error.advice


def test_a_type_that_no_contract_can_name_is_refused_with_advice(home: Home) -> None:
    odd = pa.table({"a": pa.array([1], pa.duration("us"))})
    assert home.refused([thing(lambda _: odd)]).reason == "unknown_type"


def test_the_newest_landing_is_read(home: Home) -> None:
    seen: list[pa.Table] = []
    for value in (1, 2):
        made = thing(lambda _, value=value: pa.table({"a": [value]}), manager="lake")
        home.materialize([made, reader(pa.Table, seen)])
    assert [table["a"].to_pylist() for table in seen] == [[1], [2]]


def test_what_has_not_landed_is_told(home: Home) -> None:
    made = thing(lambda _: pa.table({"a": [1]}), manager="lake")
    key = dg.AssetKey(["silver", "thing"])
    with pytest.raises(MalacateError, match="Materialize it first"):
        dg.Definitions(
            assets=[made], resources={"lake": LakeIOManager(platform=home.platform)}
        ).load_asset_value(key, instance=home.instance)


@pytest.mark.parametrize("manager", ["warehouse", "lake"])
@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_partition_key_names_a_file(home: Home, manager: str, hostile: str) -> None:
    home.instance.add_dynamic_partitions("hostile", [hostile])
    partitions = dg.DynamicPartitionsDefinition(name="hostile")
    make = regions({hostile: [1.0]})
    seen: list[pa.Table] = []
    before = home.files()
    made = thing(make, partitions, "region", manager)
    home.materialize([made, reader(pa.Table, seen, partitions)], hostile)
    new = home.files() - before
    assert seen[0].to_pylist() == [{"region": hostile, "x_t": 1.0}]
    assert [path for path in new if not path.is_relative_to(home.root)] == []
    assert [path for path in new if hostile.strip("./")[:20] in path.name and hostile != ".."] == []
    landed = {path.suffix for path in new if path.is_relative_to(home.root / "lake")}
    assert landed == {".json", ".parquet"}
