"""What was seen, what became of it, and trying it again."""

import json

from platform_tests.company import CONTRACT, Command, Company, sale, sales

SALE = "raw/shop/sale"


def drifted(shop: Company) -> None:
    """A shop with a good file, a file with a bad row, and one that the contract does not know."""
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("sales/2.csv", sales(sale(2), sale(3, -1)))
    text = sales((4, 1.5, "ana", "", "red"), header="sale_id,weight_t,buyer,sold_at,colour")
    shop.drop("sales/3.csv", text)
    shop.ingest.run(shop.route(SALE))


def test_status_counts_batches_and_rows_of_each_state(shop: Company, malacate: Command) -> None:
    drifted(shop)
    code, out, _ = malacate("ledger", "status", "--json")
    counted = {row["state"]: (row["batches"], row["rows_loaded"]) for row in json.loads(out)}
    assert code == 0
    assert counted == {"loaded": (2, 2), "quarantined": (1, 0)}
    assert {row["table"] for row in json.loads(out)} == {"sale"}
    assert "quarantined" in malacate("ledger", "status")[1]


def test_status_of_an_empty_ledger_is_an_empty_list(shop: Company, malacate: Command) -> None:
    assert json.loads(malacate("ledger", "status", "--json")[1]) == []
    assert malacate("ledger", "status")[0] == 0


def test_explain_tells_attempts_counts_and_the_rows_that_are_aside(
    shop: Company, malacate: Command
) -> None:
    drifted(shop)
    code, out, _ = malacate("ledger", "explain", "sales/2.csv", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["state"], told["rows_loaded"], told["rows_quarantined"]) == ("loaded", 1, 1)
    assert [attempt["outcome"] for attempt in told["attempts_made"]] == ["loaded"]
    (aside,) = told["quarantined_rows"]
    assert "weight_t" in aside["detail"]
    for word in ("Attempts", "Quarantined rows", "weight_t"):
        assert word in malacate("ledger", "explain", "sales/2.csv")[1]


def test_explain_takes_the_start_of_a_batch_id(shop: Company, malacate: Command) -> None:
    drifted(shop)
    (batch,) = [b for b in shop.ingest.ledger.batches() if b["state"] == "quarantined"]
    told = json.loads(malacate("ledger", "explain", batch["batch_id"][:12], "--json")[1])
    assert (told["object"], told["reason"]) == ("sales/3.csv", "schema_drift")
    assert "extra 'colour'" in told["error"]


def test_what_the_ledger_does_not_know_is_told_in_one_line(
    shop: Company, malacate: Command
) -> None:
    for command in ("explain", "replay"):
        for name in ("sales/9.csv", "%"):
            code, out, err = malacate("ledger", command, name)
            assert (code, out) == (2, "")
            assert err.startswith("unknown_batch: ")
            assert "Traceback" not in err


def test_a_file_that_drifted_is_loaded_once_the_contract_knows_of_it(
    shop: Company, malacate: Command
) -> None:
    drifted(shop)
    code, out, err = malacate("ledger", "replay", "sales/3.csv")
    assert code == 1
    assert "1 of 1 released" in out
    assert "sales/3.csv is quarantined: " in err
    assert "extra 'colour'" in err
    assert [row["sale_id"] for row in shop.rows("raw_shop.sale")] == [1, 2]
    grown = CONTRACT.replace(
        "      - {name: sold_at",
        "      - {name: colour, logicalType: string, physicalType: varchar,\n"
        '         customProperties: [{property: since, value: "1.1.0"}]}\n'
        "      - {name: sold_at",
    )
    shop.write("defs/shop/contract.odcs.yaml", grown)
    code, out, _ = malacate("ledger", "replay", "sales/3.csv")
    assert code == 0
    assert "shop/sale: 1 rows loaded" in " ".join(out.split()) or "rows loaded" in out
    assert {row["sale_id"]: row["colour"] for row in shop.rows("raw_shop.sale")} == {
        1: None,
        2: None,
        4: "red",
    }


def test_replay_of_what_is_loaded_changes_nothing(shop: Company, malacate: Command) -> None:
    drifted(shop)
    before = shop.rows("raw_shop.sale", "*")
    assert "0 of 1 released" in malacate("ledger", "replay", "sales/1.csv")[1]
    assert shop.rows("raw_shop.sale", "*") == before
