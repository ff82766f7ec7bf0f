"""Bad CSV, row by row of the catalogue: what loads, what is set aside, what is refused."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from malacate.batch import Reject
from malacate.contracts.drift import Evolution
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.errors import MalacateError, SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, read
from malacate.names import TableName

Read = tuple[list[tuple[Any, ...]], list[tuple[int, str, bytes]]]


def table(**types: str) -> Table:
    columns = tuple(Column(name, arrow_type(kind)) for name, kind in types.items())
    return Table(TableName("raw_shop", "sale"), columns)


SALE = table(code="varchar", tonnes="decimal(8,2)")


def rows_of(path: Path, promised: Table, form: FileFormat) -> tuple[list[Any], list[Reject], Any]:
    reading = read(path, promised, form)
    rows: list[Any] = []
    rejects: list[Reject] = []
    for chunk in reading.chunks:
        assert chunk.rows.schema == promised.schema
        assert chunk.rows.num_rows <= 1 << 16
        assert chunk.positions is not None
        assert len(chunk.positions) == chunk.rows.num_rows
        rows += [tuple(row.values()) for row in chunk.rows.to_pylist()]
        rejects += chunk.rejects
    return rows, rejects, reading.evolutions


def load(tmp_path: Path, data: bytes, promised: Table = SALE, **options: Any) -> Read:
    path = tmp_path / "sale.csv"
    path.write_bytes(data)
    rows, rejects, _ = rows_of(path, promised, FileFormat("csv", **options))
    plain = [tuple(str(v) if v is not None else None for v in row) for row in rows]
    return plain, [(r.position, r.reason, r.raw) for r in rejects]


def case(row: str, name: str, *values: Any) -> Any:
    return pytest.param(*values, id=f"{row}-{name}")


QUARANTINED = [
    case("01", "too many fields", b"code,tonnes\na,1\nb,2,3\nc,4\n",
         [("a", "1.00"), ("c", "4.00")], [(3, "too_many_fields", b"b,2,3")]),
    case("01", "too many fields behind quotes", b'code,tonnes\n"a",1\n"b,x",2,3\r\n"c",4\n',
         [("a", "1.00"), ("c", "4.00")], [(3, "too_many_fields", b'"b,x",2,3')]),
    case("02", "too few fields", b"code,tonnes\na,1\nb\nc,4\n",
         [("a", "1.00"), ("c", "4.00")], [(3, "too_few_fields", b"b")]),
    case("02", "too few fields after a record of three lines",
         b'code,tonnes\n"a\n\nx",1\nb\nc,4\n',
         [("a\n\nx", "1.00"), ("c", "4.00")], [(5, "too_few_fields", b"b")]),
    case("03", "text after a closing quote", b'code,tonnes\n"a"x,1\nb,2\n',
         [("b", "2.00")], [(2, "bad_quoting", b'"a"x,1')]),
    case("07", "NUL byte", b"code,tonnes\na\0b,1\nc,2\n",
         [("c", "2.00")], [(2, "nul_byte", b"a\0b,1")]),
    case("07", "NUL byte in quotes", b'code,tonnes\n"a\n\0b",1\nc,2\n',
         [("c", "2.00")], [(2, "nul_byte", b'"a\n\0b",1')]),
    case("12", "decimal too large", b"code,tonnes\na,1000000\nb,999999.99\n",
         [("b", "999999.99")], [(2, "does_not_fit", b"a,1000000")]),
    case("12", "decimal with too many digits", b"code,tonnes\na,1.005\nb,1.500\nc,1e-9\n",
         [("b", "1.50")], [(2, "does_not_fit", b"a,1.005"), (4, "does_not_fit", b"c,1e-9")]),
    case("12", "no number", b"code,tonnes\na,x\nb, 1\nc,1\n",
         [("c", "1.00")], [(2, "does_not_fit", b"a,x"), (3, "does_not_fit", b"b, 1")]),
    case("12", "quoted empty text is no number", b'code,tonnes\na,""\nb,\n',
         [("b", None)], [(2, "does_not_fit", b'a,""')]),
    case("04", "a bad cell between bad records", b"code,tonnes\na\nb,x\nc,1,2\nd,1\n",
         [("d", "1.00")], [(2, "too_few_fields", b"a"), (3, "does_not_fit", b"b,x"),
                           (4, "too_many_fields", b"c,1,2")]),
]  # fmt: skip


@pytest.mark.parametrize(("data", "rows", "rejects"), QUARANTINED)
def test_a_bad_record_is_set_aside_with_its_line_reason_and_bytes(
    tmp_path: Path, data: bytes, rows: list[Any], rejects: list[Any]
) -> None:
    assert load(tmp_path, data) == (rows, rejects)


ONE_VALUE = [
    case("12", "integer beyond 64 bits", "bigint", "9223372036854775808", "does_not_fit"),
    case("12", "integer beyond 32 bits", "integer", "2147483648", "does_not_fit"),
    case("12", "integer with a point", "bigint", "1.0", "does_not_fit"),
    case("12", "hexadecimal integer", "bigint", "0x1F", "does_not_fit"),
    case("12", "hexadecimal double", "double", "0x1F", "does_not_fit"),
    case("12", "double beyond range", "double", "1e400", "does_not_fit"),
    case("12", "real beyond range", "real", "1e39", "does_not_fit"),
    case("12", "no boolean", "boolean", "maybe", "does_not_fit"),
    case("18", "day or month first", "date", "03/04/2026", "ambiguous_date"),
    case("18", "date without separators", "date", "20150101", "ambiguous_date"),
    case("18", "no date at all", "date", "soon", "does_not_fit"),
    case("18", "30 February", "date", "2026-02-30", "does_not_fit"),
    case("18", "year zero", "date", "0000-01-01", "does_not_fit"),
    case("18", "timestamp of an unknown form", "timestamp", "03/04/2026 10:00", "ambiguous_date"),
    case("18", "nanoseconds", "timestamp", "2026-01-02 03:04:05.1234567", "does_not_fit"),
    case("18", "local time with an offset", "timestamp", "2026-01-02 03:04Z", "does_not_fit"),
    case("18", "instant without zone", "timestamptz", "2026-01-02 03:04:05", "no_time_zone"),
    case("18", "date without time or zone", "timestamptz", "2026-01-02", "no_time_zone"),
    case("18", "hour 25", "time", "25:00", "does_not_fit"),
]


@pytest.mark.parametrize(("kind", "text", "reason"), ONE_VALUE)
def test_a_value_that_does_not_fit_its_type_sets_its_row_aside(
    tmp_path: Path, kind: str, text: str, reason: str
) -> None:
    data = f"k,v\n1,\n2,{text}\n3,\n".encode()
    rows, rejects = load(tmp_path, data, table(k="integer", v=kind))
    assert rows == [("1", None), ("3", None)]
    assert rejects == [(3, reason, f"2,{text}".encode())]


REFUSED = [
    case("03", "unclosed quote", b'code,tonnes\na,1\n"b,2\nc,3\n', "unclosed_quote", "line 3"),
    case("03", "unclosed quote at the very end", b'code,tonnes\na,"', "unclosed_quote", "line 2"),
    case("03", "unclosed quote in the header", b'code,"tonnes\na,1\n', "unclosed_quote", "line 1"),
    case("06", "Latin-1 as UTF-8", b"code,tonnes\nCopiap\xf3,1\n", "bad_encoding", "byte 18"),
    case("06", "a cut letter", "code,tonnes\na,1\nó".encode()[:-1], "bad_encoding", "byte 16"),
    case("14", "zero bytes", b"", "empty_object", ""),
    case("14", "only a byte order mark", b"\xef\xbb\xbf", "empty_object", ""),
    case("14", "gzip of zero bytes", gzip.compress(b""), "empty_object", ""),
    case("20", "cut gzip", gzip.compress(b"code,tonnes\na,1\n")[:-9], "truncated", ""),
    case("20", "gzip and something else", gzip.compress(b"code,tonnes\na,1\n") + b"x",
         "truncated", ""),
    case("20", "gzip with a flipped byte", gzip.compress(b"code,tonnes\na,1\n")[:-6] + b"123456",
         "bad_gzip", ""),
    case("20", "decompression bomb", gzip.compress(b"code,tonnes\n" + bytes(16 << 20)),
         "decompression_bomb", ""),
]  # fmt: skip


@pytest.mark.parametrize(("data", "reason", "position"), REFUSED)
def test_a_file_that_cannot_be_trusted_is_refused_whole(
    tmp_path: Path, data: bytes, reason: str, position: str
) -> None:
    with pytest.raises(UnreadableFile) as caught:
        load(tmp_path, data)
    assert (caught.value.reason, caught.value.position) == (reason, position)
    assert caught.value.object == "sale.csv"


DRIFT = [
    case("08", "duplicate header", b"code,tonnes,code\na,1,b\n", "duplicate_header", "'code'"),
    case("15", "missing column", b"code\na\n", "schema_drift", "missing 'tonnes'"),
    case("15", "renamed column", b"code,tons\na,1\n", "schema_drift", "extra 'tons' (if"),
    case("15", "new column", b"code,tonnes,x\na,1,2\n", "schema_drift", "extra 'x'"),
    case("11", "another delimiter", b"code;tonnes\na;1\n", "schema_drift", "missing 'code'"),
]


@pytest.mark.parametrize(("data", "reason", "actual"), DRIFT)
def test_a_header_that_is_not_the_contract_is_an_error_before_any_row(
    tmp_path: Path, data: bytes, reason: str, actual: str
) -> None:
    path = tmp_path / "sale.csv"
    path.write_bytes(data)
    with pytest.raises(SchemaDrift) as caught:
        read(path, SALE, FileFormat("csv"))
    assert caught.value.reason == reason
    assert actual in caught.value.actual


NORMALISED = [
    case("05", "byte order mark", b"\xef\xbb\xbfcode,tonnes\na,1\n", [("a", "1.00")], {}),
    case("09", "leading zeros", b"code,tonnes\n00123,01\n", [("00123", "1.00")], {}),
    case("10", "NA and null are text", b"code,tonnes\nNA,1\nnull,2\nNULL,3\n",
         [("NA", "1.00"), ("null", "2.00"), ("NULL", "3.00")], {}),
    case("10", "declared null text", b'code,tonnes\nNA,NA\n"NA",1\n,2\n',
         [(None, None), ("NA", "1.00"), ("", "2.00")], {"null_text": ["NA"]}),
    case("10", "quoted empty text is not null", b'code,tonnes\n"",1\n,2\n',
         [("", "1.00"), (None, "2.00")], {}),
    case("11", "decimal comma", b"code;tonnes\na;5,2\nb;-1\n",
         [("a", "5.20"), ("b", "-1.00")], {"delimiter": ";", "decimal": ","}),
    case("13", "mixed line ends", b'code,tonnes\r\na,1\nb,2\r\n"c\r\nd",3\n"e\nf",4\r\n',
         [("a", "1.00"), ("b", "2.00"), ("c\r\nd", "3.00"), ("e\nf", "4.00")], {}),
    case("13", "blank lines hold no record", b"code,tonnes\n\na,1\n\r\n\n", [("a", "1.00")], {}),
    case("14", "header only", b"code,tonnes\n", [], {}),
    case("14", "header only and unended", b"code,tonnes", [], {}),
    case("16", "columns reordered", b"tonnes,code\n1,a\n", [("a", "1.00")], {}),
    case("19", "formula cell", b"code,tonnes\n=cmd(),1\n@x,2\n",
         [("=cmd()", "1.00"), ("@x", "2.00")], {}),
    case("20", "gzip in two members", gzip.compress(b"code,ton") + gzip.compress(b"nes\na,1\n"),
         [("a", "1.00")], {}),
    case("06", "declared Latin-1", b"code,tonnes\nCopiap\xf3,1\n", [("Copiapó", "1.00")],
         {"encoding": "latin-1"}),
    case("06", "declared UTF-16", "code,tonnes\nCopiapó,1\n".encode("utf-16"),
         [("Copiapó", "1.00")], {"encoding": "utf-16"}),
    case("03", "a quote within a text", b'code,tonnes\n5" pipe,1\na"b"",2\n',
         [('5" pipe', "1.00"), ('a"b""', "2.00")], {}),
]  # fmt: skip


@pytest.mark.parametrize(("data", "rows", "options"), NORMALISED)
def test_an_odd_but_clear_file_loads_exactly(
    tmp_path: Path, data: bytes, rows: list[Any], options: dict[str, Any]
) -> None:
    assert load(tmp_path, data, **options) == (rows, [])


def test_04_a_last_row_without_newline_loads_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "sale.csv"
    path.write_bytes(b"code,tonnes\na,1\nb,300.4")
    rows, rejects, evolutions = rows_of(path, SALE, FileFormat("csv"))
    assert [row[0] for row in rows] == ["a", "b"]
    assert not rejects
    detail = "no final newline: the last row may have been cut within its last value"
    assert evolutions == [Evolution("ignored", "", detail)]


def test_06_bad_encoding_deep_in_the_file_names_its_byte(tmp_path: Path) -> None:
    good = b"code,tonnes\n" + "ó,1\n".encode() * 700_000
    with pytest.raises(UnreadableFile) as caught:
        load(tmp_path, good + b"\xff,1\n")
    assert caught.value.position == f"byte {len(good)}"


def test_11_a_point_in_a_number_with_decimal_comma_is_not_guessed(tmp_path: Path) -> None:
    data = b"code;tonnes\na;1.234,5\nb;1.5\nc;1,5\n"
    rows, rejects = load(tmp_path, data, delimiter=";", decimal=",")
    assert rows == [("c", "1.50")]
    assert [(line, reason) for line, reason, _ in rejects] == [
        (2, "does_not_fit"),
        (3, "does_not_fit"),
    ]


@pytest.mark.parametrize("cell", ["{}", '"{}"'])
def test_17_a_field_over_the_cap_is_set_aside_and_one_at_the_cap_loads(
    tmp_path: Path, cell: str
) -> None:
    full, over = (cell.format("x" * n) for n in (1000, 1001))
    wide = cell.format("é" * 501)
    data = f"code,tonnes\n{full},1\n{over},2\n{wide},3\nd,4\n".encode()
    rows, rejects = load(tmp_path, data, max_field_bytes=1000)
    assert rows == [("x" * 1000, "1.00"), ("d", "4.00")]
    assert rejects == [
        (3, "too_large", f"{over},2".encode()),
        (4, "too_large", f"{wide},3".encode()),
    ]


@pytest.mark.parametrize("cell", ["{}", '"{}"'])
@pytest.mark.parametrize("text", ["x" * 999 + ",", "\n,x" * 333, '""' * 500])
def test_17_of_a_field_larger_than_memory_should_hold_only_the_head_is_kept(
    tmp_path: Path, cell: str, text: str
) -> None:
    if cell == "{}":
        text = "x" * 1000
    huge = cell.format(text * 9000)
    data = f"code,tonnes\na,1\n{huge},2\nb,3\n".encode()
    rows, rejects = load(tmp_path, data, max_field_bytes=1 << 20)
    assert rows == [("a", "1.00"), ("b", "3.00")]
    [(line, reason, raw)] = rejects
    assert (line, reason) == (3, "too_large")
    assert huge.encode().startswith(raw)
    assert 2 << 20 <= len(raw) <= 5 << 20


def test_18_a_declared_format_makes_a_date_clear(tmp_path: Path) -> None:
    column = Column("day", arrow_type("date"), format="%d/%m/%Y")
    promised = Table(TableName("raw_shop", "sale"), (column,))
    data = b"day\n03/04/2026\n2026-04-05\n31/02/2026\n\n"
    rows, rejects = load(tmp_path, data, promised)
    assert rows == [("2026-04-03",), ("2026-04-05",), (None,)]
    assert rejects == [(4, "does_not_fit", b"31/02/2026")]


def test_18_an_instant_with_a_format_needs_its_zone_too(tmp_path: Path) -> None:
    column = Column("at", arrow_type("timestamptz"), format="%d.%m.%Y %H:%M %z")
    promised = Table(TableName("raw_shop", "sale"), (column,))
    rows, rejects = load(tmp_path, b"at\n03.04.2026 10:00 -0400\n2026-04-03 10:00\n", promised)
    assert rows == [("2026-04-03 14:00:00+00:00",)]
    assert rejects == [(3, "no_time_zone", b"2026-04-03 10:00")]


@pytest.mark.parametrize("name", ["sale.csv", "sale.csv.gz", "sale"])
@pytest.mark.parametrize("packed", [True, False])
def test_20_gzip_is_known_by_its_bytes_whatever_the_name(
    tmp_path: Path, name: str, packed: bool
) -> None:
    data = b"code,tonnes\na,1\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if packed else data)
    rows, rejects, _ = rows_of(path, SALE, FileFormat("csv"))
    assert [row[0] for row in rows] == ["a"]
    assert not rejects


def test_rejects_keep_the_bytes_of_their_encoding(tmp_path: Path) -> None:
    data = "code,tonnes\né,x\n".encode("utf-16")
    _, rejects = load(tmp_path, data, encoding="utf-16")
    assert rejects[0][2].decode("utf-16-le") == "é,x"


@pytest.mark.parametrize(
    "options",
    [
        {"delimiter": ";;"},
        {"quote": ""},
        {"delimiter": '"'},
        {"encoding": "klingon"},
        {"decimal": ""},
    ],
)
def test_a_format_that_cannot_be_is_a_config_error(options: dict[str, Any]) -> None:
    with pytest.raises(MalacateError):
        FileFormat("csv", **options)
