"""Parquet, XLSX, JSON lines and packed CSV, whole and damaged, through a declared source."""

import bz2
import datetime as dt
import gzip
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd
from platform_tests.components.dropping import Dropping, dropping
from platform_tests.components.independent import by_csv
from platform_tests.components.test_real_files import (
    assert_kept,
    with_damage,
)

AT = dt.datetime(2026, 11, 3, 4, 5, 6, 789_000, dt.UTC)
ROWS = [
    {"id": i, "name": f"línea {i}", "tonnes": i / 8, "ok": i % 2 == 0 if i % 7 else None}
    for i in range(300)
]  # fmt: skip


@pytest.fixture(scope="module")
def yard() -> Iterator[Dropping]:
    with dropping() as made:
        yield made


def parquet() -> bytes:
    nested = pa.struct([("grade", pa.decimal128(9, 3)), ("on", pa.date32())])
    rows = [
        row | {"rock": {"grade": Decimal(i) / 1000, "on": dt.date(2026, 1, 1)} if i % 4 else None,
               "parts": [{"n": n} for n in range(i % 3)], "sizes": [("a", i), ("b", None)],
               "at": AT.replace(tzinfo=None) + dt.timedelta(seconds=i)}
        for i, row in enumerate(ROWS)
    ]  # fmt: skip
    schema = pa.schema([
        ("id", pa.int64()), ("name", pa.string()), ("tonnes", pa.float64()), ("ok", pa.bool_()),
        ("rock", nested), ("parts", pa.list_(pa.struct([("n", pa.int32())]))),
        ("sizes", pa.map_(pa.string(), pa.int64())), ("at", pa.timestamp("us")),
    ])  # fmt: skip
    out = io.BytesIO()
    pq.write_table(
        pa.Table.from_pylist(rows, schema), out, row_group_size=100, write_page_checksum=True
    )
    return out.getvalue()


def jsonl() -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)


def xlsx() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(list(ROWS[0]))
    for row in ROWS:
        sheet.append(list(row.values()))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def csv_text() -> bytes:
    lines = [",".join(ROWS[0])]
    lines += [",".join("" if v is None else str(v) for v in row.values()) for row in ROWS]
    return "\n".join(lines).encode() + b"\n"


def zstandard(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


def texts() -> list[dict[str, Any]]:
    return [row for _, row in by_csv(csv_text(), ",").rows]


def counted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    epoch = dt.datetime(1970, 1, 1)
    return [
        {k: (v - epoch) // dt.timedelta(microseconds=1) if isinstance(v, dt.datetime) else v
         for k, v in row.items()} for row in rows
    ]  # fmt: skip


MADE: dict[str, tuple[str, Any, Any]] = {
    "parquet": ("{name: parquet}", parquet,
                lambda: counted(pq.read_table(io.BytesIO(parquet())).to_pylist())),
    "xlsx": ("{name: xlsx}", xlsx, lambda: ROWS),
    "gzip": ("{name: csv}", lambda: gzip.compress(csv_text(), mtime=0), texts),
    "zstd": ("{name: csv}", lambda: zstandard(csv_text()), texts),
    "bz2": ("{name: csv}", lambda: bz2.compress(csv_text()), texts),
}  # fmt: skip
REASONS = {
    "truncated", "empty_object", "bad_magic", "corrupt", "schema_drift", "bad_encoding",
    "bad_gzip", "bad_zstd", "bad_bzip2", "row_count_mismatch", "unclosed_quote", "encrypted",
    "decompression_bomb", "too_large", "duplicate_header", "bad_header", "no_sheet",
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
def test_files_with_checksums_are_exact_or_set_aside(kind: str, yard: Dropping) -> None:
    form, make, expected = MADE[kind]
    data = make()
    files = with_damage(kind, data)
    became = yard.take_in(yard.declare(f"made_{kind}", form, data), files)
    assert became["a-good"].rows == expected()
    assert not became["a-good"].aside
    for copy, found in became.items():
        if found.is_aside:
            assert_kept(found, files[copy], REASONS)
        else:
            assert (found.rows, found.aside) == (became["a-good"].rows, {}), copy
    assert sum(found.is_aside for found in became.values()) > 30


def test_lines_of_json_are_exact_or_set_aside_line_by_line(yard: Dropping) -> None:
    data = jsonl()
    files = with_damage("jsonl", data)
    became = yard.take_in(yard.declare("made_jsonl", "{name: jsonl}", data), files)
    assert became["a-good"].rows == became["z-good"].rows == ROWS
    for copy, found in became.items():
        lines = [line for line in files[copy].split(b"\n") if line.strip()]
        if found.is_aside:
            assert_kept(found, files[copy], {"schema_drift", "empty_object", "not_json_lines"})
            continue
        assert found.rows_read == len(lines) == len(found.rows) + len(found.aside)
        kept = [json.loads(line) for i, line in enumerate(lines, 1) if i not in found.aside]
        assert found.rows == [{name: row.get(name) for name in ROWS[0]} for row in kept]
