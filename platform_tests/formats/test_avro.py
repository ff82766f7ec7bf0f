"""Avro as a contract wants it: evolution, exactness, and the bad input of rows 21 to 34."""

import datetime as dt
import zlib
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from platform_tests.formats.avro_files import (
    drained,
    encoded,
    reason,
    record,
    rows_of,
    table,
    write,
)

from malacate.contracts.table import Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, avro, read
from malacate.formats.avro_walk import walk

HAUL = record(id="long", truck=["null", "string"])
CONTRACT = table(id=pa.int64(), truck=pa.string())
ROWS = [{"id": i, "truck": None if i % 5 == 0 else f"truck {i % 7}"} for i in range(1000)]
BLOCKS = encoded(HAUL, ROWS, "deflate", every=500)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "3f2a"


def boundary(data: bytes, path: Path) -> int:
    offset, size, _ = walk(write(path, data)).places[3]
    return offset + size + 16


def test_21_a_cut_between_blocks_is_a_whole_file_of_fewer_rows(path: Path) -> None:
    """Its store's size and checksum tell; the framing cannot, and says how many rows it has."""
    cut = BLOCKS[: boundary(BLOCKS, path)]
    reading = read(write(path, cut), CONTRACT, FileFormat("avro"))
    rows, _ = drained(reading)
    assert rows == ROWS[: reading.source_rows]


def damaged(case: str, path: Path) -> bytes:
    start, size, _ = walk(write(path, BLOCKS)).places[2]
    flipped = bytearray(BLOCKS)
    flipped[start + size + 3] ^= 1
    negative = bytearray(encoded(HAUL, ROWS[:50]))
    first, _, _ = walk(write(path, bytes(negative))).places[0]
    negative[first - 3] = 99
    return {
        "22 cut inside a block": BLOCKS[: start + size // 2],
        "22 cut inside a marker": BLOCKS[: start + size + 9],
        "22 cut inside the header": BLOCKS[:40],
        "22 cut inside the magic": BLOCKS[:3],
        "23 flipped byte in a marker": bytes(flipped),
        "23 negative count": bytes(negative),
        "24 wrong magic": b"Obj\x02" + BLOCKS[4:],
        "24 another format": b"id,truck\n1,a\n",
        "25 zero bytes": b"",
        "26 bomb": bomb("deflate"),
        "26 bomb in snappy": bomb("snappy"),
        "26 bomb in zstandard": bomb("zstandard"),
        "26 bomb in bzip2": bomb("bzip2"),
        "26 bomb in xz": bomb("xz"),
        "unknown codec": BLOCKS.replace(b"deflate", b"deflatf"),
        "schema that is no JSON": BLOCKS.replace(b'{"type"', b'{"type?'),
        "bytes after the end": BLOCKS + b"abc",
        "two newlines after the end": BLOCKS + b"\n\n",
    }[case]


@cache
def bomb(codec: str) -> bytes:
    """Twelve megabytes that pack into next to nothing; snappy's preamble claims them."""
    big = [{"id": 1, "truck": "x" * 12_000_000}]
    if codec != "snappy":
        return encoded(HAUL, big, codec)
    small = encoded(HAUL, [{"id": 1, "truck": "x"}], "null").replace(b"\x08null", b"\x0csnappy")
    data = b"\xff\xff\xff\xff\x07" + b"\0" * 8
    return (
        small[: small.index(b"m" * 16) + 16] + b"\x02" + bytes([2 * len(data)]) + data + b"m" * 16
    )


@pytest.mark.parametrize(
    ("case", "wanted"),
    {
        "22 cut inside a block": "truncated",
        "22 cut inside a marker": "truncated",
        "22 cut inside the header": "truncated",
        "22 cut inside the magic": "truncated",
        "23 flipped byte in a marker": "bad_sync",
        "23 negative count": "corrupt",
        "24 wrong magic": "bad_magic",
        "24 another format": "bad_magic",
        "25 zero bytes": "empty_object",
        "26 bomb": "decompression_bomb",
        "26 bomb in snappy": "decompression_bomb",
        "26 bomb in zstandard": "decompression_bomb",
        "26 bomb in bzip2": "decompression_bomb",
        "26 bomb in xz": "decompression_bomb",
        "unknown codec": "unknown_codec",
        "schema that is no JSON": "bad_header",
        "bytes after the end": "trailing_bytes",
        "two newlines after the end": "trailing_bytes",
    }.items(),
)
def test_a_damaged_file_is_refused_whole(case: str, wanted: str, path: Path) -> None:
    data = damaged(case, path)
    assert reason(write(path, data), CONTRACT) == wanted


def test_23_a_flipped_byte_in_deflated_data_says_where(path: Path) -> None:
    start, size, _ = walk(write(path, BLOCKS)).places[2]
    data = bytearray(BLOCKS)
    data[start : start + size] = bytes(size)
    with pytest.raises(UnreadableFile, match="after row") as found:
        drained(avro.read(write(path, bytes(data)), CONTRACT))
    assert found.value.reason == "corrupt"


def test_23_a_flipped_byte_in_snappy_data_is_seen_by_its_checksum(path: Path) -> None:
    data = bytearray(encoded(HAUL, ROWS, "snappy"))
    start, size, _ = walk(write(path, bytes(data))).places[0]
    data[start + size - 30] ^= 0x10
    assert reason(write(path, bytes(data)), CONTRACT) == "corrupt"


@pytest.mark.parametrize("promised", [0, 1, 30, 49, 51, 60])
@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("schema", [HAUL, record(id="long", truck=["null", "string", "int"])])
def test_23_a_block_with_another_count_of_rows_is_refused(
    promised: int, codec: str, schema: Any, path: Path
) -> None:
    data = bytearray(encoded(schema, ROWS[:50], codec))
    start, _, _ = walk(write(path, bytes(data))).places[0]
    where = data.rindex(100, 0, start)
    data[where] = 2 * promised
    assert walk(write(path, bytes(data))).rows == promised
    assert reason(path, CONTRACT) == "corrupt"


def test_26_a_block_of_good_size_is_no_bomb(path: Path) -> None:
    rows = [{"id": i, "truck": "x" * 1000} for i in range(9_000)]
    data = encoded(HAUL, rows, "deflate", every=1 << 24)
    assert len(zlib.compress(data)) < len(data)
    assert rows_of(write(path, data), CONTRACT) == rows


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        (["null", "long"], 7, pa.int64()),
        ("int", 7, pa.int64()),
        ("float", 0.5, pa.float64()),
        ("int", 7, pa.float64()),
        (["int", "long"], 7, pa.int64()),
        ("null", None, pa.int64()),
        ({"type": "enum", "name": "e", "symbols": ["a", "b"]}, "b", pa.string()),
    ],
)
def test_27_a_schema_that_evolved_within_the_contract_is_read(
    kind: Any, value: Any, wanted: pa.DataType, path: Path
) -> None:
    data = encoded(record(id=kind), [{"id": value}])
    assert rows_of(write(path, data), table(id=wanted)) == [{"id": value}]


def changed(**how: Any) -> Table:
    first, second = CONTRACT.columns
    return replace(CONTRACT, columns=(first, replace(second, **how)))


def test_27_an_alias_is_told(path: Path) -> None:
    data = encoded(record(id="long", camion="string"), [{"id": 1, "camion": "a"}])
    reading = avro.read(write(path, data), changed(aliases=("camion",)))
    assert [(e.kind, e.column) for e in reading.evolutions] == [("renamed", "truck")]
    assert drained(reading)[0] == [{"id": 1, "truck": "a"}]


def test_27_a_column_added_since_is_null_in_an_older_file(path: Path) -> None:
    data = encoded(record(id="long"), [{"id": 1}, {"id": 2}])
    reading = avro.read(write(path, data), changed(since="1.1.0"))
    assert [(e.kind, e.column) for e in reading.evolutions] == [("absent", "truck")]
    assert drained(reading)[0] == [{"id": 1, "truck": None}, {"id": 2, "truck": None}]


def test_27_columns_are_matched_by_name_not_by_place(path: Path) -> None:
    data = encoded(record(truck="string", id="long"), [{"id": 1, "truck": "a"}])
    reading = avro.read(write(path, data), CONTRACT)
    (chunk,) = reading.chunks
    assert chunk.rows.schema.names == ["id", "truck"]
    assert chunk.rows.schema.types == CONTRACT.schema.types
    assert reading.evolutions == []


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        (record(id="long"), "missing 'truck' varchar"),
        (record(id="long", truck="string", load="int"), "extra 'load'"),
        (record(id="string", truck="string"), "retyped 'id': string cannot become int64"),
        (record(id=["null", "int", "string"], truck="string"), "retyped 'id'"),
    ],
    ids=["28 missing", "28 extra", "34 int then string", "28 union"],
)
def test_28_a_schema_that_breaks_the_contract_is_drift_before_any_row(
    schema: Any, told: str, path: Path
) -> None:
    with pytest.raises(SchemaDrift, match=told):
        avro.read(write(path, encoded(schema, [])), CONTRACT)


def test_29_a_name_that_no_warehouse_takes_comes_under_its_physical_name(path: Path) -> None:
    data = encoded(record(id="long", select="string"), [{"id": 1, "select": "a"}])
    assert rows_of(write(path, data), changed(physical_name="select")) == [{"id": 1, "truck": "a"}]


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


@pytest.mark.parametrize("digits", [9, 18, 38, 39, 76])
def test_30_a_decimal_is_exact_up_to_76_digits(digits: int, path: Path) -> None:
    value = Decimal((1, (9,) * digits, -2))
    data = encoded(record(load=decimal(digits, 2)), [{"load": value}])
    kind = (pa.decimal256 if digits > 38 else pa.decimal128)(digits, 2)
    assert rows_of(write(path, data), table(load=kind)) == [{"load": value}]


def test_30_a_decimal_beyond_76_digits_is_text(path: Path) -> None:
    value = Decimal((0, (9,) * 90, -2))
    data = encoded(record(load=decimal(90, 2)), [{"load": value}])
    assert rows_of(write(path, data), table(load=pa.string())) == [{"load": str(value)}]


@pytest.mark.parametrize("extra", ["long", ["null", "long", "string"]])
def test_30_more_digits_than_the_schema_allows_reject_their_row(extra: Any, path: Path) -> None:
    """Both ways of decoding; the rows around the reject are kept, with their places."""
    loads = [Decimal("1.50"), Decimal("12345.67"), Decimal("-2.25")]
    rows = [{"load": load, "id": 1} for load in loads]
    digits = (b'"precision": 7', b'"precision": 4')
    data = encoded(record(load=decimal(7, 2), id=extra), rows)
    assert digits[0] in data
    kind = pa.string() if isinstance(extra, list) else pa.int64()
    contract = table(load=pa.decimal128(4, 2), id=kind)
    (chunk,) = avro.read(write(path, data.replace(*digits)), contract).chunks
    assert chunk.rows.column("load").to_pylist() == [loads[0], loads[2]]
    assert chunk.positions == [0, 2]
    (reject,) = chunk.rejects
    assert (reject.position, reject.reason) == (1, "does_not_fit")
    assert b'"12345.67"' in reject.raw


def test_31_an_unknown_enum_symbol_is_corrupt(path: Path) -> None:
    kind = {"type": "enum", "name": "e", "symbols": ["a", "b"]}
    data = bytearray(encoded(record(id=kind), [{"id": "b"}]))
    data[walk(write(path, bytes(data))).places[0][0]] = 2 * 7
    assert reason(write(path, bytes(data)), table(id=pa.string())) == "corrupt"


def test_31_a_recursive_type_comes_as_json_text_where_it_refers_to_itself(path: Path) -> None:
    node = {
        "type": "record",
        "name": "node",
        "fields": [{"name": "v", "type": "int"}, {"name": "next", "type": ["null", "node"]}],
    }
    values = [{"v": 1, "next": {"v": 2, "next": None}}, {"v": 3, "next": None}]
    data = encoded(record(at=node), [{"at": value} for value in values])
    contract = table(at=pa.struct([("v", pa.int32()), ("next", pa.string())]))
    assert rows_of(write(path, data), contract) == [
        {"at": {"v": 1, "next": '{"v": 2, "next": null}'}},
        {"at": {"v": 3, "next": None}},
    ]


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ({"type": "map", "values": ["null", "int"]}, {"a": 1, "b": None}, [("a", 1), ("b", None)]),
        ({"type": "map", "values": "int"}, {}, []),
        (["null", {"type": "array", "items": "int"}], [], []),
        (["null", {"type": "array", "items": "int"}], None, None),
    ],
)
def test_31_empty_and_null_containers_stay_apart(
    kind: Any, value: Any, wanted: Any, path: Path
) -> None:
    contract = table(at=avro.fields(record(at=kind))["at"])
    assert rows_of(write(path, encoded(record(at=kind), [{"at": value}])), contract) == [
        {"at": wanted}
    ]


def test_33_microseconds_beyond_the_reach_of_nanoseconds_are_kept(path: Path) -> None:
    kind = {"type": "long", "logicalType": "timestamp-micros"}
    when = dt.datetime(9998, 12, 31, 1, 2, 3, 456789, tzinfo=dt.UTC)
    data = encoded(record(at=kind), [{"at": when}])
    assert rows_of(write(path, data), table(at=pa.timestamp("us", "UTC"))) == [{"at": when}]


def test_33_nanoseconds_come_as_microseconds_or_reject_their_row(path: Path) -> None:
    kind = {"type": "long", "logicalType": "timestamp-nanos"}
    data = encoded(record(at=kind), [{"at": 5_000}, {"at": 5_001}, {"at": 6_000}])
    rows, rejects = drained(avro.read(write(path, data), table(at=pa.timestamp("us", "UTC"))))
    assert [row["at"].microsecond for row in rows] == [5, 6]
    assert [(r.position, r.reason) for r in rejects] == [(1, "does_not_fit")]
    assert b"000005001" in rejects[0].raw


def test_33_milliseconds_that_no_microsecond_counter_holds_reject_their_row(path: Path) -> None:
    kind = {"type": "long", "logicalType": "timestamp-millis"}
    data = encoded(record(at=kind), [{"at": 1000}, {"at": 2**62}])
    rows, rejects = drained(avro.read(write(path, data), table(at=pa.timestamp("us", "UTC"))))
    assert [row["at"].second for row in rows] == [1]
    assert [(r.position, r.reason, r.raw) for r in rejects] == [
        (1, "does_not_fit", b'{"at": %d}' % 2**62)
    ]


def test_a_uuid_is_its_text(path: Path) -> None:
    kind = {"type": "string", "logicalType": "uuid"}
    data = encoded(record(id=kind), [{"id": "5ECD0D9A-0000-4000-8000-00000000000f"}])
    assert rows_of(write(path, data), table(id=pa.string())) == [
        {"id": "5ECD0D9A-0000-4000-8000-00000000000f"}
    ]


def test_chunks_are_bounded_and_the_count_is_the_walks(path: Path) -> None:
    rows = [{"id": i, "truck": None} for i in range(150_000)]
    reading = avro.read(write(path, encoded(HAUL, rows, every=1 << 22)), CONTRACT)
    sizes = [chunk.rows.num_rows for chunk in reading.chunks]
    assert sum(sizes) == reading.source_rows == 150_000
    assert max(sizes) <= 65_536


def test_a_reading_may_be_dropped_half_way(path: Path) -> None:
    reading = avro.read(write(path, BLOCKS * 1), CONTRACT)
    next(reading.chunks)
    del reading


def test_a_file_without_rows_has_none(path: Path) -> None:
    reading = avro.read(write(path, encoded(HAUL, [])), CONTRACT)
    assert (drained(reading), reading.source_rows) == (([], []), 0)


def test_the_types_of_a_change_events_row_are_told() -> None:
    row = record(id="long", load=["null", decimal(12, 2)], at=["null", "string"]) | {
        "name": "inner"
    }
    event = record(uuid="string", payload=["null", row])
    assert avro.payload_types(event) == {
        "id": pa.int64(),
        "load": pa.decimal128(12, 2),
        "at": pa.string(),
    }
    assert avro.payload_types(record(payload="string")) is None
    assert avro.payload_types(HAUL) is None
