"""The index of a union that names no branch is damage, wherever it stands in a row."""

import datetime as dt
import tempfile
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.formats.avro_files import encoded, record, write

from malacate.formats import avro_decode, avro_types
from malacate.formats.avro_codecs import Damaged
from malacate.formats.avro_unions import unions_hold
from malacate.formats.avro_walk import walk

LONGS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
UTC_TIMES = st.datetimes(timezones=st.just(dt.UTC))


def decimal_in(kind: dict[str, Any], digits: int) -> Any:
    return ["null", {**kind, "logicalType": "decimal", "precision": digits, "scale": 3}]


UNIONS = record(
    nothing="null",
    first=["null", "long"],
    last=["double", "null"],
    load=decimal_in({"type": "bytes"}, 20),
    weight=decimal_in({"type": "bytes"}, 60),
    fixed=decimal_in({"type": "fixed", "name": "nine", "size": 9}, 20),
    at=["null", {"type": "long", "logicalType": "timestamp-micros"}],
    kind=["null", {"type": "enum", "name": "kind", "symbols": ["ore", "waste"]}],
    tags=["null", {"type": "array", "items": [{"type": "array", "items": "string"}, "null"]}],
    marks={"type": "map", "values": ["null", "int"]},
    place=[
        "null",
        {"type": "record", "name": "place", "fields": [{"name": "x", "type": ["null", "float"]}]},
    ],
    good=["boolean", "null"],
)
DECIMALS = st.none() | st.decimals(-(10**16), 10**16, allow_nan=False, places=3)
UNIONS_ROW = st.fixed_dictionaries(
    {
        "nothing": st.none(),
        "first": st.none() | LONGS,
        "last": st.none() | st.floats(allow_nan=False),
        "load": DECIMALS,
        "weight": st.none() | st.integers(-(10**56), 10**56).map(lambda n: Decimal(n) / 1000),
        "fixed": DECIMALS,
        "at": st.none() | UTC_TIMES,
        "kind": st.none() | st.sampled_from(["ore", "waste"]),
        "tags": st.none() | st.lists(st.none() | st.lists(TEXT, max_size=2), max_size=3),
        "marks": st.dictionaries(TEXT, st.none() | st.integers(-9, 900), max_size=2),
        "place": st.none()
        | st.fixed_dictionaries({"x": st.none() | st.floats(width=32, allow_nan=False)}),
        "good": st.none() | st.booleans(),
    }
)


def decoded(decode: avro_decode.Decode, data: bytes, count: int) -> list[Any] | None:
    try:
        columns = decode(data, count).columns
    except Damaged:
        return None
    return [_values(column) for column in columns]


def _values(column: pa.Array) -> str:
    """As text, in which NaN equals NaN; instants as counts, for Python knows fewer of them."""
    return repr(
        (column.cast("int64") if pa.types.is_timestamp(column.type) else column).to_pylist()
    )


@settings(max_examples=300)
@given(st.lists(UNIONS_ROW, min_size=1, max_size=6), st.integers(2, 7), st.data())
def test_23_a_flipped_bit_is_seen_wherever_the_strict_reader_sees_it(
    rows: list[dict[str, Any]], bit: int, data: st.DataObject
) -> None:
    """An index that names no branch above all, which no checksum and no length would tell."""
    with localcontext(prec=80):
        file = encoded(UNIONS, rows, "null", 1 << 20)
    with tempfile.TemporaryDirectory() as folder:
        ((start, size, count),) = walk(write(Path(folder, "file"), file)).places
    block = bytearray(file[start : start + size])
    expanded = avro_types.expanded(UNIONS)
    layout = avro_types.plain(expanded)
    whole = avro_decode.vectorised(layout)(bytes(block), count)
    assert unions_hold(layout, whole, bytes(block)) is not False
    block[data.draw(st.integers(0, size - 1))] ^= 1 << bit
    fast = decoded(avro_decode.decoder(UNIONS, expanded), bytes(block), count)
    if fast is not None:
        assert fast == decoded(avro_decode.by_rows(UNIONS, expanded), bytes(block), count)


def test_a_map_that_tells_a_key_twice_is_read_as_by_the_strict_reader() -> None:
    schema = record(marks={"type": "map", "values": "long"})
    block = bytes([4, 2, 97, 2, 2, 97, 4, 0])  # two entries: a is 1, a is 2
    expanded = avro_types.expanded(schema)
    fast = decoded(avro_decode.decoder(schema, expanded), block, 1)
    assert fast == decoded(avro_decode.by_rows(schema, expanded), block, 1) == ["[[('a', 2)]]"]


def test_numbers_in_their_shortest_form_need_no_slower_reader() -> None:
    schema = record(load=decimal_in({"type": "bytes"}, 60), tons=["null", "long"], at="long")
    loads = [Decimal(n) * sign for n in (0, 127, 129, 2**70, 2**150) for sign in (1, -1)]
    rows = [{"load": load / 1000, "tons": 3**i, "at": -i} for i, load in enumerate(loads)]
    with localcontext(prec=80), tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "file"), encoded(schema, rows))
        ((start, size, count),) = walk(path).places
        data = path.read_bytes()[start : start + size]
    layout = avro_types.plain(avro_types.expanded(schema))
    found = avro_decode.vectorised(layout)(data, count)
    assert unions_hold(layout, found, data) is True
    assert unions_hold(layout, found, bytes([data[0] ^ 4]) + data[1:]) is False
