"""From a served column to named columns of sources, and what is told where the trail ends."""

from collections.abc import Iterator

import dagster as dg
import pyarrow as pa
import pytest

from malacate.orchestration.io_managers import WarehouseIOManager
from malacate.orchestration.lineage import Columns, Origin, lineage_asset, origins, recorded
from malacate.orchestration.resources import Platform

Graph = dict[str, dict[str, list[str]]]
DIAMOND: Graph = {
    "gold/day": {"total_t": ["silver/a.x_t", "silver/b.y_t"], "note": []},
    "silver/a": {"x_t": ["raw/shop/sale.w_t"]},
    "silver/b": {"y_t": ["raw/shop/sale.w_t", "raw/shop/sale.n"]},
    "raw/shop/sale": {"w_t": ["source/shop/sale.W"], "n": ["source/shop/sale.N"]},
}


def key(name: str) -> dg.AssetKey:
    return dg.AssetKey(name.split("/"))


def of(graph: Graph, asset: dg.AssetKey) -> Columns:
    columns = graph.get(asset.to_user_string(), {})
    return {
        name: [(key(dep.split(".")[0]), dep.split(".")[1]) for dep in deps]
        for name, deps in columns.items()
    }


def traced(graph: Graph, *keys: str) -> tuple[list[Origin], list[str]]:
    return origins([key(name) for name in keys], lambda asset: of(graph, asset))


def test_a_diamond_is_told_once_for_each_source_column() -> None:
    found, lost = traced(DIAMOND, "gold/day")
    assert found == [
        Origin("gold/day", "total_t", "source/shop/sale", "W"),
        Origin("gold/day", "total_t", "source/shop/sale", "N"),
    ]
    assert lost == ["gold/day.note"]


@pytest.mark.parametrize("deps", [["silver/a.gone"], ["nowhere/x.y"], []])
def test_a_dead_end_is_told_with_the_column(deps: list[str]) -> None:
    assert traced({**DIAMOND, "gold/x": {"c": deps}}, "gold/x") == ([], ["gold/x.c"])


def test_a_table_of_which_nothing_is_known_is_told() -> None:
    assert traced(DIAMOND, "gold/new") == ([], ["gold/new: no column is known"])


@pytest.fixture
def resources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    home = tmp_path_factory.mktemp("home")
    text = f"local: {{lake: {home}/lake, warehouse: 'duckdb://{home}/w.duckdb', ledger: 'sqlite:///{home}/l'}}"
    (home / "targets.yaml").write_text(text)
    platform = Platform(targets=str(home / "targets.yaml"))
    return {"platform": platform, "warehouse": WarehouseIOManager(platform=platform)}


def served(deps: dict[str, list[dg.TableColumnDep]], *columns: str) -> dg.AssetsDefinition:
    @dg.asset(key=["gold", "day"])
    def day() -> Iterator[dg.MaterializeResult[None]]:
        schema = dg.TableSchema([dg.TableColumn(name, "double") for name in columns])
        told = {
            "dagster/column_schema": schema,
            "dagster/column_lineage": dg.TableColumnLineage(deps),
        }
        yield dg.MaterializeResult(metadata=told)

    return day


def run(
    day: dg.AssetsDefinition, resources: dict[str, object], instance: dg.DagsterInstance
) -> dg.AssetCheckEvaluation:
    gold = lineage_asset("gold", [day.key], "warehouse")
    done = dg.materialize([day, gold], resources=resources, instance=instance)
    (evaluation,) = done.get_asset_check_evaluations()
    return evaluation


def test_the_check_passes_when_every_column_has_a_source(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    dep = dg.TableColumnDep(key("source/shop/sale"), "W")
    assert run(served({"total_t": [dep]}, "total_t"), resources, instance).passed
    table = resources["platform"].target.open_warehouse().query("select * from ops.column_lineage")
    row = {"table": "gold/day", "column": "total_t"}
    row |= {"source_table": "source/shop/sale", "source_column": "W"}
    found = [{k: v for k, v in r.items() if k in row} for r in table.to_pylist()]
    assert found == [row]


def test_the_check_fails_and_names_the_column_without_a_source(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    dep = dg.TableColumnDep(key("source/shop/sale"), "W")
    failed = run(served({"total_t": [dep]}, "total_t", "guess"), resources, instance)
    assert not failed.passed
    assert failed.metadata["without_source"].value == ["gold/day.guess"]
    assert (failed.metadata["expected"].value, failed.metadata["actual"].value) == (2, 1)
    assert "what_to_do" in failed.metadata


def test_only_the_latest_materialization_counts(instance: dg.DagsterInstance) -> None:
    for name in ("old", "new"):
        dg.materialize([served({}, name)], instance=instance)
    assert recorded(instance)(key("gold/day")) == {"new": []}
    assert recorded(instance)(key("gold/never")) == {}


def test_no_lineage_at_all_still_makes_an_empty_table(
    resources: dict[str, object], instance: dg.DagsterInstance
) -> None:
    assert not run(served({}), resources, instance).passed
    table = resources["platform"].target.open_warehouse().query("select * from ops.column_lineage")
    assert isinstance(table, pa.Table)
    assert table.num_rows == 0
