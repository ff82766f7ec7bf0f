"""(9) An Avro file, whatever was done to it: its exact rows or a refusal, never fewer rows."""

import io
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import fastavro
from hypothesis import strategies as st
from platform_tests.cdc.histories import seeds, tried
from platform_tests.formats.avro_files import as_observed, drained, write
from platform_tests.formats.test_avro_samples import NO_COLUMNS, READABLE

from malacate.contracts.chunk import Chunk
from malacate.contracts.table import Table
from malacate.errors import ContractError, SchemaDrift, UnreadableFile
from malacate.formats import avro
from malacate.formats.avro_walk import walk
from malacate.sources.cdc import datastream_avro

DATA = Path(__file__).parents[1] / "data"
CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")
MOST = 30_000
NO_BYTES = ("duckdb-avro/empty_record.avro", NO_COLUMNS)
"""Rows of these take no bytes, so that nothing but their count tells how many they are."""

NEWLINE = "avro/person-10.no-codec.avro"
"""It ends in a byte that belongs to no block."""

PLAIN = [DATA / "avro" / name for name in READABLE if name not in (*NO_BYTES, NEWLINE)]
EVENTS = sorted((DATA / "cdc/datastream").rglob("*.avro"))
SAMPLES = [str(p.relative_to(DATA)) for p in (*PLAIN, *EVENTS) if p.stat().st_size < MOST]
Rows = list[dict[str, Any]]


@cache
def sample(name: str) -> tuple[bytes, Table, Rows, frozenset[int]]:
    """Its bytes, its contract, its rows, and where a cut leaves a whole file."""
    path = DATA / name
    data, blocks = path.read_bytes(), walk(path)
    contract = as_observed(path)
    rows, rejects = drained(avro.read(path, contract))
    assert rejects == []
    first = min((start for start, _, _ in blocks.places), default=len(data))
    marker = data[-16:] if blocks.places else b""
    header = data.find(marker) + 16 if marker else len(data)
    whole = {header, *(start + size + 16 for start, size, _ in blocks.places)}
    assert header <= first
    return data, contract, rows, frozenset(whole)


def read(data: bytes, contract: Table) -> list[Chunk] | None:
    """All that is read of it; ``None`` if the file is refused.

    A contract as observed may have a column of type null, which no declared one has: if that is
    missing, its type cannot be told (``ContractError``).
    """
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        try:
            return list(avro.read(write(Path(folder, "f"), data), contract).chunks)
        except (UnreadableFile, SchemaDrift, ContractError):
            return None


def taken(data: bytes, contract: Table) -> tuple[Rows, int] | None:
    """Rows and how many were set aside; ``None`` if the file is refused."""
    chunks = read(data, contract)
    if chunks is None:
        return None
    rows = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    return rows, sum(len(chunk.rejects) for chunk in chunks)


def cut(name: str, seed: int) -> None:
    data, contract, rows, whole = sample(name)
    at = seed % len(data)
    found = taken(data[:at], contract)
    is_line = data[at - 1 : at] == b"\n" and at - 1 in whole
    assert found is None or at in whole or is_line or same(found[0], rows), (at, len(data))


def flipped(name: str, seed: int) -> None:
    """Codecs without a checksum may yield other values, then the count is still right.

    Counted, not looked at: an instant may by now be far from any calendar.
    """
    data, contract, rows, _ = sample(name)
    changed = bytearray(data)
    changed[seed // 8 % len(data)] ^= 1 << seed % 8
    chunks = read(bytes(changed), contract)
    count = None if chunks is None else sum(chunk.rows_read for chunk in chunks)
    assert count in (None, len(rows)), seed // 8 % len(data)


def test_an_instant_that_no_calendar_has_is_a_row_to_count() -> None:
    flipped(name="avro/duckdb-avro/timestamp_millis.avro", seed=46597456)


def appended(name: str, seed: int) -> None:
    data, contract, rows, _ = sample(name)
    tail = random.Random(seed).randbytes(1 + seed % 30)
    found = taken(data + tail, contract)
    assert found is None or (same(found[0], rows) and tail == b"\n")


def packed_otherwise(name: str, seed: int) -> None:
    """Written again with another codec and in other blocks: the same rows."""
    data, contract, rows, _ = sample(name)
    file = again(data, CODECS[seed % 6], 1 + seed % 4000)
    found = None if file is None else taken(file, contract)
    assert file is None or (found is not None and same(found[0], rows) and not found[1])


def renamed(name: str, seed: int) -> None:
    """A promised column that is not there is told of the whole file."""
    data, contract, rows, _ = sample(name)
    place = seed % len(contract.columns)
    file = again(data, "null", 16_000, place)
    found = None if file is None else taken(file, contract)
    assert found is None or len(found[0]) + found[1] == len(rows)
    if file is not None and found is not None:
        column = contract.columns[place].name
        assert all(row[column] is None for row in found[0])


def again(data: bytes, codec: str, every: int, rename: int | None = None) -> bytes | None:
    """What fastavro writes of what it reads; ``None`` of a file that it cannot write again."""
    out = io.BytesIO()
    try:
        reader = fastavro.reader(io.BytesIO(data))
        schema: Any = reader.writer_schema
        rows: Any = list(reader)
        if rename is not None:
            fields = [dict(field) for field in schema["fields"]]
            old, fields[rename]["name"] = fields[rename]["name"], "renamed_by_somebody"
            schema = {**schema, "fields": fields}
            rows = [{**row, "renamed_by_somebody": row[old]} for row in rows]
        bare = {k: v for k, v in schema.items() if not k.startswith("__")}
        fastavro.writer(out, bare, rows, codec=codec, sync_interval=every)
    except (ValueError, TypeError, OverflowError, KeyError, EOFError):
        return None
    # It takes the first branch of a union that a row without its name would fit.
    is_same = repr(list(fastavro.reader(io.BytesIO(out.getvalue())))) == repr(rows)
    return out.getvalue() if is_same or rename is not None else None


def events_flipped_or_cut(name: str, seed: int) -> None:
    """The same of the reader of change events."""
    data, _, rows, whole = sample(name)
    at = seed // 16 % len(data)
    changed = bytearray(data)
    changed[at] ^= 1 << seed % 8
    damaged = bytes(changed) if seed % 16 < 8 else data[:at]
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        path = write(Path(folder, "f"), damaged)
        try:
            count = sum(b.num_rows for b in datastream_avro.opened(path).batches())
        except (UnreadableFile, SchemaDrift):
            return
    assert count == len(rows) or (seed % 16 >= 8 and at in whole), at


def same(found: Rows, rows: Rows) -> bool:
    """NaN like itself."""
    return repr(found) == repr(rows)


NAMES = st.sampled_from(SAMPLES)
OF_EVENTS = st.sampled_from([name for name in SAMPLES if name.startswith("cdc/")])
FIFTH = 5
test_a_file_cut_anywhere_is_refused = tried(cut, fewer=FIFTH, name=NAMES, seed=seeds)
test_a_flipped_bit_never_loses_a_row_in_silence = tried(
    flipped, fewer=FIFTH, name=NAMES, seed=seeds
)
test_bytes_after_the_end_add_nothing = tried(appended, fewer=FIFTH, name=NAMES, seed=seeds)
test_another_codec_is_the_same_rows = tried(packed_otherwise, fewer=FIFTH, name=NAMES, seed=seeds)
test_a_renamed_field_is_told_or_null_by_contract = tried(
    renamed, fewer=FIFTH, name=NAMES, seed=seeds
)
test_damaged_events_are_all_there_or_refused = tried(
    events_flipped_or_cut, fewer=FIFTH, name=OF_EVENTS, seed=seeds
)
