"""From a drop to a checked table, and what becomes of drops that are not as promised."""

import dagster as dg
import pytest
from platform_tests.company import Company, newer, run_to_end, sale, sales

SALE = "raw/shop/sale"
CHECKS = {
    "schema_follows_contract",
    "required_is_present",
    "rows_reconcile",
    "quarantine_is_small",
    "files_are_of_usual_length",
    "key_is_unique",
}


def numbers(shop: Company) -> list[int]:
    return [row["sale_id"] for row in shop.rows("raw_shop.sale")]


def test_a_drop_becomes_a_checked_table(shop: Company, instance: dg.DagsterInstance) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    ran = run_to_end(shop, [SALE], instance)
    assert ran.made() == [SALE]
    assert ran.checks().keys() == CHECKS
    assert ran.failed() == set()
    assert numbers(shop) == [1, 2]


def test_without_a_drop_the_table_is_there_and_empty(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    ran = run_to_end(shop, [SALE], instance)
    assert ran.failed() == set()
    assert ran.metadata(SALE)["dagster/row_count"] == 0


def test_a_run_tells_rows_columns_lineage_and_batches(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    told = run_to_end(shop, [SALE], instance).metadata(SALE)
    columns = {column.name: column for column in told["dagster/column_schema"].columns}
    assert told["dagster/row_count"] == 2
    assert told["dagster/table_name"] == "raw_shop.sale"
    assert list(columns) == ["sale_id", "weight_t", "buyer", "sold_at"]
    assert columns["weight_t"].tags == {"unit": "t"}
    assert columns["weight_t"].description == "What was sold"
    assert columns["weight_t"].constraints.other == ["min 0"]
    assert columns["sale_id"].constraints == dg.TableColumnConstraints(nullable=False, unique=True)
    assert columns["buyer"].tags == {"classification": "pii.direct"}
    lineage = told["dagster/column_lineage"].deps_by_column
    origin = dg.AssetKey(["source", "shop", "sale"])
    assert lineage["weight_t"] == [dg.TableColumnDep(origin, "weight_t")]
    assert told["batches"] == told["batches_loaded"] == 1
    assert (told["rows_read"], told["rows_loaded"], told["rows_quarantined"]) == (2, 2, 0)
    (batch,) = told["latest_batches"].records
    assert (batch.data["object"], batch.data["rows_loaded"]) == ("sales/1.csv", 2)


def test_a_second_run_does_nothing_twice(shop: Company, instance: dg.DagsterInstance) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    run_to_end(shop, [SALE], instance)
    before = shop.rows("raw_shop.sale", "*")
    told = run_to_end(shop, [SALE], instance).metadata(SALE)
    assert shop.rows("raw_shop.sale", "*") == before
    assert (told["batches"], told["rows_loaded"], told["dagster/row_count"]) == (0, 0, 2)


def test_a_file_that_is_written_again_replaces_its_rows_and_no_others(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    first = shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    shop.drop("sales/2.csv", sales(sale(3)))
    run_to_end(shop, [SALE], instance)
    newer(first, sales(sale(2, 9.0), sale(4)))
    assert run_to_end(shop, [SALE], instance).failed() == set()
    weights = {row["sale_id"]: row["weight_t"] for row in shop.rows("raw_shop.sale")}
    assert weights == {2: 9.0, 3: 1.5, 4: 1.5}


def test_a_bad_row_is_kept_aside_with_its_reason_and_the_check_warns(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2, -3), ("x", 1, "ana", "")))
    ran = run_to_end(shop, [SALE], instance)
    warned = ran.checks()["quarantine_is_small"]
    assert numbers(shop) == [1]
    assert ran.failed() == {"quarantine_is_small"}
    assert warned.severity is dg.AssetCheckSeverity.WARN
    assert not warned.blocking
    assert warned.metadata["rows_quarantined"].value == 2
    kept = shop.rows("malacate.quarantine", "position, detail, raw")
    assert ["weight_t" in row["detail"] for row in kept] == [True, False]
    assert b"-3" in kept[0]["raw"]
    assert kept[1]["raw"].startswith(b"x,1,ana")


def test_04_21_a_file_far_shorter_than_its_like_loads_with_a_warning_that_names_it(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    for day in range(6):
        shop.drop(f"sales/{day}.csv", sales(*(sale(100 * day + n) for n in range(50 + day))))
    assert run_to_end(shop, [SALE], instance).failed() == set()
    shop.drop("sales/cut.csv", sales(*(sale(1000 + n) for n in range(30))))
    shop.drop("sales/whole.csv", sales(*(sale(2000 + n) for n in range(49))))
    ran = run_to_end(shop, [SALE], instance)
    warned = ran.checks()["files_are_of_usual_length"]
    assert ran.failed() == {"files_are_of_usual_length"}
    assert warned.severity is dg.AssetCheckSeverity.WARN
    assert warned.metadata["files"].value == ["sales/cut.csv: 30"]
    assert len(numbers(shop)) == 50 + 51 + 52 + 53 + 54 + 55 + 30 + 49


def test_a_bad_file_goes_aside_whole_and_the_others_load(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("sales/2.csv", b"")
    shop.drop("sales/3.csv", sales(sale(3)))
    ran = run_to_end(shop, [SALE], instance)
    assert numbers(shop) == [1, 3]
    assert ran.metadata(SALE)["batches_quarantined"] == 1
    assert ran.failed() == {"quarantine_is_small"}
    (whole,) = ran.checks()["quarantine_is_small"].metadata["whole_files"].value
    assert whole.startswith("sales/2.csv: ")


@pytest.mark.parametrize(
    ("header", "told"),
    [
        ("sale_id,weight_t,buyer", "missing 'sold_at'"),
        ("sale_id,weight_t,buyer,sold_at,colour", "extra 'colour'"),
        ("sale_id,weights_t,buyer,sold_at", "if 'weight_t' was renamed to it"),
    ],
)
def test_a_file_that_drifts_from_the_contract_is_set_aside_with_the_difference(
    shop: Company, instance: dg.DagsterInstance, header: str, told: str
) -> None:
    drifted = shop.drop("sales/2.csv", sales(header=header))
    shop.drop("sales/1.csv", sales(sale(1)))
    run_to_end(shop, [SALE], instance)
    (batch,) = [b for b in shop.ingest.ledger.batches() if b["state"] == "quarantined"]
    assert numbers(shop) == [1]
    assert batch["reason"] == "schema_drift"
    assert told in batch["error"]
    assert "contract.odcs.yaml:" in batch["error"]
    kept = shop.ingest.lake.root / batch["landing"]
    assert kept.read_bytes() == drifted.read_bytes()


def test_a_failing_blocking_check_stops_what_is_downstream(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("sales/2.csv", sales(sale(1)))
    ran = shop.materialize(instance, SALE, "silver/sale")
    twice = ran.checks()["key_is_unique"]
    assert not ran.is_success
    assert ran.made() == [SALE]
    assert ran.failed() == {"key_is_unique"}
    assert twice.blocking
    assert twice.metadata["sample"].value == ["{'sale_id': 1, 'times': 2}"]
    assert "what_to_do" in twice.metadata


def test_what_is_downstream_is_made_once_the_checks_pass(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1)))
    ran = run_to_end(shop, [SALE, "silver/sale"], instance)
    assert ran.made() == [SALE, "silver/sale"]
    assert shop.rows("silver.sale") == [{"sale_id": 1, "weight_t": 1.5}]


def test_what_a_dead_run_loaded_is_told_by_the_next_one(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    shop.ingest.run(shop.route(SALE))
    shop.drop("sales/2.csv", sales(sale(3)))
    told = run_to_end(shop, [SALE], instance).metadata(SALE)
    assert (told["batches"], told["rows_loaded"], told["dagster/row_count"]) == (2, 3, 3)
    assert run_to_end(shop, [SALE], instance).metadata(SALE)["batches"] == 0


def test_rows_that_left_the_table_behind_the_markers_back_fail_the_reconciliation(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    shop.drop("sales/1.csv", sales(sale(1), sale(2)))
    shop.ingest.run(shop.route(SALE))
    with shop.ingest.warehouse._open() as connection:
        connection.execute("delete from raw_shop.sale where sale_id = 2")
    ran = shop.materialize(instance, SALE, "silver/sale")
    assert ran.failed() == {"rows_reconcile"}
    assert ran.made() == [SALE]
    (difference,) = ran.checks()["rows_reconcile"].metadata["differences"].value
    assert difference == "sales/1.csv: marker 2, table 1"


def test_a_key_that_is_personal_is_never_shown_by_a_check(
    shop: Company, instance: dg.DagsterInstance
) -> None:
    contract = shop.declarations / "shop/contract.odcs.yaml"
    text = contract.read_text().replace(
        "primaryKey: true,\n", "primaryKey: true, classification: pii.direct,\n", 1
    )
    contract.write_text(text)
    shop.drop("sales/1.csv", sales(sale(77), sale(77)))
    twice = shop.materialize(instance, SALE).checks()["key_is_unique"]
    assert not twice.passed
    assert "77" not in str(twice.metadata)


def test_each_table_hangs_on_its_source_and_has_a_sensor(shop: Company) -> None:
    names = [sensor.name for sensor in shop.definitions.sensors or ()]
    assert names == ["raw__shop__sale__drops", "raw__shop__refund__drops"]
    graph = shop.definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(SALE.split("/"))).parent_keys == {
        dg.AssetKey(["source", "shop", "sale"])
    }
