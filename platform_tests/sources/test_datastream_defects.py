"""Nine ways in which a well-known merge of these files loses rows, and none of them here.

Each runs through the component on DuckDB: the log and the state folded from it. And whatever the
order, the number and the batching of events, the log holds each with the same envelope.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.sources.test_datastream import (
    AT,
    TRUCK,
    TYPES,
    Event,
    Yard,
    avro,
    event,
    lines,
    opened_yard,
)

MYSQL = {"lsn": None, "method": "mysql-cdc-binlog"}


@pytest.fixture
def yard() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


def state_of(yard: Yard, *files: Sequence[Event], types: Any = None) -> dict[Any, Any]:
    """Each file in a run of its own; names of rows that are there, by key."""
    (route,) = yard.declare("src", {"truck": types or TYPES})
    for number, events in enumerate(files):
        yard.drop("src", f"{number}", lines(events))
        yard.take_in([route])
    return {row["id"]: row["name"] for row in yard.state(route) if not row["is_deleted"]}


def row(name: str | None, key: int = 1) -> Event:
    return {"id": key, "name": name}


def test_1_positions_are_not_compared_as_text(yard: Yard) -> None:
    """In one second, ``0/9FFFFFF`` before ``0/10000000``, and log 999999 before 1000000."""
    new, old = event(2, row("new"), lsn="0/10000000"), event(1, row("old"), lsn="0/9FFFFFF")
    late = event(3, row("new", 2), "UPDATE", log_file="b.1000000", log_position=4, **MYSQL)
    early = event(4, row("old", 2), "UPDATE", log_file="b.999999", log_position=9, **MYSQL)
    assert state_of(yard, [new, late], [old, early]) == {1: "new", 2: "new"}


@pytest.mark.parametrize("log_file", [None, ""])
def test_2_a_change_of_the_backfills_second_applies(log_file: str | None, yard: Yard) -> None:
    backfill = event(1, row("old"), "INSERT", lsn=None, log_file=log_file, log_position=0,
                     method="mysql-backfill-fulldump")  # fmt: skip
    change = event(2, row("new"), "UPDATE", log_file="b.1", log_position=4, **MYSQL)
    assert state_of(yard, [backfill], [change]) == {1: "new"}


def test_3_a_row_does_not_come_back_from_the_dead(yard: Yard) -> None:
    gone, late = event(9, row("a"), "DELETE"), event(5, row("a"), "UPDATE")
    assert state_of(yard, [event(1, row("a"))], [gone], [late]) == {}


def test_4_what_could_not_be_merged_is_merged_by_the_next_run(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a new event of the table, and the failure is raised."""
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", lines([event(1, row("a"))]))
    ingest = yard.company.ingest
    with monkeypatch.context() as patched:
        patched.setattr(type(ingest.warehouse), "publish", _refuse)
        with pytest.raises(RuntimeError, match="refused"):
            yard.take_in([route])
    yard.take_in([route])
    assert [one["name"] for one in yard.state(route)] == ["a"]


def _refuse(*_: Any) -> Any:
    raise RuntimeError("refused")


def test_5_a_table_without_a_key_has_its_rows(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES}, key=())
    events = [event(1, row("a"), primary_keys=[]), event(2, row("b")), event(3, row("a"), "DELETE")]
    yard.drop("src", "x", lines(events))
    yard.take_in([route])
    assert len(yard.log(route)) == 3
    assert {one["name"]: one["is_deleted"] for one in yard.state(route)} == {"a": True, "b": False}


def test_6_an_event_keeps_its_identity(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", avro([event(1, row("a"))] * 2, TRUCK))
    yard.drop("src", "y", avro([event(1, row("a"))], TRUCK, "deflate"))
    yard.take_in([route])
    assert {one["_event_id"] for one in yard.log(route)} == {"u1"}


def test_7_neither_a_bare_deletion_nor_a_damaged_line_is_dropped(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    bare = event(1, None, "DELETE")
    yard.drop("src", "x", lines([bare, event(2, {"id": 3}, "DELETE")]) + b'{"uuid": "u3",\n')
    (batch,) = yard.take_in([route])
    assert (batch["rows_read"], batch["rows_loaded"], batch["rows_quarantined"]) == (3, 1, 2)
    kept = dict(yard.rejects(route))
    assert json.loads(kept["no_key"]) == json.loads(json.dumps(bare, default=str))
    assert kept["bad_json"] == b'{"uuid": "u3",'


def test_8_no_column_is_dropped_for_its_type(yard: Yard) -> None:
    fixed = {"type": "fixed", "name": "f", "size": 2}
    span = {"type": "long", "logicalType": "time-interval-micros"}
    fields = [TRUCK[0], {"name": "u", "type": ["null", "string", "long"]},
              {"name": "a", "type": {"type": "array", "items": "long"}},
              {"name": "f", "type": fixed},
              {"name": "t", "type": span}]  # fmt: skip
    types = {"id": "bigint", "u": "varchar", "a": "bigint[]", "f": "blob", "t": "varchar"}
    (route,) = yard.declare("src", {"truck": types})
    value = {"id": 1, "u": 7, "a": [1], "f": b"\0\xff", "t": 5}
    yard.drop("src", "x", avro([event(1, value)], fields))
    yard.take_in([route])
    (found,) = yard.log(route, "u, a, f, t")
    assert found == {"u": "7", "a": [1], "f": b"\0\xff", "t": "00:00:00.000005"}


def test_9_an_event_that_comes_again_and_again_is_one_row(yard: Yard) -> None:
    """Nor do two events of one instant break the merge."""
    twice = [event(2, row("b"), "UPDATE"), event(3, row("c"), "UPDATE")]
    assert state_of(yard, [event(1, row("a")), *twice], twice, twice * 2) == {1: "c"}


def history() -> list[Event]:
    """Of one row and its neighbour: a backfill, changes, a moved key, a deletion."""
    return [
        event(1, row("a"), "INSERT", lsn=None, method="postgresql-backfill"),
        event(2, row("b"), "UPDATE", lsn="0/9FFFFFF"),
        event(3, row("c"), "UPDATE", lsn="0/10000000"),
        event(4, row("c"), "UPDATE-DELETE", lsn="0/10000010"),
        event(5, row("c", 2), "UPDATE-INSERT", lsn="0/10000010"),
        event(6, row("z", 3), "INSERT", lsn="1/0"), event(7, row("z", 3), "DELETE", lsn="1/1"),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shuffled() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


@settings(max_examples=12)
@given(data=st.data())
def test_any_order_number_and_batching_is_the_same_log_and_state(
    data: st.DataObject, shuffled: Yard
) -> None:
    told = history()
    again = data.draw(st.lists(st.sampled_from(told), max_size=4))
    events = data.draw(st.permutations([*told, *again]))
    cuts = sorted(data.draw(st.sets(st.integers(1, len(events) - 1), max_size=2)))
    name = f"h{len(list(shuffled.company.drops.iterdir()))}"
    (route,) = shuffled.declare(name, {"truck": TYPES})
    for number, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(events)], strict=True)):
        part = events[start:end]
        shuffled.drop(name, f"{number}", lines(part) if number % 2 else avro(part, TRUCK))
        if data.draw(st.booleans()):
            shuffled.take_in([route])
    shuffled.take_in([route])
    log = shuffled.log(route, "* exclude (_file, _file_row, _batch_id)")
    once = {one["_event_id"]: one for one in log}
    assert len(log) == len(events)
    assert all(one == once[one["_event_id"]] for one in log)
    places = {i: (r["_op"], r["_is_key_change"], r["_position_hi"], r["_position_lo"], r["_seq"])
              for i, r in once.items()}  # fmt: skip
    assert places == {
        "u1": ("R", False, 0, 0, 0), "u2": ("U", False, 0, 0x9FFFFFF, 1),
        "u3": ("U", False, 0, 0x10000000, 1), "u4": ("D", True, 0, 0x10000010, 0),
        "u5": ("I", True, 0, 0x10000010, 1), "u6": ("I", False, 1, 0, 1),
        "u7": ("D", False, 1, 1, 0),
    }  # fmt: skip
    assert {one["_source_at"] for one in log} == {AT}
    state = {r["id"]: (r["name"], r["is_deleted"]) for r in shuffled.state(route)}
    assert state == {1: ("c", True), 2: ("c", False), 3: ("z", True)}
