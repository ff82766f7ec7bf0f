"""Whatever rows are written come back, decoded either way; damage never loses one in silence."""

import datetime as dt
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.formats.avro_files import drained, encoded, record, rows_of, table, write

from malacate.contracts.table import Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import avro, avro_decode, avro_types
from malacate.formats.avro_walk import walk

CODECS = ["null", "deflate", "snappy", "zstandard", "bzip2", "xz"]
SCHEMA = record(
    id="long",
    truck=["null", "int"],
    load={"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 3},
    at={"type": "long", "logicalType": "timestamp-micros"},
    day=["null", {"type": "int", "logicalType": "date"}],
    clock={"type": "long", "logicalType": "time-micros"},
    good="boolean",
    speed="double",
    name=["string", "null"],
    raw="bytes",
    kind={"type": "enum", "name": "kind", "symbols": ["ore", "waste"]},
    tags={"type": "array", "items": ["null", "string"]},
    marks={"type": "map", "values": "long"},
    place={"type": "record", "name": "place", "fields": [{"name": "x", "type": "float"}]},
)
UTC_TIMES = st.datetimes(timezones=st.just(dt.UTC))
LONGS = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ROW = st.fixed_dictionaries(
    {
        "id": LONGS,
        "truck": st.none() | st.integers(-(2**31), 2**31 - 1),
        "load": st.decimals(-(10**16), 10**16, allow_nan=False, places=3),
        "at": UTC_TIMES,
        "day": st.none() | st.dates(),
        "clock": st.times(),
        "good": st.booleans(),
        "speed": st.floats(allow_nan=False),
        "name": st.none() | TEXT,
        "raw": st.binary(max_size=8),
        "kind": st.sampled_from(["ore", "waste"]),
        "tags": st.lists(st.none() | TEXT, max_size=3),
        "marks": st.dictionaries(TEXT, LONGS, max_size=2),
        "place": st.fixed_dictionaries({"x": st.floats(width=32, allow_nan=False)}),
    }
)
ROWS = st.lists(ROW, max_size=12)
CONTRACT = table(**avro_types.fields(avro_types.expanded(SCHEMA)))


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"marks": list(row["marks"].items())}


@settings(max_examples=60)
@given(ROWS, st.sampled_from(CODECS), st.sampled_from([1, 200, 16_000]))
def test_any_rows_of_any_codec_come_back_exactly(
    rows: list[dict[str, Any]], codec: str, every: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "file"), encoded(SCHEMA, rows, codec, every))
        assert rows_of(path, CONTRACT) == [plain(row) for row in rows]


@settings(max_examples=60)
@given(st.lists(ROW, min_size=1, max_size=12))
def test_both_ways_of_decoding_give_the_same(rows: list[dict[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "file"), encoded(SCHEMA, rows, "null", 1 << 20))
        ((start, size, count),) = walk(path).places
        data = path.read_bytes()[start : start + size]
    expanded = avro_types.expanded(SCHEMA)
    fast = avro_decode.vectorised(avro_types.plain(expanded))(data, count)
    slow = avro_decode.by_rows(SCHEMA, expanded)(data, count)
    assert fast.to_pylist() == slow.to_pylist()


SMALL = record(id="long", name=["null", "string"], load="double")
SMALL_CONTRACT = table(id=pa.int64(), name=pa.string(), load=pa.float64())
SMALL_ROWS = [
    {"id": i * 37, "name": None if i % 3 else f"truck {i}", "load": i / 8} for i in range(60)
]
FILES = {codec: encoded(SMALL, SMALL_ROWS, codec, 150) for codec in CODECS}


def attempt(data: bytes, contract: Table = SMALL_CONTRACT) -> tuple[list[Any], int] | None:
    """The rows and rejects that the file yields; ``None`` if it is refused."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows, rejects = drained(avro.read(write(Path(folder, "file"), data), contract))
            return rows, len(rejects)
        except (UnreadableFile, SchemaDrift):
            return None


def boundaries(codec: str) -> set[int]:
    with tempfile.TemporaryDirectory() as folder:
        places = walk(write(Path(folder, "file"), FILES[codec])).places
    return {FILES[codec].index(b"m" * 16) + 16, *(start + size + 16 for start, size, _ in places)}


@pytest.mark.parametrize("codec", CODECS)
def test_22_a_file_cut_anywhere_but_between_blocks_is_refused(codec: str) -> None:
    """Between blocks the cut file is whole, as it is behind the first byte of a block of five
    rows, which is a newline: there the size and checksum of its store tell.
    """
    data, whole = FILES[codec], boundaries(codec)
    assert len(whole) > 3
    taken = [cut for cut in range(len(data)) if cut not in whole and attempt(data[:cut])]
    assert taken == [cut + 1 for cut in sorted(whole) if data[cut : cut + 1] == b"\n"]


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=80)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_23_a_flipped_bit_never_loses_a_row_in_silence(codec: str, at: int, bit: int) -> None:
    """Codecs without a checksum may yield other values: then the count is still right."""
    data = bytearray(FILES[codec])
    at %= len(data)
    data[at] ^= 1 << bit
    found = attempt(bytes(data))
    if found is None:
        return
    rows, rejects = found
    assert len(rows) + rejects == len(SMALL_ROWS)
    if codec in ("snappy", "bzip2", "xz") and at > data.index(b"m" * 16):
        assert rows == SMALL_ROWS


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=40)
@given(tail=st.binary(min_size=1, max_size=40))
def test_22_bytes_after_the_end_are_refused_or_add_nothing(codec: str, tail: bytes) -> None:
    found = attempt(FILES[codec] + tail)
    assert found is None or (found == (SMALL_ROWS, 0) and tail == b"\n")


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_noise_behind_a_header_is_refused(noise: bytes) -> None:
    data = FILES["null"]
    start = data.index(b"m" * 16) + 16
    assert attempt(data[:start] + noise) in (None, ([], 0))
