"""XLSX: what a sheet shows, exactly; cells that cannot be set their row aside."""

import datetime as dt
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl.utils.datetime import CALENDAR_MAC_1904
from platform_tests.formats.readings import refusal, table, whole

from malacate.errors import ConfigError, SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, observed
from malacate.formats.caps import Caps
from malacate.formats.xlsx_book import letters

FORM = FileFormat("xlsx")
SALE = table(code="varchar", tonnes="decimal(8,2)")


def workbook(*sheets: Sequence[Sequence[Any]], mac: bool = False) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    if mac:
        book.epoch = CALENDAR_MAC_1904
    for number, rows in enumerate(sheets, 1):
        sheet = book.create_sheet(f"S{number}")
        for row in rows:
            sheet.append(list(row))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def with_cells(cells: str) -> bytes:
    """A workbook whose second row is that XML; its first has the names code and tonnes."""
    part = "xl/worksheets/sheet1.xml"
    end = "</sheetData>"

    def edit(text: str) -> str:
        head, _, rest = text.partition(end)
        return f'{head}<row r="2">{cells}</row>{end}{rest}'

    return edited(workbook([["code", "tonnes"]]), {part: edit})


def edited(data: bytes, edits: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for name in old.namelist():
            text = old.read(name)
            if name in edits:
                text = edits[name](text.decode()).encode()
            new.writestr(name, text)
        for name in edits.keys() - set(old.namelist()):
            new.writestr(name, edits[name](""))
    return out.getvalue()


def load(tmp_path: Path, data: bytes, promised: Any = SALE, **options: Any) -> Any:
    path = tmp_path / "sale.xlsx"
    path.write_bytes(data)
    rows, rejects, _ = whole(path, promised, FileFormat("xlsx", **options))
    return [tuple(r.values()) for r in rows], [(r.position, r.reason, r.raw) for r in rejects]


VALUES = [
    ("bigint", 7, 7),
    ("bigint", 7.0, 7),
    ("bigint", -(2**40), -(2**40)),
    ("decimal(8,2)", 1.1, Decimal("1.10")),
    ("decimal(8,2)", 0.07, Decimal("0.07")),
    ("double", 0.1, 0.1),
    ("double", 5e-324, 5e-324),
    ("varchar", "00123", "00123"),
    ("varchar", 123, "123"),
    ("varchar", "=cmd()x"[1:], "cmd()x"),
    ("varchar", " é\nx ", " é\nx "),
    ("boolean", True, True),
    ("date", dt.date(2024, 2, 29), dt.date(2024, 2, 29)),
    ("date", dt.date(1900, 1, 1), dt.date(1900, 1, 1)),
    ("date", dt.date(1900, 3, 1), dt.date(1900, 3, 1)),
    ("date", dt.date(9999, 12, 31), dt.date(9999, 12, 31)),
    ("date", "2024-02-29", dt.date(2024, 2, 29)),
    ("timestamp", dt.datetime(2024, 2, 29, 23, 59, 59, 999000),
     dt.datetime(2024, 2, 29, 23, 59, 59, 999000)),
    ("timestamp", dt.datetime(2024, 2, 29), dt.datetime(2024, 2, 29)),
    ("time", dt.time(0, 0, 1), dt.time(0, 0, 1)),
    ("varchar", dt.date(2024, 2, 29), "2024-02-29"),
    ("bigint", None, None),
]  # fmt: skip


IN_1904 = [v for v in VALUES if not isinstance(v[1], dt.date) or v[1].year >= 1904]


@pytest.mark.parametrize(
    ("kind", "value", "wanted", "mac"),
    [*((*v, False) for v in VALUES), *((*v, True) for v in IN_1904)],
)
def test_a_value_comes_as_the_sheet_has_it(
    tmp_path: Path, kind: str, value: Any, wanted: Any, mac: bool
) -> None:
    data = workbook([["k", "v"], [1, value]], mac=mac)
    assert load(tmp_path, data, table(k="bigint", v=kind)) == ([(1, wanted)], [])


def c(kind: str, body: str, column: str = "B") -> str:
    return f'<c r="{column}2"{kind}>{body}</c>'


AS_WRITTEN = [
    ("1.1000000000000001", "decimal(8,2)", Decimal("1.10")),
    ("1234567890123456789", "bigint", 1234567890123456789),
    ("12345678901234567890123", "decimal(38,0)", Decimal("12345678901234567890123")),
    ("1E3", "bigint", 1000),
    ("1.5E-2", "decimal(8,4)", Decimal("0.0150")),
    ("100.0", "varchar", "100"),
]


@pytest.mark.parametrize(("text", "kind", "wanted"), AS_WRITTEN)
def test_a_number_is_taken_from_the_text_of_the_file(
    tmp_path: Path, text: str, kind: str, wanted: Any
) -> None:
    promised = table(code="varchar", tonnes=kind)
    rows, rejects = load(tmp_path, with_cells(c("", f"<v>{text}</v>")), promised)
    assert (rows, rejects) == ([(None, wanted)], [])


BAD = [
    ("text in a number", "decimal(8,2)", "12.5 t", "does_not_fit"),
    ("number as text", "bigint", "12", "does_not_fit"),
    ("date in a number", "bigint", dt.date(2024, 1, 2), "does_not_fit"),
    ("number in a date", "date", 45000, "does_not_fit"),
    ("time in a date", "date", dt.datetime(2024, 1, 2, 3), "does_not_fit"),
    ("boolean in a number", "bigint", True, "does_not_fit"),
    ("12 too large", "decimal(4,2)", 100.5, "does_not_fit"),
    ("12 too many digits", "decimal(8,2)", 1.005, "does_not_fit"),
    ("fraction in an integer", "bigint", 1.5, "does_not_fit"),
    ("18 ambiguous text date", "date", "03/04/2026", "ambiguous_date"),
    ("18 instant without zone", "timestamptz", dt.datetime(2024, 1, 2, 3), "no_time_zone"),
    ("formula without a value", "bigint", "=1+1", "formula_without_value"),
    ("error", "bigint", "#N/A", "error_cell"),
    ("error in a text", "varchar", "#DIV/0!", "error_cell"),
]


@pytest.mark.parametrize(("kind", "value", "reason"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_cell_that_does_not_fit_sets_its_row_aside(
    tmp_path: Path, kind: str, value: Any, reason: str
) -> None:
    data = workbook([["k", "v"], [1, None], [2, value], [3, None]])
    rows, rejects = load(tmp_path, data, table(k="bigint", v=kind))
    assert rows == [(1, None), (3, None)]
    [(row, why, raw)] = rejects
    assert (row, why) == (3, reason)
    assert json.loads(raw).keys() == {"k", "v"}


CELLS = [
    ("19 formula with its value", c("", "<f>1+1</f><v>2</v>"), [(None, Decimal("2.00"))], ""),
    ("formula of text", c(' t="str"', "<f>A1</f><v>x</v>", "A"), [("x", None)], ""),
    ("inline text", c(' t="inlineStr"', "<is><r><t>a</t></r><r><t>b</t></r></is>", "A"),
     [("ab", None)], ""),
    ("escaped sign", c(' t="inlineStr"', "<is><t>a_x000D_b</t></is>", "A"), [("a\rb", None)], ""),
    ("cell without reference", "<c><v>5</v></c>", [("5", None)], ""),
    ("value without a name", c("", "<v>1</v>", "D"), [], "too_many_fields"),
    ("no number", c("", "<v>1,5</v>"), [], "does_not_fit"),
    ("infinity", c("", "<v>1E999</v>"), [], "does_not_fit"),
    ("only formatted cells", c(' s="0"', ""), [], ""),
]  # fmt: skip


@pytest.mark.parametrize(("cells", "rows", "reason"), [x[1:] for x in CELLS],
                         ids=[x[0] for x in CELLS])  # fmt: skip
def test_a_cell_as_other_writers_write_it(
    tmp_path: Path, cells: str, rows: Any, reason: str
) -> None:
    found, rejects = load(tmp_path, with_cells(cells))
    assert found == rows
    assert [why for _, why, _ in rejects] == ([reason] if reason else [])


def test_shared_texts_are_joined_without_reading_aids(tmp_path: Path) -> None:
    texts = "<sst><si><t>a</t></si><si><r><t>b</t></r><rPh><t>z</t></rPh><r><t>c</t></r></si></sst>"
    data = with_cells('<c r="A2" t="s"><v>1</v></c>')
    relation = '<Relationship Id="s" Type="x/sharedStrings" Target="sharedStrings.xml"/>'
    related = {
        "xl/sharedStrings.xml": lambda _: texts,
        "xl/_rels/workbook.xml.rels": lambda t: t.replace("</Rel", f"{relation}</Rel"),
    }
    data = edited(data, related)
    assert load(tmp_path, data) == ([("bc", None)], [])


def test_a_double_of_seventeen_digits_comes_as_its_shortest_text(tmp_path: Path) -> None:
    _, rejects = load(tmp_path, with_cells(c("", "<v>0.30000000000000004</v>")))
    assert [reason for _, reason, _ in rejects] == ["does_not_fit"]


def test_the_29th_of_february_1900_is_refused(tmp_path: Path) -> None:
    style = "xl/styles.xml"
    data = edited(with_cells(c(' s="0"', "<v>60</v>")),
                  {style: lambda text: text.replace('numFmtId="0"', 'numFmtId="14"')})  # fmt: skip
    _, [(_, reason, _)] = load(tmp_path, data, table(code="varchar", tonnes="date"))
    assert reason == "does_not_fit"


@pytest.mark.parametrize(
    ("code", "is_date"),
    [("yyyy-mm-dd", True), ("[h]:mm", True), ("d. mmm", True), ("0.00", False), ('0 "days"', False),
     ("[Red]0.00", False), ("General", False), ("[$-409]d/m/yy", True), ("#,##0 [$USD]", False),
     ("0\\d", False)],
)  # fmt: skip
def test_a_style_tells_dates_from_numbers(tmp_path: Path, code: str, is_date: bool) -> None:
    book = openpyxl.Workbook()
    book.active.append(["v"])
    book.active.append([0.5])
    book.active["A2"].number_format = code
    path = tmp_path / "sale"
    book.save(path)
    assert observed(path, FORM) == {"v": pa.timestamp("us") if is_date else pa.float64()}


def test_the_sheet_and_the_header_row_are_chosen(tmp_path: Path) -> None:
    data = workbook([["x"]], [["Sales of May"], [], ["code", None, "tonnes"], ["a", None, 2]])
    options = {"sheet": "S2", "header_row": 3}
    assert load(tmp_path, data, **options) == ([("a", Decimal("2.00"))], [])


def test_columns_come_by_name_and_empty_rows_are_no_rows(tmp_path: Path) -> None:
    data = workbook([["tonnes", "code"], [1, "a"], [None, None], ["", ""], [2, "b"], [], []])
    promised = replace(SALE, columns=SALE.columns)
    rows, rejects = load(tmp_path, data, promised)
    assert rows == [("a", Decimal("1.00")), ("b", Decimal("2.00"))]
    assert rejects == []


def test_merged_cells_are_told(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["code", "tonnes"], ["a", 1], [None, 2]):
        book.active.append(row)
    book.active.merge_cells("A2:A3")
    path = tmp_path / "sale"
    book.save(path)
    rows, _, told = whole(path, SALE, FORM)
    assert [row["code"] for row in rows] == ["a", None]
    assert [e.detail for e in told] == ["merged cells A2:A3: only the first of each has a value"]


GOOD = workbook([["code", "tonnes"], *[[f"c{i}", i / 4] for i in range(50)]])
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
REFUSED = [
    ("14 zero bytes", b"", "empty_object", {}),
    ("CSV", b"code,tonnes\na,1\n", "bad_magic", {}),
    ("gzip around it", b"\x1f\x8b" + GOOD, "bad_magic", {}),
    (".xls", OLE, "legacy_xls", {}),
    ("encrypted", OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted", {}),
    ("half", GOOD[: len(GOOD) // 2], "corrupt", {}),
    ("another zip", edited(GOOD, {"_rels/.rels": lambda t: t.replace("officeDocument", "thesis")}),
     "not_xlsx", {}),
    ("no such sheet", GOOD, "no_sheet", {"sheet": "May"}),
    ("no header", GOOD, "bad_header", {"header_row": 80}),
    ("08 duplicate header", workbook([["code", "code"]]), "duplicate_header", {}),
    ("15 missing column", workbook([["code"]]), "schema_drift", {}),
    ("15 new column", workbook([["code", "tonnes", "x"]]), "schema_drift", {}),
    ("an empty sheet", workbook([]), "bad_header", {}),
    ("bytes cap", GOOD, "too_large", {"caps": Caps(bytes=len(GOOD))}),
    ("rows cap", GOOD, "too_many_rows", {"caps": Caps(rows=49)}),
    ("cut XML", edited(GOOD, {"xl/worksheets/sheet1.xml": lambda t: t[:-60]}), "corrupt", {}),
    ("shared text missing", with_cells('<c r="A2" t="s"><v>9</v></c>'), "corrupt", {}),
    ("26 bomb", edited(GOOD, {"xl/worksheets/sheet1.xml": lambda t: t + " " * (40 << 20)}),
     "decompression_bomb", {}),
    ("26 entities", edited(GOOD, {"xl/workbook.xml": lambda t: '<!DOCTYPE a [<!ENTITY a "'
     + "x" * 50_000 + '"><!ENTITY b "' + "&a;" * 2000 + '">]><a>' + "&b;" * 100 + "</a>"}),
     "corrupt", {}),
]  # fmt: skip


@pytest.mark.parametrize(("data", "reason", "options"), [r[1:] for r in REFUSED],
                         ids=[r[0] for r in REFUSED])  # fmt: skip
def test_a_workbook_that_cannot_be_trusted_is_refused_whole(
    tmp_path: Path, data: bytes, reason: str, options: dict[str, Any]
) -> None:
    path = tmp_path / "sale.xlsx"
    path.write_bytes(data)
    with pytest.raises((UnreadableFile, SchemaDrift)) as caught:
        whole(path, SALE, FileFormat("xlsx", **options))
    assert caught.value.reason == reason
    assert caught.value.object == "sale.xlsx"


def test_a_header_row_below_one_is_a_config_error() -> None:
    with pytest.raises(ConfigError):
        FileFormat("xlsx", header_row=0)


def test_columns_have_letters() -> None:
    assert [letters(n) for n in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"),
               min_size=1, max_size=6).filter(
                   lambda t: not t.startswith(("=", "#")) and "_x" not in t)  # fmt: skip
MOMENT = st.datetimes(dt.datetime(1900, 3, 1), dt.datetime(9000, 1, 1)).map(
    lambda t: t.replace(microsecond=t.microsecond // 1000 * 1000)
)
CELLS_OF = st.tuples(
    TEXT, st.integers(-(2**53), 2**53),
    st.decimals(-(10**8), 10**8, places=3, allow_nan=False), st.booleans(), MOMENT,
    st.floats(-1e300, 1e300).map(lambda x: float(f"{x:.16g}")),
)  # fmt: skip


@settings(max_examples=60)
@given(st.lists(CELLS_OF, min_size=1, max_size=5))
def test_what_another_library_writes_comes_back(rows: list[tuple[Any, ...]]) -> None:
    promised = table(t="varchar", i="bigint", d="decimal(18,3)", b="boolean", at="timestamp",
                     x="double")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t")
        path.write_bytes(workbook([["t", "i", "d", "b", "at", "x"], *rows]))
        found, rejects, _ = whole(path, promised, FORM)
    assert not rejects
    assert [tuple(row.values()) for row in found] == rows


@settings(max_examples=60)
@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_changes_nothing_or_is_found(at: int, bit: int) -> None:
    data = bytearray(GOOD)
    data[at % len(data)] ^= 1 << bit
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t")
        path.write_bytes(data)
        if refusal(path, SALE, FORM):
            return
        rows, rejects, _ = whole(path, SALE, FORM)
    assert not rejects
    assert [row["code"] for row in rows] == [f"c{i}" for i in range(50)]
    assert [row["tonnes"] for row in rows] == [Decimal(i) / 4 for i in range(50)]
