"""What an asset costs is told on its page, kept in the ledger, and stopped by its budget.

Run on the stand-ins of Google's: bqemulator behind the proxy that bills.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from dagster_dbt import DbtCliInvocation
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from platform_tests.company import Company, Ran, opened_shop, sale, sales
from platform_tests.emulators import bigquery_proxy, gcs, parts
from platform_tests.emulators.bigquery_bytes import MB
from platform_tests.emulators.bigquery_proxy import Proxy
from platform_tests.emulators.bigquery_words import INSERTS

from malacate.errors import ConfigError, OutOfBudget
from malacate.ledger import costs
from malacate.orchestration import bigquery
from malacate.orchestration.dbt_cost import DbtCost, strictest
from malacate.orchestration.target import Target, chosen
from malacate.orchestration.warehouse_cost import plot

TARGETS = """
local:
  lake: ${MALACATE_HOME}/lake
  warehouse: duckdb://${MALACATE_HOME}/warehouse.duckdb
  ledger: sqlite:///${MALACATE_HOME}/ledger.sqlite
gcp-emulated:
  lake: gs://%s/lake
  warehouse: bigquery://%s
  ledger: sqlite:///${MALACATE_HOME}/gcp.sqlite
  budgets: %s
"""
COST = """
import dagster as dg

from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.warehouse_cost import warehouse_cost

made = warehouse_cost(["silver/sale"], POOL, "bigquery")


@dg.definitions
def cost():
    return dg.Definitions(assets=[made])
"""
READER = """
import dagster as dg
import pyarrow as pa


@dg.asset(
    key=["gold", "sale"], io_manager_key="warehouse",
    ins={"given": dg.AssetIn(key=["silver", "sale"], input_manager_key="warehouse")},
)
def sale(given: pa.Table) -> pa.Table:
    return given
"""


@dataclass(frozen=True)
class Google:
    """The stand-ins: BigQuery's proxy, and Cloud Storage."""

    proxy: Proxy
    store: str

    def variables(self) -> dict[str, str]:
        return {
            "MALACATE_TARGET": "gcp-emulated",
            "STORAGE_EMULATOR_HOST": self.store,
            "BIGQUERY_EMULATOR_HOST": self.proxy.url,
        }


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    parts.BIGQUERY.require()
    root = tmp_path_factory.mktemp("buckets")
    with (
        gcs.serving(root) as store,
        parts.bigquery(root) as server,
        bigquery_proxy.proxied(server.url, bills=True) as proxy,
    ):
        yield Google(proxy, store)


@pytest.fixture
def shop(google: Google, tmp_path: Path) -> Iterator[Company]:
    """A shop whose warehouse is a new project of BigQuery's stand-in; silver costs at most 1 GB."""
    name = f"p{tmp_path.name.replace('_', '')[:40].lower()}"
    with opened_shop(**google.variables()) as company:
        storage.Client(name, credentials=AnonymousCredentials()).create_bucket(name)
        budget(company, name, '{"silver/*": 1 GB, "*": 10 GB}')
        company.drop("sales/a.csv", sales(sale(1), sale(2)))
        yield company


def budget(company: Company, project: str, budgets: str) -> None:
    company.write("targets.yaml", TARGETS % (project, project, budgets))


def project(company: Company) -> str:
    return target(company).warehouse.partition("://")[2]


def target(company: Company) -> Target:
    return chosen(company.package / "targets.yaml")


def spent(company: Company, ran: Ran, asset: str) -> list[dict[str, Any]]:
    return costs.of_run(target(company).open_ledger(), asset, ran.result.run_id)


def begun(proxy: Proxy, what: str) -> int:
    return sum(request.what == what for request in proxy.seen)


def test_a_materialization_tells_what_it_cost_beside_what_it_holds(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    ran = shop.materialize(instance, "raw/shop/sale")
    assert ran.is_success, ran.error()
    told, rows = ran.metadata("raw/shop/sale"), spent(shop, ran, "raw/shop/sale")
    assert told["bytes_billed"] == sum(row["bytes_billed"] for row in rows) >= 10 * MB
    assert told["bytes_estimated"] == sum(row["bytes_estimated"] or 0 for row in rows) > 0
    assert told["cost_usd"] == pytest.approx(told["bytes_billed"] / 1024**4 * 6.25, abs=1e-6)
    assert told["statements"] == len(rows) == len({row["job_id"] for row in rows})
    (publish,) = [row for row in rows if row["kind"] == "publish"]
    assert told["bigquery_job"] == publish["url"]
    assert f"j=bq:US:{publish['job_id']}" in publish["url"]
    assert told["dagster/row_count"] == 2
    assert told["dagster/column_schema"].columns
    assert told["dagster/column_lineage"].deps_by_column


def test_a_publish_over_its_budget_is_not_begun_and_the_step_is_not_retried(
    shop: Company, google: Google, instance: dg.DagsterInstance
) -> None:
    name = project(shop)
    budget(shop, name, '{"raw/*": 1 B}')
    google.proxy.seen.clear()
    ran = shop.materialize(instance, "raw/shop/sale")
    assert not ran.is_success
    for fact in ("raw/shop/sale", "for a publish", "at most 1 B a run", "USD", "targets.yaml"):
        assert fact in ran.error()
    assert begun(google.proxy, "transaction") == 0
    assert not [e for e in ran.result.all_events if e.is_step_up_for_retry]
    budget(shop, name, '{"raw/*": 1 GB}')
    again = shop.materialize(instance, "raw/shop/sale")
    assert again.is_success, again.error()
    assert again.metadata("raw/shop/sale")["dagster/row_count"] == 2


def test_a_python_asset_pays_for_what_it_reads_and_writes(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.write("defs/reader.py", READER)
    ran = shop.materialize(instance, "raw/shop/sale", "silver/sale", "gold/sale")
    assert ran.is_success, ran.error()
    assert ran.metadata("silver/sale")["bytes_billed"] > 0
    kinds = {row["kind"] for row in spent(shop, ran, "gold/sale")}
    assert {"read", "publish"} <= kinds
    assert ran.metadata("gold/sale")["dagster/row_count"] == 2
    assert "bigquery_job" in ran.metadata("gold/sale")


def test_the_costs_of_each_asset_and_day_are_a_table_with_a_plot(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.write("defs/cost.py", COST)
    ran = shop.materialize(instance, "raw/shop/sale", "silver/sale", "ops/warehouse_cost")
    assert ran.is_success, ran.error()
    rows = shop.rows("ops.warehouse_cost")
    raw = next(row for row in rows if row["asset"] == "raw/shop/sale")
    noted = spent(shop, ran, "raw/shop/sale")
    assert raw["statements"] == len(noted)
    assert raw["bytes_billed"] == sum(row["bytes_billed"] for row in noted)
    assert raw["cost_usd"] == pytest.approx(sum(row["usd"] for row in noted))
    shown = ran.metadata("ops/warehouse_cost")["billed"]
    pictures = re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", shown)
    assert len(pictures) == 2
    assert b"raw/shop/sale" in base64.b64decode(pictures[0])
    assert "| raw/shop/sale |" in shown


def test_the_kind_of_the_warehouse_is_that_of_the_target(shop: Company) -> None:
    graph = shop.definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["raw", "shop", "sale"])).kinds == {"csv", "bigquery"}


def test_a_target_that_costs_nothing_has_an_empty_table(
    shop: Company, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALACATE_TARGET", "local")
    shop.write("defs/cost.py", COST)
    ran = shop.materialize(instance, "raw/shop/sale", "silver/sale", "ops/warehouse_cost")
    assert ran.is_success, ran.error()
    assert shop.rows("ops.warehouse_cost") == []
    assert "Nothing was billed" in ran.metadata("ops/warehouse_cost")["billed"]
    assert "bytes_billed" not in ran.metadata("raw/shop/sale")


def test_the_first_pattern_that_matches_is_the_budget(shop: Company) -> None:
    budget(shop, "p", '{"raw/lab/*": 2 GB, "raw/*": 10 MB, "gold/*": 1.5 TiB}')
    terms = target(shop).terms
    assert terms("raw/lab/rock").budget == 2 * 1000**3
    assert terms("raw/shop/sale").budget == 10 * 1000**2
    assert terms("gold/thing").budget == 3 * 1024**4 // 2
    assert terms("silver/thing").budget is None


def test_a_price_of_one_s_own_is_taken(shop: Company) -> None:
    budget(shop, "p", "{}\n  usd_per_tib: 5")
    assert target(shop).terms("raw/x").usd(1024**4) == 5.0


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ('{"*": many}', 9),
        ("10 GB", 9),
        ('{"*": -1}', 9),
        ("{}\n  usd_per_tib: cheap", 10),
        ("{}\n  usd_per_tib: -1", 10),
    ],
)
def test_a_budget_that_is_no_size_is_told_with_its_line(
    shop: Company, given: str, line: int
) -> None:
    budget(shop, "p", given)
    with pytest.raises(ConfigError) as caught:
        target(shop)
    assert caught.value.object.endswith(f"targets.yaml:{line}")


def test_a_warehouse_that_bills_nothing_takes_no_budget(shop: Company) -> None:
    text = 'local: {lake: a, warehouse: "duckdb://b", ledger: c, budgets: {"*": 1 GB}}'
    file = shop.write("targets.yaml", text)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MALACATE_TARGET", "local")
        with pytest.raises(ConfigError, match="unknown key 'budgets'"):
            chosen(file)


def test_a_repeated_note_is_one_row_of_its_first_instant(shop: Company) -> None:
    ledger = target(shop).open_ledger()
    one = {"job_id": "j", "kind": "read", "url": "", "accuracy": "PRECISE"}
    costs.note(ledger, "gold/x", "r", {**one, "bytes_estimated": 7})
    (before,) = costs.of_run(ledger, "gold/x", "r")
    costs.note(ledger, "gold/x", "r", {**one, "bytes_billed": 10, "usd": 0.5})
    (after,) = costs.of_run(ledger, "gold/x", "r")
    assert after == {**before, "bytes_billed": 10, "usd": 0.5}
    (day,) = [row for row in costs.by_day(ledger) if row["asset"] == "gold/x"]
    assert (day["statements"], day["bytes_billed"], day["cost_usd"]) == (1, 10, 0.5)


def test_names_in_a_plot_are_text() -> None:
    assert "&lt;script&gt;" in plot([("<script>", 0.0), ("b", 1.0)])


def test_all_that_is_run_is_noted(
    shop: Company, google: Google, instance: dg.DagsterInstance
) -> None:
    google.proxy.seen.clear()
    ran = shop.materialize(instance, "raw/shop/sale")
    sent = {r.key[1] for r in google.proxy.seen if r.what in INSERTS and r.what != "load"}
    assert {row["job_id"] for row in spent(shop, ran, "raw/shop/sale")} == sent


class Build:
    """A build of dbt that has ended, as its run results tell of it."""

    def __init__(self, *results: dict[str, Any]) -> None:
        self.results = results

    def get_artifact(self, name: str) -> dict[str, Any]:
        assert name == "run_results.json"
        return {"results": list(self.results)}


MODELS = {"model.m.a": "gold/a", "model.m.b": "gold/b"}


def of_dbt(company: Company, *results: dict[str, Any]) -> DbtCost:
    warehouse = target(company).open_warehouse()
    return DbtCost(target(company), warehouse, "run", cast(DbtCliInvocation, Build(*results)), 7)


def test_a_model_costs_what_dbt_tells_of_its_job_and_bigquery_had_estimated(shop: Company) -> None:
    job = bigquery._client(project(shop), None).query("select 1 as n")
    job.result()
    answer = {
        "job_id": job.job_id, "location": "US", "project_id": "p", "bytes_billed": 1024**4,
        "slot_ms": 40,
    }  # fmt: skip
    test = {"unique_id": "test.m.t", "adapter_response": {}}
    cost = of_dbt(shop, {"unique_id": "model.m.a", "adapter_response": answer}, test)
    cost.note(MODELS)
    cost.note(MODELS)
    told = cost.metadata("gold/a")
    assert (told["bytes_billed"], told["cost_usd"], told["slot_ms"]) == (1024**4, 6.25, 40)
    assert told["bytes_estimated"] == 0
    assert told["statements"] == 1
    assert job.job_id in told["bigquery_job"].value
    assert cost.metadata("gold/b") == {}


def test_a_model_that_bigquery_stopped_for_its_cost_is_told_with_its_budget(shop: Company) -> None:
    said = "Database Error in model b: Query exceeded limit for bytes billed: 7. 10485760 or higher"
    fine = {"unique_id": "model.m.a", "message": "OK", "adapter_response": {}}
    stopped = {"unique_id": "model.m.b", "message": said, "adapter_response": {}}
    of_dbt(shop, fine).require_within(MODELS)
    with pytest.raises(OutOfBudget, match=r"gold/b.*at most 7 B, the strictest budget"):
        of_dbt(shop, fine, stopped).require_within(MODELS)


def test_dbt_is_held_to_the_strictest_budget_of_its_models(shop: Company) -> None:
    budget(shop, "p", '{"gold/a": 2 GB, "gold/b": 1 GB}')
    assert strictest(target(shop), ["gold/a", "gold/b", "silver/c"]) == 1000**3
    assert strictest(target(shop), ["silver/c"]) is None


def test_who_only_reads_needs_no_ledger_and_is_held_to_a_budget_too(
    shop: Company, google: Google, instance: dg.DagsterInstance
) -> None:
    name = project(shop)
    assert shop.materialize(instance, "raw/shop/sale").is_success
    budget(shop, name, '{"cli": 1 B}')
    text = (shop.package / "targets.yaml").read_text()
    shop.write("targets.yaml", text.replace("sqlite:///${MALACATE_HOME}/gcp.sqlite", "${NOT_SET}"))
    with pytest.raises(OutOfBudget, match="cli"):
        target(shop).open_warehouse().query("select * from raw_shop.sale")
    assert target(shop).open_warehouse().query("select 1 as n").num_rows == 1
