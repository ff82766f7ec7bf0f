"""What was lost on the target ``gcp``, made again: BigQuery's tables, and the ledger in Postgres.

On the stand-ins of Google's; the Postgres is real.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from platform_tests.company import Command, Company, newer, opened_shop, sale, sales
from platform_tests.emulators import bigquery_proxy, gcs, parts

from malacate.ledger import costs
from malacate.names import TableName
from malacate.recover import Recovery
from malacate.warehouse.bigquery_aside import emptied
from malacate.warehouse.bigquery_tables import Tables

SALE, REFUND = "raw/shop/sale", "raw/shop/refund"
TARGETS = """
gcp-emulated:
  lake: gs://{name}/lake
  warehouse: bigquery://{name}
  ledger: ${{MALACATE_LEDGER}}
"""
REFUNDS = "sale_id,amount\n1,2.50\n2,0.10\n"
COUNTED = {
    "raw_shop.sale": "*",
    "raw_shop.refund": "*",
    "malacate.quarantine": "*",
    "malacate.loads": "batch_id, object, version, rows, rows_quarantined, is_current",
}


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    root = tmp_path_factory.mktemp("buckets")
    with (
        gcs.serving(root) as store,
        parts.bigquery(root) as server,
        bigquery_proxy.proxied(server.url) as proxy,
    ):
        yield {"STORAGE_EMULATOR_HOST": store, "BIGQUERY_EMULATOR_HOST": proxy.url}


@pytest.fixture
def stocked(google: dict[str, str], postgres_url: str) -> Iterator[Company]:
    """Three files, one of them twice, one of them bad; a table of a second kind."""
    name = f"b{uuid4().hex[:12]}"
    ledger = postgres_url.replace("postgresql://", "postgresql+psycopg://", 1)
    told = {**google, "MALACATE_TARGET": "gcp-emulated", "GOOGLE_CLOUD_PROJECT": name}
    with opened_shop(**told, MALACATE_LEDGER=ledger) as shop:
        storage.Client(name, credentials=AnonymousCredentials()).create_bucket(name)
        shop.write("targets.yaml", TARGETS.format(name=name))
        first = shop.drop("sales/1.csv", sales(sale(1), sale(2)))
        shop.drop("sales/2.csv", sales(sale(3), sale(4), sale(5, -1)))
        shop.drop("sales/3.csv", b"")
        shop.drop("refunds/1.csv", REFUNDS)
        for key in (SALE, REFUND):
            shop.ingest.run(shop.route(key))
        newer(first, sales(sale(1), sale(2, 7.5), sale(6)))
        shop.ingest.run(shop.route(SALE))
        yield shop


def client(shop: Company) -> bigquery.Client:
    opened: bigquery.Client = shop.ingest.warehouse._jobs.client  # type: ignore[attr-defined]
    return opened


def checksums(shop: Company) -> dict[str, list[str]]:
    """Every row of every table, batches and rejects included."""
    warehouse = shop.ingest.warehouse
    queries = {table: f"select {columns} from {table}" for table, columns in COUNTED.items()}
    return {
        table: sorted(map(repr, warehouse.query(sql).to_pylist())) for table, sql in queries.items()
    }


def landings(out: str) -> dict[str, int]:
    return {row["table"]: row["landings"] for row in json.loads(out)}


def test_a_warehouse_that_was_tampered_with_is_rebuilt_as_it_was(
    stocked: Company, malacate: Command
) -> None:
    before = checksums(stocked)
    assert [len(rows) for rows in before.values()] == [5, 2, 1, 4]
    for statement in (
        "delete from raw_shop.sale where sale_id = 6",
        "insert into raw_shop.sale select * from raw_shop.sale where sale_id = 3",
        "update malacate.loads set is_current = true where true",
    ):
        client(stocked).query(statement).result()
    tampered = checksums(stocked)
    assert tampered != before
    code, out, told = malacate("rebuild", "warehouse", "--json")
    assert code == 0
    assert landings(out) == {SALE: 3, REFUND: 1}
    assert checksums(stocked) == before
    kept = told.split("dataset ")[1].split(".")[0]
    rows = stocked.ingest.warehouse.query(f"select * from {kept}.raw_shop__sale").to_pylist()
    assert sorted(map(repr, rows)) == tampered["raw_shop.sale"]


def test_a_warehouse_that_is_gone_is_rebuilt_as_it_was(stocked: Company, malacate: Command) -> None:
    before = checksums(stocked)
    for name in ("malacate", "malacate_staging", "raw_shop"):
        client(stocked).delete_dataset(name, delete_contents=True)
    from malacate.orchestration import bigquery as opener

    opener._client.cache_clear()
    code, out, told = malacate("rebuild", "warehouse", "--json")
    assert code == 0, told
    assert landings(out) == {SALE: 3, REFUND: 1}
    assert checksums(stocked) == before


def test_a_rebuild_that_was_killed_leaves_nothing_marked_that_is_not_there(
    stocked: Company, monkeypatch: pytest.MonkeyPatch, malacate: Command
) -> None:
    before = checksums(stocked)

    def killed(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as until:
        until.setattr(Recovery, "rebuild", killed)
        assert malacate("rebuild", "warehouse")[0] != 0
    assert not any(checksums(stocked).values())
    for key in (SALE, REFUND):
        stocked.ingest.run(stocked.route(key))
    assert checksums(stocked) == before


def test_what_somebody_set_on_a_table_stays(stocked: Company, malacate: Command) -> None:
    table = client(stocked).get_table("raw_shop.sale")
    table.description = "set by hand"
    client(stocked).update_table(table, ["description"])
    assert malacate("rebuild", "warehouse")[0] == 0
    assert client(stocked).get_table("raw_shop.sale").description == "set by hand"


def test_other_tables_keep_their_rows_and_markers(stocked: Company, malacate: Command) -> None:
    client(stocked).query(
        "insert into malacate.loads (batch_id, schema_name, table_name) "
        "values ('x', 'gold', 'made')"
    ).result()
    assert malacate("rebuild", "warehouse")[0] == 0
    query = "select batch_id from malacate.loads where schema_name = 'gold'"
    assert stocked.ingest.warehouse.query(query).to_pylist() == [{"batch_id": "x"}]


def test_the_script_that_empties_is_googlesql(stocked: Company) -> None:
    made: Tables = stocked.ingest.warehouse._tables  # type: ignore[attr-defined]
    script = emptied(made, [TableName("raw_shop", "sale"), TableName("raw_shop", "none")])
    assert "none`" not in script
    marks = {"schema_name": "STRING", "table_name": "STRING"}
    names = ("claims", "loads", "positions", "quarantine")
    tables = {"raw_shop.sale": {"id": "INT64"}, **{f"malacate.{name}": marks for name in names}}
    with parts.googlesql() as analyzer:
        assert [one.error for one in analyzer.check(script, tables)] == [""] * 7


def test_a_ledger_in_postgres_is_rebuilt_and_the_old_one_and_costs_are_kept(
    stocked: Company, malacate: Command, postgres_url: str
) -> None:
    shown = ("object", "version", "state", "rows_read", "rows_loaded", "rows_quarantined")

    def loaded() -> list[tuple[Any, ...]]:
        rows = stocked.ingest.ledger.batches()
        return sorted(tuple(x[name] for name in shown) for x in rows if x["state"] == "loaded")

    before, rows = loaded(), checksums(stocked)
    spent = {"job_id": "j", "kind": "read", "url": "", "accuracy": "UNKNOWN", "bytes_billed": 7}
    costs.note(stocked.ingest.ledger, SALE, "run", spent)
    code, _, told = malacate("rebuild", "ledger")
    assert code == 0
    assert loaded() == before
    assert [row["bytes_billed"] for row in costs.of_run(stocked.ingest.ledger, SALE, "run")] == [7]
    kept = told.split("schema ")[1].split(".")[0]
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(f"select count(*) from {kept}.batch").fetchone()
    assert found == (5,)
    report = stocked.ingest.run(stocked.route(SALE))
    assert [b["object"] for b in report.batches if b["state"] == "quarantined"] == ["sales/3.csv"]
    assert checksums(stocked) == rows
