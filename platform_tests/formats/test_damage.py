"""Real files cut, flipped and lengthened: the rows a strict reader sees, or a typed refusal."""

import csv
import io
import json
import random
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from platform_tests.formats.avro_files import as_observed, drained
from platform_tests.formats.test_avro_samples import NAMES, NO_COLUMNS, REFUSED, SAMPLES
from platform_tests.formats.test_avro_samples import _plain as plain
from platform_tests.formats.test_csv import SAP, SAP_FORMAT, sap_table, sap_value
from platform_tests.formats.test_csv import SAP_TYPES as TYPES

from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, avro, read
from malacate.formats.avro_walk import walk
from malacate.names import TableName

PLACES = 20
REASONS = {
    "bad_encoding", "bad_header", "bad_magic", "bad_sync", "corrupt", "decompression_bomb",
    "duplicate_column", "duplicate_header", "empty_object", "not_a_record", "not_json_lines",
    "row_count_mismatch", "schema_drift", "trailing_bytes", "truncated", "unclosed_quote",
    "unknown_codec", "too_deep",
}  # fmt: skip
Found = tuple[list[tuple[Any, ...]], int]


def damaged(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    chance = random.Random(zlib.crc32(name.encode()))
    for _ in range(PLACES):
        at = chance.randrange(len(data))
        yield "cut", data[:at]
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        yield "flip", bytes(flipped)
        yield "append", data + chance.randbytes(chance.randrange(1, 40))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(path: Path, data: bytes, promised: Table, form: FileFormat) -> Found | None:
    """Rows and the number of rejects; ``None`` for a typed refusal, whose reason is known."""
    path.write_bytes(data)
    try:
        with at_most(10):
            chunks = list(read(path, promised, form).chunks)
    except (UnreadableFile, SchemaDrift) as error:
        refusal = error
    else:
        rejects = [reject for chunk in chunks for reject in chunk.rejects]
        assert all(reject.reason and reject.detail for reject in rejects)
        return [row for chunk in chunks for row in _rows(chunk.rows)], len(rejects)
    assert refusal.reason in REASONS, refusal.reason
    assert refusal.advice
    return None


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    if not batch.num_columns:
        return [()] * batch.num_rows
    return list(zip(*map(_values, batch.columns), strict=True))


def _values(column: pa.Array) -> list[Any]:
    """Values that compare: instants beyond Python's calendar as their counts, NaN as text."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return [repr(scalar) for scalar in column] if pa.types.is_floating(column.type) else [
        _or_repr(scalar) for scalar in column
    ]  # fmt: skip


def _or_repr(scalar: pa.Scalar) -> Any:
    try:
        return repr(scalar.as_py())
    except (ValueError, OverflowError, UnicodeDecodeError):
        return repr(scalar)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {*REFUSED, NO_COLUMNS}])
def test_a_damaged_avro_file_has_all_its_rows_or_is_refused(name: str, tmp_path: Path) -> None:
    source = SAMPLES / name
    data, promised = source.read_bytes(), with_texts(as_observed(source))
    ends, codec, rows = block_ends(source), walk(source).codec, walk(source).rows
    path = tmp_path / "drop"
    whole = attempt(path, data, promised, FileFormat("avro"))
    for how, broken in damaged(name, data):
        found = attempt(path, broken, promised, FileFormat("avro"))
        if found is None:
            continue
        count = len(found[0]) + found[1]
        assert count == (rows if how == "append" else rows_by_fastavro(broken, rows)), how
        if how == "append":
            assert found == whole
        if how == "cut":
            assert len(broken) in ends, "a cut that only the size in the store tells"
        if how == "flip" and found != whole and codec not in ("null", "deflate", "zstandard"):
            at = next(i for i, (a, b) in enumerate(zip(data, broken, strict=True)) if a != b)
            assert at < min(ends), "a flip that the checksum of its codec should have told"
        if how == "flip" and not found[1]:
            assert_values_are_fastavros(path, promised)


def assert_values_are_fastavros(path: Path, promised: Table) -> None:
    """Wherever Python's calendar lets that reader, and its own strictness, come to the end."""
    try:
        with path.open("rb") as file:
            expected = list(fastavro.reader(file))
        rows, _ = drained(avro.read(path, promised))
    except (ValueError, ArithmeticError, EOFError, TypeError):
        return
    for row, wanted in zip(rows, expected, strict=True):
        for name, value in row.items():
            assert plain(value) == plain(wanted[name]), name


def block_ends(path: Path) -> set[int]:
    """Where a cut file is whole, or ends in a byte that reads as the newline it may end in."""
    blocks = walk(path)
    data = path.read_bytes()
    starts = {at + size + 16 for at, size, _ in blocks.places}
    first = data.index(data[min(starts) - 16 : min(starts)]) + 16
    ends = {first, *starts}
    return ends | {end + 1 for end in ends if data[end : end + 1] == b"\n"}


def rows_by_fastavro(data: bytes, rows: int) -> int:
    """How many rows the blocks promise, by another reader; ``rows`` where it trips over metadata
    that no row needs, or over the newline that one file ends in.
    """
    try:
        return sum(block.num_records for block in fastavro.block_reader(io.BytesIO(data)))
    except (UnicodeDecodeError, EOFError):
        return rows


def with_texts(promised: Table) -> Table:
    """A contract names no type for a column that is always null: text will do."""
    columns = (replace(c, type=pa.string()) if pa.types.is_null(c.type) else c
               for c in promised.columns)  # fmt: skip
    return replace(promised, columns=tuple(columns))


def strict_csv(data: bytes, name: str) -> Found | None:
    """The same file by Python's own reader: rows that fit, and how many do not."""
    types = TYPES[name]
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    header, *records = csv.reader(io.StringIO(text), delimiter=";")
    rows: list[tuple[Any, ...]] = []
    rejected = 0
    for record in records:
        try:
            if len(record) != len(header):
                raise ValueError
            pairs = zip(record, header, strict=True)
            rows.append(tuple(exactly(v, types.get(k, "varchar")) for v, k in pairs))
        except (ValueError, ArithmeticError):
            rejected += bool(record)
    return rows, rejected


def exactly(text: str, kind: str) -> str:
    value = sap_value(text, kind)
    if isinstance(value, Decimal):
        if value != (rounded := value.quantize(Decimal("0.01"))):
            raise ValueError(text)
        value = rounded
    return repr(value)


@pytest.mark.parametrize("name", TYPES)
def test_a_damaged_export_reads_as_pythons_own_reader_does_or_is_refused(
    name: str, tmp_path: Path
) -> None:
    data, promised = (SAP / f"{name}.csv").read_bytes(), sap_table(name)
    path = tmp_path / "drop"
    for how, broken in damaged(name, data):
        found = attempt(path, broken, promised, SAP_FORMAT)
        if found is None:
            continue
        if b'"' in broken or b"\0" in broken or broken.count(b"\r") != broken.count(b"\r\n"):
            # The two readers differ on stray quotes and returns; no row may be missing.
            assert sum(map(bool, found[0])) + found[1] >= broken.count(b"\n") - 2, how
            continue
        assert found == strict_csv(broken, name), how


LINE_TYPES = {"id": "bigint", "name": "varchar", "tonnes": "decimal(12,3)", "at": "timestamptz"}
LINES = b"".join(
    json.dumps({"id": i * 37, "name": f"camión {i}", "tonnes": i / 8,
                "at": f"2026-01-02T03:04:{i % 60:02}Z"}, ensure_ascii=i % 2 == 0).encode() + b"\n"
    for i in range(400)
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_jsonl_file_loses_no_line_in_silence(seed: int, tmp_path: Path) -> None:
    columns = tuple(Column(name, arrow_type(kind)) for name, kind in LINE_TYPES.items())
    promised = Table(TableName("raw_mine", "haul"), columns)
    path = tmp_path / "drop"
    whole = attempt(path, LINES, promised, FileFormat("jsonl"))
    assert whole is not None
    for how, broken in damaged(str(seed), LINES):
        found = attempt(path, broken, promised, FileFormat("jsonl"))
        if found is None:
            assert how == "flip", how
            continue
        rows, rejected = found
        assert len(rows) + rejected == sum(bool(x.strip()) for x in broken.split(b"\n")), how
        touched = {"cut": 1, "flip": 2, "append": 0}[how]
        assert len(set(whole[0][: broken.count(b"\n")]) - set(rows)) <= touched, how
