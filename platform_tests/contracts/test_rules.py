"""The split: every row is either good or quarantined, with its place, its reason and its values."""

import json
import math
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.rules import as_json, split
from malacate.contracts.table import Column, Table
from malacate.names import TableName

NAME = TableName("raw_mine", "load")
FAR = 2**62


def parted(column: Column, values: pa.Array) -> tuple[list[Any], list[tuple[int, str]]]:
    rows = pa.RecordBatch.from_arrays([values], names=[column.name])
    found = split(Table(NAME, (column,)), Chunk(rows), 0)
    return found.rows.column(0).to_pylist(), [(r.position, r.reason) for r in found.rejects]


def whole(**promise: Any) -> Column:
    return Column("v", pa.int64(), **promise)


def text(**promise: Any) -> Column:
    return Column("v", pa.string(), **promise)


def of(kind: pa.DataType, **promise: Any) -> Column:
    return Column("v", kind, **promise)


CENTS = pa.decimal128(38, 2)
MICROS = pa.timestamp("us", "UTC")
CASES = [
    pytest.param(whole(required=True), [1, None], [1], "required_missing", id="required"),
    pytest.param(whole(minimum=0), [0, -1, None], [0, None], "below_minimum", id="below"),
    pytest.param(whole(maximum=9), [9, 10], [9], "above_maximum", id="above"),
    pytest.param(whole(minimum=0.5), [0, 1], [1], "below_minimum", id="between-two-numbers"),
    pytest.param(
        whole(maximum=2**53 + 1),
        [2**53 + 1, 2**53 + 2],
        [2**53 + 1],
        "above_maximum",
        id="beyond-what-a-double-holds",
    ),
    pytest.param(
        of(CENTS, minimum=0.1),
        [Decimal("0.09"), Decimal("0.10")],
        [Decimal("0.10")],
        "below_minimum",
        id="a-decimal-bound-is-exact",
    ),
    pytest.param(
        of(CENTS, minimum=0.001),
        [Decimal("0.00"), Decimal("0.01")],
        [Decimal("0.01")],
        "below_minimum",
        id="a-bound-finer-than-the-decimal",
    ),
    pytest.param(
        of(pa.float64()), [math.nan, 1.5, None, -math.inf], [1.5, None], "not_finite", id="76-nan"
    ),
    pytest.param(text(max_length=2), ["éé", "ééé"], ["éé"], "too_long", id="long"),
    pytest.param(text(pattern="[a-z]+"), ["ab", "ab\n"], ["ab"], "pattern_mismatch", id="pattern"),
    pytest.param(text(pattern="a|bc"), ["bc", "abc"], ["bc"], "pattern_mismatch", id="either"),
    pytest.param(text(allowed=("A",)), ["A", "a", None], ["A", None], "not_allowed", id="allowed"),
]


@pytest.mark.parametrize(("column", "values", "good", "reason"), CASES)
def test_a_broken_promise_quarantines_its_row(
    column: Column, values: list[Any], good: list[Any], reason: str
) -> None:
    kept, rejects = parted(column, pa.array(values, column.type))
    assert kept == good
    assert [values[place] for place, _ in rejects] == [
        v for v in values if v not in good or (isinstance(v, float) and math.isnan(v))
    ]
    assert {reason for _, reason in rejects} == {reason}


def test_a_bound_of_a_real_is_a_real() -> None:
    assert parted(of(pa.float32(), maximum=0.1), pa.array([0.1], pa.float32()))[1] == []


@pytest.mark.parametrize("kind", [pa.timestamp("us"), MICROS], ids=str)
def test_53_an_instant_beyond_the_calendar_is_quarantined_with_its_number(
    kind: pa.DataType,
) -> None:
    rows = pa.RecordBatch.from_arrays([pa.array([FAR, 0, -FAR], kind)], names=["v"])
    found = split(Table(NAME, (of(kind),)), Chunk(rows), 0)
    assert found.rows.num_rows == 1
    assert [(r.position, r.reason, json.loads(r.raw)) for r in found.rejects] == [
        (0, "not_an_instant", {"v": FAR}),
        (2, "not_an_instant", {"v": -FAR}),
    ]


def test_the_first_broken_promise_is_the_reason() -> None:
    table = Table(NAME, (Column("a", pa.int64(), minimum=0), Column("b", pa.int64(), maximum=0)))
    rows = pa.RecordBatch.from_pydict({"a": [-1], "b": [1]})
    assert [r.reason for r in split(table, Chunk(rows), 0).rejects] == ["below_minimum"]


def test_good_rows_keep_their_places_around_those_set_aside() -> None:
    rows = pa.RecordBatch.from_pydict({"v": [1, -1, 3]})
    earlier = Reject(3, "too_few_fields", "", b"x")
    chunk = Chunk(rows, [earlier], [2, 4, 9])
    found = split(Table(NAME, (whole(minimum=0),)), chunk, 0)
    assert list(found.positions or ()) == [2, 9]
    assert [r.position for r in found.rejects] == [3, 4]


def test_places_count_on_from_the_first_row_of_the_chunk() -> None:
    rows = pa.RecordBatch.from_pydict({"v": [1, -1, 3]})
    found = split(Table(NAME, (whole(minimum=0),)), Chunk(rows), 100)
    assert list(found.positions or ()) == [100, 102]
    assert [r.position for r in found.rejects] == [101]


def test_a_chunk_without_a_broken_promise_is_untouched() -> None:
    chunk = Chunk(pa.RecordBatch.from_pydict({"v": [1, 2]}))
    assert split(Table(NAME, (whole(minimum=0),)), chunk, 0) is chunk


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        (Decimal("1.10"), pa.decimal128(5, 2), "1.10"),
        (2**63 - 1, pa.int64(), 2**63 - 1),
        (b"\xff", pa.binary(), "ff"),
        ('é\n"', pa.string(), 'é\n"'),
        (math.nan, pa.float64(), "nan"),
        ([1.5, math.inf], pa.list_(pa.float64()), [1.5, "inf"]),
        ([FAR, 1], pa.list_(MICROS), [FAR, 1]),
        ({"a": FAR}, pa.struct([("a", MICROS)]), {"a": FAR}),
        (None, pa.date32(), None),
    ],
    ids=str,
)
def test_a_row_is_kept_as_exact_json(value: Any, kind: pa.DataType, written: Any) -> None:
    row = pa.RecordBatch.from_arrays([pa.array([value], kind)], names=["v"])

    def no_such_number(name: str) -> None:
        raise AssertionError(name)

    assert json.loads(as_json(row), parse_constant=no_such_number) == {"v": written}


@given(st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=40), st.integers())
def test_rows_in_are_good_plus_quarantined(values: list[int | None], first: int) -> None:
    first = abs(first) % 1000
    column = whole(required=True, minimum=-5, maximum=2**40)
    rows = pa.RecordBatch.from_arrays([pa.array(values, pa.int64())], names=["v"])
    found = split(Table(NAME, (column,)), Chunk(rows), first)
    good = found.positions if found.rejects else range(first, first + len(values))
    assert good is not None
    assert found.rows_read == len(values)
    back: dict[int, int | None] = dict(zip(good, found.rows.column(0).to_pylist(), strict=True))
    back |= {r.position: json.loads(r.raw)["v"] for r in found.rejects}
    assert [back[first + i] for i in range(len(values))] == values
