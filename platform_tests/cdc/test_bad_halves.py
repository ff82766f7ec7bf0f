"""A deletion is never held up: not by the other half of its key change, nor by what is gone."""

from typing import Any

import pytest
from platform_tests.cdc import files
from platform_tests.cdc.folding import lines, of_file
from platform_tests.cdc.model import TABLE, Life, Step

BAD = "not a number"


def _moved() -> Life:
    life = Life(0, 0, 0)
    life.steps.append(Step("M", (0, 1), (1, "a"), (2, "b"), (0, 2)))
    return life


def _datastream() -> list[dict[str, Any]]:
    gone, made = files.in_datastream([_moved()], "postgres", files.lsn(16))
    return [{**gone}, {**made, "payload": {**made["payload"], "value": BAD}}]


def _debezium(as_one: bool) -> list[dict[str, Any]]:
    gone, made = files.in_debezium([_moved()], lambda n: {"lsn": 16})
    bad = {**made["after"], "value": BAD}
    if as_one:
        return [{**made, "op": "u", "before": gone["before"], "after": bad}]
    return [gone, {**made, "after": bad}]


EVENTS = {
    "datastream": _datastream(),
    "debezium": _debezium(False),
    "debezium_as_one_update": _debezium(True),
}


@pytest.mark.parametrize("of", EVENTS)
def test_a_key_change_whose_new_row_is_bad_still_deletes_the_old_key(of: str) -> None:
    chunks = of_file(TABLE, "x", lines(EVENTS[of]))
    rows = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    assert [(r["_op"], r["_is_key_change"], r["life"], r["id"]) for r in rows] == [
        ("D", True, 0, 1)
    ]
    rejects = [reject for chunk in chunks for reject in chunk.rejects]
    assert [one.reason for one in rejects] == ["does_not_fit"]
    assert BAD.encode() in rejects[0].raw


@pytest.mark.parametrize("of", ["datastream", "debezium"])
def test_a_deletion_needs_no_more_than_its_key(of: str) -> None:
    life = Life(0, 0, 0)
    life.steps.append(Step("D", (0, 1), (1, "a"), (None, None)))
    if of == "datastream":
        (one,) = files.in_datastream([life], "postgres", files.lsn(16))
        one["payload"]["value"] = BAD
    else:
        (one,) = files.in_debezium([life], lambda n: {"lsn": 16})
        one["before"]["value"] = BAD
    (chunk,) = of_file(TABLE, "x", lines([one]))
    (row,) = chunk.rows.to_pylist()
    assert (row["_op"], row["id"], row["value"]) == ("D", 1, None)
    assert chunk.rejects == []
