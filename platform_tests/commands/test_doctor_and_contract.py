"""The exact fix for what is missing, and a contract drafted from what a source has."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from platform_tests.company import CONTRACT, Command, Company, at_home, sale, sales

from malacate.contracts.odcs import read_contract
from malacate.sources.databases_postgres import observe

CRM = """
type: malacate.components.DatabaseTables
attributes:
  source: crm
  url: ${CRM_URL}
  tables:
    - name: account
    - name: visit
"""
CRM_CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: crm
name: Customers
version: 1.0.0
status: active
schema:
  - name: account
    physicalName: app.account
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: name, logicalType: string, physicalType: varchar}
  - name: visit
    physicalName: app.visit
    properties:
      - {name: id, logicalType: integer, physicalType: bigint, primaryKey: true}
"""
TABLES = """
create schema app;
create table app.account (id bigint primary key, name text not null);
comment on table app.account is 'A customer';
comment on column app.account.name is 'As they write it';
create table app.visit (
  account_id bigint, "No" int, made_at timestamptz not null, price numeric(12,2),
  is_new boolean, notes jsonb, tags text[], primary key ("No", account_id)
);
"""


@pytest.fixture
def crm(tmp_path: Path, postgres_url: str) -> Iterator[Company]:
    """A company with a database of customers."""
    company = Company(tmp_path)
    company.write("defs/crm/defs.yaml", CRM)
    company.write("defs/crm/contract.odcs.yaml", CRM_CONTRACT)
    execute(postgres_url, TABLES)
    with at_home(company, CRM_URL=postgres_url):
        yield company


def execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)


def looked(malacate: Command) -> tuple[int, dict[str, dict[str, Any]]]:
    code, out, _ = malacate("doctor", "--json")
    return code, {row["what"]: row for row in json.loads(out)}


def test_what_is_right_is_told_with_what_was_found(
    crm: Company, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(crm.folder))
    code, told = looked(malacate)
    assert {what: row["fix"] for what, row in told.items() if not row["is_right"]} == {}
    assert code == 0
    assert told["crm/account"]["found"] == "2 columns"
    assert told["crm database"]["found"].startswith("PostgreSQL 18")
    assert "user postgres" in told["crm database"]["found"]
    assert told["local warehouse"]["found"] == str(crm.folder / "home/warehouse.duckdb")
    assert malacate("doctor")[0] == 0


def test_a_table_that_is_not_there_is_told(
    crm: Company, malacate: Command, postgres_url: str
) -> None:
    execute(postgres_url, "drop table app.visit")
    code, told = looked(malacate)
    assert code == 1
    assert not told["crm/visit"]["is_right"]
    assert told["crm/account"]["is_right"]
    assert "not there" in told["crm/visit"]["found"]
    assert "Check the name" in told["crm/visit"]["fix"]


def test_a_missing_privilege_is_told_as_the_statement_to_run(
    crm: Company, malacate: Command, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(postgres_url, "create role clerk login; grant usage on schema app to clerk")
    execute(postgres_url, "grant select on app.visit to clerk")
    monkeypatch.setenv("CRM_URL", postgres_url.replace("postgres:@", "clerk:@", 1))
    code, told = looked(malacate)
    assert code == 1
    assert told["crm/visit"]["is_right"]
    assert not told["crm/account"]["is_right"]
    fix = told["crm/account"]["fix"]
    assert "grant select on app.account to clerk;" in fix
    execute(postgres_url, fix[fix.index("grant ") :])
    assert looked(malacate)[1]["crm/account"]["is_right"]
    execute(postgres_url, "drop owned by clerk; drop role clerk")


def test_a_schema_that_may_not_be_used_is_told_as_the_statement_to_run(
    crm: Company, malacate: Command, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(postgres_url, "create role guest login")
    execute(postgres_url, "grant select on all tables in schema app to guest")
    monkeypatch.setenv("CRM_URL", postgres_url.replace("postgres:@", "guest:@", 1))
    told = looked(malacate)[1]["crm/account"]
    assert not told["is_right"]
    assert "grant usage on schema app to guest;" in told["fix"]
    execute(postgres_url, "drop owned by guest; drop role guest")


def test_a_database_that_does_not_answer_is_told_and_the_rest_is_looked_at(
    crm: Company, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", f"postgresql://ana@/crm?host={crm.folder}")
    code, told = looked(malacate)
    assert code == 1
    assert not told["crm database"]["is_right"]
    assert str(crm.folder) in told["crm database"]["found"]
    assert told["local warehouse"]["is_right"]


def test_a_missing_variable_is_named(
    crm: Company, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CRM_URL")
    code, told = looked(malacate)
    assert code == 1
    assert "CRM_URL" in told["crm/account"]["found"]
    assert "Export CRM_URL" in told["crm/account"]["fix"]


def test_a_missing_folder_is_told(shop: Company, malacate: Command) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("sales/_SUCCESS", "")
    assert looked(malacate)[1]["shop/sale"]["found"] == "1 files, ignored: 1 marker"
    shutil.rmtree(shop.drops)
    code, told = looked(malacate)
    assert code == 1
    assert not told["shop/sale"]["is_right"]
    assert "Create it" in told["shop/sale"]["fix"]


def test_a_mistake_in_yaml_is_told_with_file_and_line(shop: Company, malacate: Command) -> None:
    file = shop.declarations / "shop/defs.yaml"
    file.write_text(file.read_text().replace("tables:", "tabel:"))
    code, told = looked(malacate)
    assert code == 1
    assert f"{file}:5" in told["declarations"]["found"]
    assert told["declarations"]["fix"] == "Did you mean 'tables'?"


def test_a_draft_reads_back_as_what_the_database_has(
    crm: Company, malacate: Command, postgres_url: str
) -> None:
    code, text, _ = malacate("contract", "draft", "crm")
    assert code == 0
    file = crm.write("defs/crm/draft.yaml", text)
    promised = read_contract(file, "crm")
    assert list(promised) == ["account", "visit"]
    for name, table in promised.items():
        seen = observe("crm", postgres_url, name)
        kept = ("name", "key", "physical_name", "description")
        assert [getattr(table, k) for k in kept] == [getattr(seen, k) for k in kept]
        assert [(c.name, c.type, c.required, c.description, c.delivered_as) for c in table.columns
                ] == [(c.name, c.type, c.required, c.description, c.delivered_as)
                      for c in seen.columns]  # fmt: skip


def test_a_draft_can_be_put_in_place_of_the_contract_and_loads(
    crm: Company, malacate: Command, postgres_url: str
) -> None:
    execute(postgres_url, "insert into app.account values (1, 'ana'), (2, 'bea')")
    crm.write("defs/crm/contract.odcs.yaml", malacate("contract", "draft", "crm")[1])
    crm.ingest.run(crm.route("raw/crm/account"))
    assert crm.rows("raw_crm.account") == [{"id": 1, "name": "ana"}, {"id": 2, "name": "bea"}]
    code, out, _ = malacate("reconcile", "crm/account", "--json")
    assert (code, json.loads(out)[0]["lost"]) == (0, 0)


def test_a_draft_of_files_has_their_columns_as_text(shop: Company, malacate: Command) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("refunds/1.csv", "Sale_Id,amount\n")
    file = shop.write("draft.yaml", malacate("contract", "draft", "shop")[1])
    promised = read_contract(file, "shop")
    assert [c.name for c in promised["sale"].columns] == ["sale_id", "weight_t", "buyer", "sold_at"]
    assert {c.sql_type for c in promised["sale"].columns} == {"varchar"}
    assert promised["refund"].columns[0].delivered_as == "Sale_Id"


def test_a_draft_without_a_file_to_look_at_says_where_to_drop_one(
    shop: Company, malacate: Command
) -> None:
    code, _, err = malacate("contract", "draft", "shop")
    assert code == 2
    assert err.startswith("no_file: ")
    assert str(shop.drops) in err.replace("\n", "")


def test_a_draft_of_a_source_that_is_not_declared_names_those_that_are(
    shop: Company, malacate: Command
) -> None:
    code, _, err = malacate("contract", "draft", "crm")
    assert code == 2
    assert "'crm'" in err
    assert "use one of shop" in err


def test_a_draft_from_a_database_that_does_not_answer_is_told_without_a_traceback(
    crm: Company, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", f"postgresql://ana@/crm?host={crm.folder}")
    code, _, err = malacate("contract", "draft", "crm")
    assert code == 2
    assert err.startswith("unreachable: ")


def test_a_draft_needs_no_contract_to_stand_there_yet(crm: Company, malacate: Command) -> None:
    (crm.declarations / "crm/contract.odcs.yaml").unlink()
    assert malacate("contract", "draft", "crm")[0] == 0


def test_outside_of_a_project_it_is_told_to_go_inside(
    tmp_path: Path, malacate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = malacate("ledger", "status")
    assert code == 2
    assert err.startswith("no_workspace: ")


def test_a_contract_of_a_shop_is_itself_read(shop: Company) -> None:
    file = shop.write("contract.yaml", CONTRACT)
    assert list(read_contract(file, "shop")) == ["sale", "refund"]
