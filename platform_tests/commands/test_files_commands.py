"""``malacate files`` and ``malacate quarantine``: seen, explained, sent through again."""

import json
from typing import Any

import pytest
from platform_tests.company import CONTRACT, Command, Company, sale, sales

SALE = "raw/shop/sale"
ODD = "sales/[red]x\n.csv"


@pytest.fixture
def stocked(shop: Company) -> Company:
    """A good file, one with two bad rows, and a whole bad one with an odd name."""
    shop.drop("sales/1.csv", sales(sale(1)))
    shop.drop("sales/2.csv", sales(sale(2), sale(3, -1), sale(4, -700)))
    shop.drop(ODD, b"")
    shop.drop("sales/3.csv", sales((4, 1.5, "ana", "", "red"), header="a,b,c,d,e"))
    shop.ingest.run(shop.route(SALE))
    return shop


def listed(malacate: Command, *arguments: str) -> list[dict[str, Any]]:
    code, out, _ = malacate(*arguments, "--json")
    assert code == 0
    return list(json.loads(out))


def lowered(shop: Company) -> None:
    """A contract that allows what it did not."""
    shop.write("defs/shop/contract.odcs.yaml", CONTRACT.replace("minimum: 0}", "minimum: -5}"))


def test_files_are_listed_with_state_and_counts(stocked: Company, malacate: Command) -> None:
    rows = listed(malacate, "files", "list")
    assert sorted((r["object"], r["state"]) for r in rows)[0] == ("sales/1.csv", "loaded")
    assert len(rows) == 4
    assert {r["object"] for r in listed(malacate, "files", "list", "--state", "loaded")} == {
        "sales/1.csv",
        "sales/2.csv",
    }
    assert listed(malacate, "files", "list", "--table", "refund") == []
    assert len(listed(malacate, "files", "list", "--source", "shop")) == 4
    out = malacate("files", "list")[1]
    assert "[red]" in out, "a name was taken for markup"


def test_a_file_is_explained_step_by_step(stocked: Company, malacate: Command) -> None:
    told = json.loads(malacate("files", "explain", "sales/2.csv", "--json")[1])
    steps = [step["step"] for step in told["steps"]]
    assert steps[:2] == ["seen", "claimed"]
    assert {"staged", "read", "landed", "published", "marked", "kept"} <= set(steps)
    assert told["bytes_are"].startswith("quarantine/")
    assert len(told["quarantined_rows"]) == 2
    assert told["attempts_made"][0]["outcome"] == "loaded"
    out = malacate("files", "explain", "sales/2.csv")[1]
    for word in ("Steps", "staged", "sha256", "Quarantined rows"):
        assert word in out
    loaded = json.loads(malacate("files", "explain", "sales/1.csv", "--json")[1])
    assert loaded["bytes_are"] == "not in the lake"


def test_a_file_that_nobody_knows_is_told_in_one_line(shop: Company, malacate: Command) -> None:
    for command in (("files", "explain"), ("files", "release"), ("quarantine", "show"),
                    ("quarantine", "replay")):  # fmt: skip
        code, out, err = malacate(*command, "sales/9.csv")
        assert (code, out) == (2, "")
        assert err.startswith("unknown_batch: ")


def test_a_file_that_is_refused_again_is_exit_one_with_the_reason(
    stocked: Company, malacate: Command
) -> None:
    code, out, err = malacate("files", "release", "sales/3.csv")
    assert code == 1
    assert "1 of 1 released" in out
    assert "sales/3.csv is quarantined: " in err


def test_the_quarantine_lists_rows_and_whole_files(stocked: Company, malacate: Command) -> None:
    rows = listed(malacate, "quarantine", "list")
    told = {(r["object"], r["what"], r["rows"], r["reason"]) for r in rows}
    assert ("sales/2.csv", "rows", 2, "below_minimum") in told
    assert ("sales/3.csv", "whole file", None, "schema_drift") in told
    assert len(told) == 3
    assert "below_minimum" in malacate("quarantine", "list")[1]


def test_an_empty_quarantine_is_an_empty_list(shop: Company, malacate: Command) -> None:
    assert listed(malacate, "quarantine", "list") == []


def test_rejected_rows_are_shown_with_their_bytes(stocked: Company, malacate: Command) -> None:
    first, second = listed(malacate, "quarantine", "show", "sales/2.csv")
    assert (first["position"], first["reason"]) == (3, "below_minimum")
    assert "weight_t" in first["detail"]
    assert "-1" in first["raw"]
    assert "-700" in second["raw"]
    (whole,) = listed(malacate, "quarantine", "show", "sales/3.csv")
    assert whole["raw"].startswith("quarantine/")
    assert "extra 'a'" in whole["detail"] or "schema" in whole["reason"]


def test_bytes_that_would_steer_a_terminal_are_escaped(shop: Company, malacate: Command) -> None:
    header = "sale_id,weight_t,buyer,sold_at\n"
    shop.drop("sales/1.csv", header.encode() + b"1,\x1b[2J[bold]x,ana,2026-01-02T03:04:05Z\n")
    shop.ingest.run(shop.route(SALE))
    (row,) = listed(malacate, "quarantine", "show", "sales/1.csv")
    assert "\x1b" not in row["raw"]
    assert "\\x1b[2J[bold]x" in row["raw"]
    out = malacate("quarantine", "show", "sales/1.csv")[1]
    assert "\x1b[2J" not in out
    assert "bold" in out


def test_rows_that_pass_now_are_loaded_once(stocked: Company, malacate: Command) -> None:
    lowered(stocked)
    code, out, _ = malacate("quarantine", "replay", "sales/2.csv")
    assert code == 0
    assert "1 of 1 released" in out
    assert [row["sale_id"] for row in stocked.rows("raw_shop.sale")] == [1, 2, 3]
    assert [r["rows"] for r in listed(malacate, "quarantine", "list") if r["what"] == "rows"] == [1]
    before = stocked.rows("raw_shop.sale", "*")
    assert "0 of 1 released" in malacate("quarantine", "replay", "sales/2.csv")[1]
    assert stocked.rows("raw_shop.sale", "*") == before
    assert malacate("reconcile", "shop/sale")[0] == 0


def test_a_whole_file_is_sent_through_again(stocked: Company, malacate: Command) -> None:
    code, _, err = malacate("quarantine", "replay", ODD.replace("\n", "%0A"))
    assert code == 1
    assert "quarantined" in err


def test_what_is_loaded_without_rejects_has_nothing_to_send(
    stocked: Company, malacate: Command
) -> None:
    code, out, _ = malacate("quarantine", "replay", "sales/1.csv")
    assert (code, "0 of 1 released" in out) == (0, True)
