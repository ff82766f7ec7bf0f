"""Tables that are read whole: what changed since they were read is due, not lost."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_tests.commands.test_doctor_and_contract import CRM_CONTRACT, execute
from platform_tests.company import Command, Company, at_home

ACCOUNT = "raw/crm/account"
CRM = """
type: malacate.components.DatabaseTables
attributes:
  source: crm
  url: ${CRM_URL}
  tables:
    - name: account
"""


@pytest.fixture
def crm(tmp_path: Path, postgres_url: str) -> Iterator[Company]:
    """A company whose table of three customers was read."""
    company = Company(tmp_path)
    company.write("defs/crm/defs.yaml", CRM)
    company.write("defs/crm/contract.odcs.yaml", CRM_CONTRACT)
    execute(postgres_url, "create schema app; create table app.account (id bigint primary key, "
            "name text); insert into app.account values (1, 'a'), (2, 'b'), (3, 'c')")  # fmt: skip
    with at_home(company, CRM_URL=postgres_url):
        company.ingest.run(company.route(ACCOUNT))
        yield company


def told(malacate: Command) -> tuple[int, dict[str, Any]]:
    code, out, _ = malacate("reconcile", "--json")
    (row,) = json.loads(out)
    return code, {name: row[name] for name in ("lost", "twice", "wrong", "behind")}


def test_rows_that_changed_since_the_snapshot_are_behind(
    crm: Company, malacate: Command, postgres_url: str
) -> None:
    execute(postgres_url, "insert into app.account values (4, 'd'), (5, 'e'); "
            "update app.account set name = 'x' where id = 1; "
            "delete from app.account where id = 2")  # fmt: skip
    assert told(malacate) == (0, {"lost": 0, "twice": 0, "wrong": 0, "behind": 4})
    crm.ingest.run(crm.route(ACCOUNT))
    assert told(malacate) == (0, {"lost": 0, "twice": 0, "wrong": 0, "behind": 0})


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("delete from other where id = 3", (1, 0, 0)),
        ("insert into other select * from other where id = 3", (0, 1, 0)),
        ("update other set name = 'y' where id = 3", (0, 0, 1)),
    ],
    ids=["lost", "twice", "wrong"],
)
def test_rows_that_are_not_those_of_the_snapshot_are_no_less_found(
    crm: Company,
    malacate: Command,
    postgres_url: str,
    statement: str,
    counts: tuple[int, int, int],
) -> None:
    execute(postgres_url, "insert into app.account values (4, 'd')")
    with crm.ingest.warehouse._open() as connection:
        connection.execute("create table other as from raw_crm.account")
        connection.execute(statement)
        connection.execute("create or replace view raw_crm.account as from other")
    code, found = told(malacate)
    assert code == 1
    assert tuple(found.values()) == (*counts, 1)
