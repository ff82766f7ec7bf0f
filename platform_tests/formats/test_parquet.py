"""Parquet as a contract wants it: by name, exact, and whole or refused."""

import datetime as dt
import io
from dataclasses import replace
from decimal import Decimal
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


@settings(max_examples=100)
@given(cut=st.integers(0, len(DATA) - 1))
def test_32_a_cut_file_is_refused(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert reason(write(tmp_path_factory.getbasetemp() / "cut", DATA[:cut]))


NESTED = pa.struct(
    [("a", pa.list_(pa.decimal128(20, 4))), ("m", pa.map_(pa.string(), pa.timestamp("us", "UTC")))]
)


def test_nested_types_come_back(path: Path) -> None:
    at = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    rows = [
        {"v": {"a": [Decimal("1.5000"), None], "m": [("x", at)]}},
        {"v": {"a": [], "m": None}},
        {"v": None},
    ]
    contract = table(v=NESTED)
    data = encoded(pa.Table.from_pylist(rows, contract.schema))
    assert drained(parquet.read(write(path, data), contract)) == (rows, [])


def test_30_a_decimal_of_76_digits_is_exact(path: Path) -> None:
    kind = pa.decimal256(76, 10)
    values = [Decimal("9" * 66 + "." + "9" * 10), Decimal("-0.0000000001"), None]
    data = encoded(pa.table({"v": pa.array(values, kind)}))
    rows, rejects = drained(parquet.read(write(path, data), table(v=kind)))
    assert ([row["v"] for row in rows], rejects) == (values, [])


def test_row_groups_without_rows_add_none(path: Path) -> None:
    out = io.BytesIO()
    full = pa.table({"id": [1, 2]})
    with pq.ParquetWriter(out, full.schema) as writer:
        for part in (full[:0], full, full[:0], full, full[:0]):
            writer.write_table(part, row_group_size=10)
    path.write_bytes(out.getvalue())
    assert pq.ParquetFile(path).num_row_groups > 2
    rows, _ = drained(parquet.read(path, table(id=pa.int64())))
    assert [row["id"] for row in rows] == [1, 2, 1, 2]


def test_33_the_far_years_of_int96_are_not_wrapped(path: Path) -> None:
    values = [dt.datetime(9999, 12, 31), None, dt.datetime(2020, 1, 1, 0, 0, 0, 5),
              dt.datetime(1, 1, 1)]  # fmt: skip
    columns = pa.table({"at": pa.array(values, pa.timestamp("us"))})
    data = encoded(columns, use_deprecated_int96_timestamps=True)
    assert observed(write(path, data), FileFormat("parquet")) == {"at": pa.timestamp("us")}
    rows, _ = drained(parquet.read(path, table(at=pa.timestamp("us"))))
    assert [row["at"] for row in rows] == values


def test_33_nanoseconds_in_int96_are_not_cut_in_silence(path: Path) -> None:
    columns = pa.table({"at": pa.array([5_000, 5_001], pa.timestamp("ns"))})
    data = encoded(columns, use_deprecated_int96_timestamps=True)
    assert reason(write(path, data), table(at=pa.timestamp("us"))) == "does_not_fit"


def test_an_encrypted_file_is_named_as_such(path: Path) -> None:
    assert reason(write(path, b"PARE" + bytes(40) + b"PARE")) == "encrypted"


def test_23_a_page_with_a_checksum_is_held_to_it(path: Path) -> None:
    data = bytearray(encoded(pa.table({"id": list(range(1000))}), compression="none",
                             use_dictionary=False, write_page_checksum=True))  # fmt: skip
    data[2000] ^= 1
    assert reason(write(path, bytes(data)), table(id=pa.int64())) == "corrupt"
