"""CSV read back: what was written comes out, exactly, whatever is in it and wherever it is cut."""

import csv
import io
import tempfile
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from malacate.batch import Chunk
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.errors import ConfigError, UnreadableFile
from malacate.formats import FileFormat, csv_text, observed, read
from malacate.names import TableName

SAP = Path(__file__).parents[1] / "data" / "sap-sales"
SAP_FORMAT = FileFormat("csv", delimiter=";", decimal=",")


def table(**types: str) -> Table:
    columns = tuple(Column(name, arrow_type(kind)) for name, kind in types.items())
    return Table(TableName("raw_shop", "sale"), columns)


def chunks_of(data: bytes, promised: Table, form: FileFormat) -> list[Chunk]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        path.write_bytes(data)
        return list(read(path, promised, form).chunks)


def rows_in(chunks: list[Chunk]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for chunk in chunks for row in chunk.rows.to_pylist()]


def test_each_type_reads_exactly(tmp_path: Path) -> None:
    kinds = {
        "bigint": ("-9223372036854775808", -(2**63)),
        "integer": ("+7", 7),
        "double": ("1e-3", 0.001),
        "decimal(38,10)": ("1234567890123456789012345678.0123456789",
                           Decimal("1234567890123456789012345678.0123456789")),
        "boolean": ("YES", True),
        "date": ("2024-02-29", date(2024, 2, 29)),
        "time": ("23:59:59.999999", time(23, 59, 59, 999999)),
        "timestamp": ("2024-02-29T01:02:03.000004", datetime(2024, 2, 29, 1, 2, 3, 4)),
        "timestamptz": ("2024-02-29 01:02:03-04:00", datetime(2024, 2, 29, 5, 2, 3, tzinfo=UTC)),
        "blob": ("é", "é".encode()),
        "json": ('"{""a"": 1}"', '{"a": 1}'),
    }  # fmt: skip
    names = [f"c{i}" for i in range(len(kinds))]
    lines = [",".join(names), ",".join(text for text, _ in kinds.values()), "," * (len(kinds) - 1)]
    promised = table(**dict(zip(names, kinds, strict=True)))
    rows = rows_in(chunks_of("\n".join(lines).encode() + b"\n", promised, FileFormat("csv")))
    assert rows == [tuple(value for _, value in kinds.values()), (None,) * len(kinds)]


@pytest.mark.parametrize("text", ["true", "T", "1", "Yes"])
def test_booleans_are_read_in_any_case(text: str) -> None:
    chunks = chunks_of(f"b\n{text}\n".encode(), table(b="boolean"), FileFormat("csv"))
    assert rows_in(chunks) == [(True,)]


def test_the_header_is_observed_without_types(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbf"a ""x""",b\r\n1,2\r\n')
    assert observed(path, FileFormat("csv")) == {'a "x"': None, "b": None}


def test_a_nested_type_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        chunks_of(b"a\n1\n", table(a="integer[]"), FileFormat("csv"))


def test_a_format_in_other_signs_than_strptimes_is_a_config_error() -> None:
    column = Column("day", arrow_type("date"), format="dd/MM/yyyy")
    with pytest.raises(ConfigError):
        chunks_of(b"day\n", Table(TableName("raw_shop", "sale"), (column,)), FileFormat("csv"))


def test_positions_are_the_lines_on_which_records_begin() -> None:
    data = b'v,n\na,1\n"b\n\nb",2\n\nc,x\nd,4\n'
    [chunk] = chunks_of(data, table(v="varchar", n="integer"), FileFormat("csv"))
    assert chunk.positions is not None
    assert list(chunk.positions) == [2, 3, 8]
    assert [reject.position for reject in chunk.rejects] == [7]


def test_a_long_file_streams_in_chunks_and_only_as_far_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_bytes(b"n\n" + b"".join(b"%d\n" % n for n in range(300_000)) + b'"')
    reading = read(path, table(n="bigint"), FileFormat("csv"))
    first = list(islice(reading.chunks, 2))
    assert [chunk.rows.num_rows for chunk in first] == [65_536, 65_536]
    with pytest.raises(UnreadableFile):
        list(reading.chunks)


CELL = st.text(
    st.one_of(
        st.sampled_from("\",;\r\n '\\é\u2028😀NA"),
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
    ),
    max_size=6,
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=6))


def written(rows: list[list[str]], end: str, quoting: Literal[0, 1]) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end, quoting=quoting)
    writer.writerow([f"c{i}" for i in range(len(rows[0]))])
    writer.writerows(rows)
    return out.getvalue().encode()


def texts_table(width: int) -> Table:
    return table(**{f"c{i}": "varchar" for i in range(width)})


Variant = tuple[str, Literal[0, 1]]
VARIANTS: list[Variant] = [
    ("\n", csv.QUOTE_ALL),
    ("\r\n", csv.QUOTE_ALL),
    ("\r\n", csv.QUOTE_MINIMAL),
]


@settings(max_examples=200)
@given(tables(), st.sampled_from(VARIANTS), st.sampled_from([3, 64, 1 << 20]))
@example([['"', ""], ["\r\n", '",']], VARIANTS[0], 3)
def test_whatever_a_writer_wrote_reads_back_exactly(
    rows: list[list[str]], variant: Variant, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_text, "BLOCK", block)
        chunks = chunks_of(
            written(rows, *variant),
            texts_table(len(rows[0])),
            FileFormat("csv", null_text=()),
        )
    assert rows_in(chunks) == [tuple(row) for row in rows]
    assert not any(chunk.rejects for chunk in chunks)


@settings(max_examples=150)
@given(tables())
def test_lines_ended_by_newline_alone_read_back_when_nothing_holds_a_return(
    rows: list[list[str]],
) -> None:
    rows = [[cell.replace("\r", "") for cell in row] for row in rows]
    form = FileFormat("csv", null_text=())
    chunks = chunks_of(written(rows, "\n", csv.QUOTE_MINIMAL), texts_table(len(rows[0])), form)
    assert rows_in(chunks) == [tuple(row) for row in rows]


@settings(max_examples=200)
@given(tables(), st.sampled_from(VARIANTS), st.data())
def test_a_cut_anywhere_loses_no_complete_earlier_row_in_silence(
    rows: list[list[str]], variant: Variant, data: st.DataObject
) -> None:
    promised = texts_table(len(rows[0]))
    ends = [len(written(rows[:n], *variant)) for n in range(1, len(rows) + 1)]
    whole = written(rows, *variant)
    first = whole.index(b"\n") + 1
    cut = data.draw(st.integers(first, len(whole)))
    complete = [tuple(row) for row, end in zip(rows, ends, strict=True) if end <= cut]
    try:
        chunks = chunks_of(whole[:cut], promised, FileFormat("csv", null_text=()))
    except UnreadableFile:
        return
    assert rows_in(chunks)[: len(complete)] == complete
    assert len(rows_in(chunks)) + sum(len(c.rejects) for c in chunks) <= len(complete) + 1


SAP_TYPES = {
    "SalesOrders": {"GROSSAMOUNT": "decimal(15,2)", "NETAMOUNT": "decimal(15,2)",
                    "TAXAMOUNT": "decimal(15,2)", "CREATEDAT": "date", "CHANGEDAT": "date"},
    "SalesOrderItems": {"GROSSAMOUNT": "decimal(15,2)", "NETAMOUNT": "decimal(15,2)",
                        "TAXAMOUNT": "decimal(15,2)", "QUANTITY": "bigint",
                        "DELIVERYDATE": "date"},
    "BusinessPartners": {"PARTNERROLE": "integer", "CREATEDAT": "date", "CHANGEDAT": "date"},
}  # fmt: skip


def sap_table(name: str) -> Table:
    types = SAP_TYPES[name]
    header = observed(SAP / f"{name}.csv", SAP_FORMAT)
    columns = (
        Column(n.lower(), arrow_type(types.get(n, "varchar")), physical_name=n, format="%Y%m%d")
        for n in header
    )
    return Table(TableName("raw_sap", name.lower()), tuple(columns))


def sap_value(text: str, kind: str) -> Any:
    if not text:
        return None
    if kind == "date":
        return datetime.strptime(text.replace("-", ""), "%Y%m%d").date()
    if kind == "varchar":
        return text
    return Decimal(text.replace(",", ".")) if kind.startswith("decimal") else int(text)


@pytest.mark.parametrize(
    ("name", "count"), [("SalesOrders", 199), ("SalesOrderItems", 199), ("BusinessPartners", 40)]
)
def test_a_real_export_reads_as_pythons_own_reader_does(name: str, count: int) -> None:
    path = SAP / f"{name}.csv"
    with path.open(encoding="utf-8-sig", newline="") as file:
        expected = [
            tuple(sap_value(v, SAP_TYPES[name].get(k, "varchar")) for k, v in row.items())
            for row in csv.DictReader(file, delimiter=";")
        ]
    chunks = list(read(path, sap_table(name), SAP_FORMAT).chunks)
    assert rows_in(chunks) == expected
    assert len(expected) == count
    assert not any(chunk.rejects for chunk in chunks)


def test_a_real_order_has_its_exact_amounts() -> None:
    first = next(read(SAP / "SalesOrders.csv", sap_table("SalesOrders"), SAP_FORMAT).chunks)
    row = first.rows.slice(0, 1).to_pylist()[0]
    assert row["netamount"] == Decimal("3142.13")
    assert row["createdat"] == date(2015, 1, 1)
    assert row["salesorderid"] == "200000000"
    assert row["noteid"] is None
