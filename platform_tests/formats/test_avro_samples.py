"""Real files of four projects: the rows that fastavro sees, or the reason they are refused."""

import datetime as dt
import io
import json
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from platform_tests.formats.avro_files import as_observed, drained, reason, table

from malacate.formats import avro
from malacate.formats.avro_walk import walk

SAMPLES = Path(__file__).parents[1] / "data" / "avro"
REFUSED = {
    "avro/avro-1237-bad-union-discriminant.avro": "not_a_record",
    "avro/avro-1237-good.avro": "not_a_record",
    "duckdb-avro/root-int.avro": "not_a_record",
    "fastavro/class_org.apache.avro.tool.TestDataFileTools.seperators.avro": "not_a_record",
    "fastavro/class_org.apache.avro.tool.TestDataFileTools.testWrite.plain.avro": "not_a_record",
    "fastavro/deflate.avro": "not_a_record",
    "fastavro/org.apache.avro.tool.TestDataFileTools.avro": "not_a_record",
    "fastavro/snappy.avro": "not_a_record",
}
BEYOND_PYTHON = ("duckdb-avro/localtimestamp-millis.avro", "duckdb-avro/time_millis.avro")
UNION = "avro/withUnion-data.avro"
NO_COLUMNS = "fastavro/no-fields.avro"
NAMES = sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.rglob("*.avro"))
READABLE = [n for n in NAMES if n not in {*REFUSED, *BEYOND_PYTHON, NO_COLUMNS, UNION}]


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_whose_rows_are_no_records_is_refused(name: str) -> None:
    assert reason(SAMPLES / name, table(a=pa.int64())) == REFUSED[name]


@pytest.mark.parametrize("name", READABLE)
def test_a_real_file_has_the_rows_that_fastavro_sees(name: str) -> None:
    path = SAMPLES / name
    reading = avro.read(path, as_observed(path))
    rows, rejects = drained(reading)
    with path.open("rb") as file:
        expected = list(_fastavro(file, reading.source_rows))
    assert rejects == []
    assert len(expected) == reading.source_rows
    for row, wanted in zip(rows, expected, strict=True):
        assert row.keys() == wanted.keys()
        for field, value in row.items():
            assert _plain(value) == _plain(wanted[field]), field


def test_values_beyond_pythons_calendar_are_read() -> None:
    path = SAMPLES / "duckdb-avro/localtimestamp-millis.avro"
    contract = table(ts=pa.timestamp("ms"))
    values = [v for c in avro.read(path, contract).chunks for v in c.rows.column(0).cast("int64")]
    raw = _raw(path, "ts")
    assert [value.as_py() for value in values] == raw
    assert max(abs(v) for v in raw if v is not None) > 253_402_300_799_999


def test_a_time_of_day_beyond_midnight_rejects_its_row() -> None:
    path = SAMPLES / "duckdb-avro/time_millis.avro"
    _, rejects = drained(avro.read(path, table(ts=pa.time64("us"))))
    raw = _raw(path, "ts")
    bad = [i for i, v in enumerate(raw) if v is not None and not 0 <= v < 86_400_000]
    assert bad
    assert [(r.position, r.reason) for r in rejects] == [(i, "does_not_fit") for i in bad]


def test_a_record_without_fields_is_a_row() -> None:
    empty = table(late=pa.int64())
    contract = replace(empty, columns=(replace(empty.columns[0], since="1.1.0"),))
    rows, _ = drained(avro.read(SAMPLES / NO_COLUMNS, contract))
    assert rows == [{"late": None}]


def test_a_value_of_several_types_comes_as_json_text() -> None:
    rows, _ = drained(avro.read(SAMPLES / UNION, as_observed(SAMPLES / UNION)))
    assert rows == [
        {"data1": '"textValue"', "data2": None},
        {"data1": "123", "data2": {"d1": "false"}},
        {"data1": "3", "data2": {"d1": '"text value"'}},
    ]


def test_one_newline_after_the_last_block_is_told_and_tolerated() -> None:
    path = SAMPLES / "avro/person-10.no-codec.avro"
    reading = avro.read(path, as_observed(path))
    assert [(e.kind, e.detail) for e in reading.evolutions] == [
        ("ignored", "one newline byte follows the last block")
    ]
    assert len(drained(reading)[0]) == 10


def _fastavro(file: Any, rows: int | None) -> Any:
    """The reference; it stops with an error at the newline that one file ends in."""
    found = fastavro.reader(file)
    for _ in range(rows or 0):
        yield next(found)


def _raw(path: Path, field: str) -> list[Any]:
    blocks = walk(path)
    bare = json.loads(json.dumps(blocks.schema).replace('"logicalType"', '"note"'))
    offset, size, count = blocks.places[0]
    assert blocks.codec == "null"
    data = io.BytesIO(path.read_bytes()[offset : offset + size])
    return [fastavro.schemaless_reader(data, bare, None)[field] for _ in range(count)]


def _plain(value: Any) -> Any:
    """Values as text: maps as pairs, JSON text as what it says, NaN like itself."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        with suppress(ValueError):
            return _plain(json.loads(value))
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and all(_is_pair(item) for item in value):
        return {str(key): _plain(inner) for key, inner in value}
    if isinstance(value, list):
        return [_plain(inner) for inner in value] or {}
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dt.datetime | dt.date | Decimal):
        return str(value)
    return value if value == value else "nan"


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2
