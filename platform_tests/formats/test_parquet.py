"""Parquet as a contract wants it: by name, exact, and whole or refused."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.formats.avro_files import drained, table, write

from malacate.contracts.table import Table
from malacate.errors import SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, observed, parquet, read

CONTRACT = table(id=pa.int64(), truck=pa.string())
ROWS = [{"id": i, "truck": None if i % 5 == 0 else f"truck {i}"} for i in range(300)]


def encoded(columns: pa.Table, **options: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(columns, out, **options)
    return out.getvalue()


DATA = encoded(pa.Table.from_pylist(ROWS, CONTRACT.schema), row_group_size=100)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "3f2a"


def reason(path: Path, contract: Table = CONTRACT) -> str:
    try:
        drained(parquet.read(path, contract))
    except (UnreadableFile, SchemaDrift) as error:
        return error.reason
    return ""


def test_what_was_written_comes_back(path: Path) -> None:
    reading = read(write(path, DATA), CONTRACT, FileFormat("parquet"))
    assert reading.source_rows == len(ROWS)
    assert drained(reading) == (ROWS, [])


def test_the_types_of_a_file_are_told(path: Path) -> None:
    assert observed(write(path, DATA), FileFormat("parquet")) == {
        "id": pa.int64(),
        "truck": pa.string(),
    }


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (b"", "empty_object"),
        (b"id,truck\n1,a\n", "bad_magic"),
        (DATA[:-1], "truncated"),
        (DATA[: len(DATA) // 2], "truncated"),
        (DATA[:6], "truncated"),
        (DATA + b"\n", "truncated"),
        (DATA[:-40] + b"\xff" * 30 + DATA[-10:], "corrupt"),
        (DATA[:-8] + b"\xff\xff\xff\x7f" + DATA[-4:], "corrupt"),
    ],
    ids=["25 zero bytes", "24 another format", "32 last byte", "32 half", "32 head only",
         "32 byte appended", "32 footer overwritten", "32 footer too long"],
)  # fmt: skip
def test_a_damaged_file_is_refused_before_any_row(data: bytes, wanted: str, path: Path) -> None:
    with pytest.raises(UnreadableFile) as found:
        parquet.read(write(path, data), CONTRACT)
    assert found.value.reason == wanted


def test_23_a_damaged_page_is_refused(path: Path) -> None:
    data = bytearray(DATA)
    data[4:200] = b"\xff" * 196
    assert reason(write(path, bytes(data))) == "corrupt"


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": [1]}, "missing 'truck'"),
        ({"id": [1], "truck": ["a"], "load": [1]}, "extra 'load'"),
        ({"id": ["1"], "truck": ["a"]}, "retyped 'id'"),
    ],
    ids=["28 missing", "28 extra", "34 text for a number"],
)
def test_28_a_schema_that_breaks_the_contract_is_drift(
    columns: dict[str, list[Any]], told: str, path: Path
) -> None:
    with pytest.raises(SchemaDrift, match=told):
        parquet.read(write(path, encoded(pa.table(columns))), CONTRACT)


def test_28_two_columns_of_one_name_are_refused(path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["id", "id"])
    assert reason(write(path, encoded(twice)), table(id=pa.int64())) == "duplicate_column"


def test_27_columns_come_by_name_and_narrower_numbers_are_widened(path: Path) -> None:
    columns = pa.table({"truck": pa.array(["a"]).dictionary_encode(), "id": pa.array([1], "int16")})
    reading = parquet.read(write(path, encoded(columns)), CONTRACT)
    assert [(e.kind, e.column) for e in reading.evolutions] == [("widened", "id")]
    assert drained(reading) == ([{"id": 1, "truck": "a"}], [])


def test_27_a_file_with_only_columns_to_come_has_its_rows(path: Path) -> None:
    first = replace(CONTRACT.columns[0], since="1.1.0")
    contract = replace(CONTRACT, columns=(first,), extra_columns="ignore")
    rows, _ = drained(parquet.read(write(path, encoded(pa.table({"x": [1, 2]}))), contract))
    assert rows == [{"id": None}, {"id": None}]


def test_29_a_name_that_no_warehouse_takes_comes_under_its_physical_name(path: Path) -> None:
    column = replace(CONTRACT.columns[0], physical_name="a-b")
    data = encoded(pa.table({"a-b": [7]}))
    assert drained(parquet.read(write(path, data), replace(CONTRACT, columns=(column,)))) == (
        [{"id": 7}],
        [],
    )


def test_33_nanoseconds_come_as_microseconds_or_reject_their_row(path: Path) -> None:
    columns = pa.table({"at": pa.array([5_000, 5_001, None], pa.timestamp("ns", "Europe/Berlin"))})
    contract = table(at=pa.timestamp("us", "UTC"))
    reading = parquet.read(write(path, encoded(columns)), contract)
    (chunk,) = reading.chunks
    assert chunk.rows.schema.types == contract.schema.types
    assert chunk.rows.column("at").cast("int64").to_pylist() == [5, None]
    assert [(r.position, r.reason) for r in chunk.rejects] == [(1, "does_not_fit")]
    assert chunk.positions == [0, 2]


def test_chunks_are_bounded(path: Path) -> None:
    data = encoded(pa.table({"id": list(range(150_000))}))
    chunks = list(parquet.read(write(path, data), table(id=pa.int64())).chunks)
    assert sum(chunk.rows.num_rows for chunk in chunks) == 150_000
    assert max(chunk.rows.num_rows for chunk in chunks) <= 65_536


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, len(DATA) - 1))
def test_32_a_cut_file_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert reason(write(tmp_path_factory.getbasetemp() / "cut", DATA[:cut]))
