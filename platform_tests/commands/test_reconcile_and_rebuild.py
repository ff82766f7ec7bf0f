"""The guarantee checked on tampered tables, and what was lost made again from what is left."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from platform_tests.company import CONTRACT, Command, Company, newer, sale, sales

from malacate.reconcile import reconcile

SALE = "raw/shop/sale"


@pytest.fixture
def stocked(shop: Company) -> Company:
    """Three files, one of them twice, one of them bad; all taken in."""
    first = shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    shop.drop("sales/2.csv", sales(sale(3), sale(4), sale(5, -1)))
    shop.drop("sales/3.csv", b"")
    shop.ingest.run(shop.route(SALE))
    shop.ingest.run(shop.route("raw/shop/refund"))
    newer(first, sales(sale(1), sale(2, 7.5), sale(6)))
    shop.ingest.run(shop.route(SALE))
    return shop


def tamper(shop: Company, *statements: str) -> None:
    with shop.ingest.warehouse._open() as connection:
        for statement in statements:
            connection.execute(statement)


def found(malacate: Command, *arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = malacate("reconcile", *arguments, "--json")
    return code, {row["table"]: row for row in json.loads(out)}


def test_what_is_as_at_the_source_is_found_equal(stocked: Company, malacate: Command) -> None:
    code, rows = found(malacate)
    told = rows[SALE]
    assert code == 0
    assert set(rows) == {SALE, "raw/shop/refund"}
    assert (told["source_rows"], told["target_rows"], told["quarantined"]) == (5, 5, 1)
    assert (told["lost"], told["twice"], told["wrong"]) == (0, 0, 0)
    assert "lost 0, twice 0, wrong 0" in malacate("reconcile")[1]


@pytest.mark.parametrize(
    ("statement", "counts", "example"),
    [
        ("delete from raw_shop.sale where sale_id = 2", (1, 0, 0), "2"),
        ("insert into raw_shop.sale select * from raw_shop.sale where sale_id = 3", (0, 1, 0), "3"),
        ("insert into raw_shop.sale select * replace (99 as sale_id) from raw_shop.sale limit 1",
         (0, 1, 0), "99"),
        ("update raw_shop.sale set weight_t = 1.6 where sale_id = 4", (0, 0, 1), "4"),
        ("update raw_shop.sale set buyer = null where sale_id = 6", (0, 0, 1), "6"),
        ("delete from raw_shop.sale", (5, 0, 0), "1"),
    ],
    ids=["lost", "twice", "invented", "wrong", "nulled", "all lost"],
)  # fmt: skip
def test_what_was_tampered_with_is_found_and_named(
    stocked: Company, malacate: Command, statement: str, counts: tuple[int, ...], example: str
) -> None:
    tamper(stocked, statement)
    code, rows = found(malacate, "shop/sale")
    told = rows[SALE]
    assert code == 1
    assert set(rows) == {SALE}
    assert (told["lost"], told["twice"], told["wrong"]) == counts
    assert example in told["examples"]


def test_all_differences_are_found_at_once_and_told_to_people(
    stocked: Company, malacate: Command
) -> None:
    tamper(
        stocked,
        "insert into raw_shop.sale select * from raw_shop.sale where sale_id = 1",
        "delete from raw_shop.sale where sale_id = 2",
        "update raw_shop.sale set weight_t = 0 where sale_id = 3",
    )
    code, out, _ = malacate("reconcile", "shop")
    assert code == 1
    assert "lost 1, twice 1, wrong 1" in out


def test_a_file_that_is_not_taken_in_yet_is_lost_so_far(
    stocked: Company, malacate: Command
) -> None:
    stocked.drop("sales/4.csv", sales(sale(10)))
    code, rows = found(malacate)
    assert (code, rows[SALE]["lost"]) == (1, 1)
    stocked.ingest.run(stocked.route(SALE))
    assert found(malacate)[0] == 0


def test_a_file_that_the_source_has_no_more_is_compared_with_the_lake(
    stocked: Company, malacate: Command
) -> None:
    (stocked.drops / "sales/2.csv").unlink()
    code, rows = found(malacate)
    assert (code, rows[SALE]["gone"], rows[SALE]["source_rows"]) == (0, 1, 5)
    tamper(stocked, "delete from raw_shop.sale where sale_id = 3")
    code, rows = found(malacate)
    assert (code, rows[SALE]["lost"], rows[SALE]["examples"]) == (1, 1, "3")


def test_reconciling_removes_no_drop_and_takes_no_rejected_version(stocked: Company) -> None:
    route = replace(stocked.route(SALE), overwrite="reject", after_load="remove")
    drop = stocked.drops / "sales/2.csv"
    newer(drop, sales(sale(30)))
    stocked.drop("sales/9.csv", sales(sale(9)))
    stocked.ingest.run(replace(route, after_load="keep"))
    (told,) = reconcile(route, stocked.ingest)
    assert (told.lost, told.twice, told.wrong) == (0, 0, 0)
    assert drop.exists()
    assert (stocked.drops / "sales/9.csv").exists()
    stocked.ingest.run(route)
    assert not (stocked.drops / "sales/9.csv").exists()
    (told,) = reconcile(route, stocked.ingest)
    assert (told.lost, told.twice, told.wrong, told.gone) == (0, 0, 0, 3)


def test_reconciling_changes_nothing(stocked: Company, malacate: Command) -> None:
    before = checksums(stocked), stocked.ingest.ledger.batches()
    malacate("reconcile")
    assert (checksums(stocked), stocked.ingest.ledger.batches()) == before


def test_what_is_not_declared_is_told_with_what_is(stocked: Company, malacate: Command) -> None:
    code, _, err = malacate("reconcile", "shopp")
    assert code == 2
    assert "shop/sale" in err


def checksums(shop: Company) -> dict[str, tuple[int, str]]:
    """Rows and checksum of every table that holds rows, batches and rejects included."""
    tables = {
        "raw_shop.sale": "*",
        "raw_shop.refund": "*",
        "malacate.quarantine": "*",
        "malacate.loads": "batch_id, object, version, rows, rows_quarantined, is_current",
    }
    told = {}
    for table, columns in tables.items():
        query = "select count(*) n, sum(hash(t)::hugeint)::varchar h from "
        query += f"(select {columns} from {table}) t"
        (row,) = shop.ingest.warehouse.query(query).to_pylist()
        told[table] = (row["n"], row["h"])
    return told


def test_a_warehouse_that_was_lost_is_rebuilt_as_it_was(
    stocked: Company, malacate: Command
) -> None:
    before = checksums(stocked)
    Path(stocked.ingest.warehouse.location).unlink()
    shutil.rmtree(stocked.drops)
    stocked.drops.mkdir()
    code, out, _ = malacate("rebuild", "warehouse", "--json")
    landings = {row["table"]: row["landings"] for row in json.loads(out)}
    assert code == 0
    assert landings == {SALE: 3, "raw/shop/refund": 0}
    assert checksums(stocked) == before


def ended(shop: Company) -> list[tuple[Any, ...]]:
    kept = ("object", "version", "state", "rows_read", "rows_loaded", "rows_quarantined")
    return sorted(tuple(b[name] for name in kept) for b in shop.ingest.ledger.batches())


def test_a_ledger_that_was_lost_is_rebuilt_and_nothing_is_read_again(
    stocked: Company, malacate: Command
) -> None:
    before = checksums(stocked)
    loaded = [row for row in ended(stocked) if row[2] == "loaded"]
    home = stocked.folder / "home"
    for path in home.glob("ledger.sqlite*"):
        path.unlink()
    assert malacate("rebuild", "ledger")[0] == 0
    assert [row for row in ended(stocked) if row[2] == "loaded"] == loaded
    report = stocked.ingest.run(stocked.route(SALE))
    assert checksums(stocked) == before
    assert [b["object"] for b in report.batches if b["state"] == "quarantined"] == ["sales/3.csv"]


def test_what_is_rebuilt_is_moved_aside_never_deleted(stocked: Company, malacate: Command) -> None:
    home = stocked.folder / "home"
    for lost in ("warehouse", "ledger"):
        assert malacate("rebuild", lost)[0] == 0
    names = {path.name.rpartition(".")[0] for path in home.iterdir() if path.name.endswith("Z")}
    aside = {path.name.split(".2")[0] for path in home.iterdir() if ".2" in path.name} | names
    assert {"warehouse.duckdb", "ledger.sqlite"} <= aside
    assert found(malacate)[0] == 0


def test_a_table_that_was_never_made_lacks_all_that_its_source_has(
    shop: Company, malacate: Command
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    code, rows = found(malacate)
    assert (code, rows[SALE]["lost"], rows[SALE]["target_rows"]) == (1, 2, 0)
    assert rows["raw/shop/refund"]["lost"] == 0
    assert not Path(shop.ingest.warehouse.location).exists()


def test_a_column_that_is_new_in_the_contract_is_no_difference_until_it_has_values(
    stocked: Company, malacate: Command
) -> None:
    colour = "      - {name: colour, logicalType: string, physicalType: varchar,\n"
    colour += '         customProperties: [{property: since, value: "1.1.0"}]}\n'
    grown = CONTRACT.replace("      - {name: sold_at", f"{colour}      - {{name: sold_at")
    stocked.write("defs/shop/contract.odcs.yaml", grown)
    code, rows = found(malacate)
    assert (code, rows[SALE]["target_rows"], rows[SALE]["wrong"]) == (0, 5, 0)
