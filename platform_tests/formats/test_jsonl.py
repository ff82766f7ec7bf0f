"""JSON lines: exact values, odd lines set aside with their bytes, whole files refused."""

import datetime as dt
import json
import tempfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from platform_tests.formats.readings import refusal, table, whole

from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError, SchemaDrift, UnreadableFile
from malacate.formats import FileFormat, jsonl, jsonl_lines, observed, read

FORM = FileFormat("jsonl")
SALE = table(id="bigint", tonnes="decimal(38,4)", note="varchar")


def load(tmp_path: Path, data: bytes, promised: Table = SALE, **options: Any) -> Any:
    path = tmp_path / "sale.jsonl"
    path.write_bytes(data)
    rows, rejects, _ = whole(path, promised, FileFormat("jsonl", **options))
    return rows, [(r.position, r.reason, r.raw) for r in rejects]


VALUES = [
    ("38 integer of 23 digits as decimal", "decimal(38,0)", b"12345678901234567890123",
     Decimal("12345678901234567890123")),
    ("38 integer of 23 digits as text", "varchar", b"12345678901234567890123",
     "12345678901234567890123"),
    ("decimal of 38 digits", "decimal(38,10)", b"1234567890123456789012345678.0123456789",
     Decimal("1234567890123456789012345678.0123456789")),
    ("decimal in quotes", "decimal(8,2)", b'"0.10"', Decimal("0.10")),
    ("number as text keeps its digits", "varchar", b"1.10", "1.10"),
    ("largest bigint", "bigint", b"9223372036854775807", 2**63 - 1),
    ("integer beyond a double", "bigint", b"9007199254740993", 9007199254740993),
    ("double", "double", b"0.1", 0.1),
    ("boolean", "boolean", b"true", True),
    ("instant", "timestamptz", b'"2026-01-02T03:04:05-04:00"',
     dt.datetime(2026, 1, 2, 7, 4, 5, tzinfo=dt.UTC)),
    ("date", "date", b'"2026-01-02"', dt.date(2026, 1, 2)),
    ("surrogate pair", "varchar", b'"\\ud83d\\ude00"', "\U0001f600"),
    ("emoji as bytes", "varchar", "\"\U0001f600\"".encode(), "\U0001f600"),
    ("object as text", "varchar", b'{"a": 12345678901234567890.10, "b":["\\u00e9",null]}',
     '{"a": 12345678901234567890.10, "b": ["é", null]}'),
    ("array of decimals", "decimal(30,2)[]", b"[1, 12345678901234567890.25, null]",
     [Decimal("1.00"), Decimal("12345678901234567890.25"), None]),
    ("empty array", "bigint[]", b"[]", []),
    ("struct", "struct(a bigint, b struct(c date))", b'{"a": 1, "b": {"c": "2026-01-02"}}',
     {"a": 1, "b": {"c": dt.date(2026, 1, 2)}}),
    ("struct without a field", "struct(a bigint, b bigint)", b'{"a": 1}', {"a": 1, "b": None}),
    ("map", "map(varchar, bigint[])", b'{"x": [1], "y": null}', [("x", [1]), ("y", None)]),
    ("null", "struct(a bigint)", b"null", None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "value"), [v[1:] for v in VALUES],
                         ids=[v[0] for v in VALUES])  # fmt: skip
def test_a_value_comes_exactly(tmp_path: Path, kind: str, text: bytes, value: Any) -> None:
    data = b'{"v": ' + text + b"}\n"
    assert load(tmp_path, data, table(v=kind)) == ([{"v": value}], [])


MISFITS = [
    ("39 text in an integer", "bigint", b'"1"', "does_not_fit"),
    ("12 integer beyond 64 bits", "bigint", b"9223372036854775808", "does_not_fit"),
    ("integer with a point", "bigint", b"1.0", "does_not_fit"),
    ("5,000 digits", "bigint", b"9" * 5000, "does_not_fit"),
    ("decimal with too many digits", "decimal(8,2)", b"1.005", "does_not_fit"),
    ("double beyond range", "double", b"1e400", "does_not_fit"),
    ("number for a boolean", "boolean", b"1", "does_not_fit"),
    ("number for an instant", "timestamptz", b"1700000000", "does_not_fit"),
    ("18 instant without zone", "timestamptz", b'"2026-01-02T03:04:05"', "no_time_zone"),
    ("18 ambiguous date", "date", b'"03/04/2026"', "ambiguous_date"),
    ("object for a number", "bigint", b'{"a": 1}', "does_not_fit"),
    ("text in an array of numbers", "bigint[]", b'[1, "2"]', "does_not_fit"),
    ("object for an array", "bigint[]", b"{}", "does_not_fit"),
    ("array for an object", "struct(a bigint)", b"[]", "does_not_fit"),
    ("misfit in a map", "map(varchar, bigint)", b'{"a": 1, "b": 1.5}', "does_not_fit"),
    ("35 NaN", "double", b"NaN", "not_finite"),
    ("35 Infinity", "double", b"-Infinity", "not_finite"),
    ("36 duplicate key within", "struct(a bigint)", b'{"a": 1, "a": 1}', "duplicate_key"),
    ("40 lone surrogate", "varchar", b'"\\ud800"', "lone_surrogate"),
    ("40 lone low surrogate", "varchar", b'"x\\uDC00"', "lone_surrogate"),
    ("07 NUL", "varchar", b'"a\\u0000b"', "nul_byte"),
    ("raw control sign", "varchar", b'"a\tb"', "bad_json"),
    ("06 Latin-1", "varchar", b'"Copiap\xf3"', "bad_encoding"),
    ("leading zero", "bigint", b"01", "bad_json"),
    ("comment", "bigint", b"1 /* one */", "bad_json"),
    ("trailing comma", "bigint", b"1,", "bad_json"),
    ("single quotes", "varchar", b"'a'", "bad_json"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "reason"), [m[1:] for m in MISFITS],
                         ids=[m[0] for m in MISFITS])  # fmt: skip
def test_a_row_that_does_not_fit_is_set_aside_and_the_rest_loads(
    tmp_path: Path, kind: str, text: bytes, reason: str
) -> None:
    line = b'{"k": 2, "v": ' + text + b"}"
    data = b'{"k": 1}\n\n' + line + b'\r\n{"k": 3, "v": null}'
    rows, rejects = load(tmp_path, data, table(k="integer", v=kind))
    assert rows == [{"k": 1, "v": None}, {"k": 3, "v": None}]
    assert rejects == [(3, reason, line)]


LINES = [
    ("36 duplicate key", b'{"id": 1, "id": 1}', "duplicate_key"),
    ("37 last line cut", b'{"id": 1, "note": "a', "bad_json"),
    ("not an object", b'["id"]', "not_an_object"),
    ("two objects", b'{"id": 1} {"id": 2}', "bad_json"),
    ("text", b"id,note", "bad_json"),
    ("NUL bytes", bytes(40), "bad_json"),
]


@pytest.mark.parametrize(("line", "reason"), [x[1:] for x in LINES], ids=[x[0] for x in LINES])
def test_a_line_that_is_no_row_is_set_aside_with_its_bytes(
    tmp_path: Path, line: bytes, reason: str
) -> None:
    rows, rejects = load(tmp_path, b'{"id": 7}\n' + line)
    assert [row["id"] for row in rows] == [7]
    assert rejects == [(2, reason, line)]


def test_the_byte_that_is_no_utf8_is_named_by_its_place_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    good = b"\xef\xbb\xbf" + '{"note": "ó"}\n'.encode() * 100_000
    path.write_bytes(good + b'{"note": "\xff"}\n')
    _, [reject], _ = whole(path, SALE, FORM)
    assert reject.detail.startswith(f"byte {len(good) + 10} is 0xff")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty_object"),
        (b'[{"id": 1},\n{"id": 2}]\n', "not_json_lines"),
        (b'\n [\n{"id": 1}]', "not_json_lines"),
        (b'{\n  "id": 1\n}\n', "not_json_lines"),
        ('{"id": 1}\n'.encode("utf-16"), "bad_encoding"),
        ('{"id": 1}\n'.encode("utf-16-le"), "bad_encoding"),
        (b'{"id": 1}\n{"id": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "too_deep"),
        (b'{"a":' * 200_000, "too_deep"),
        (b'{"id": 1, "weight": 2}\n', "schema_drift"),
        (b'{"id": 1, "load": {"x": 1}}\n', "schema_drift"),
    ],
    ids=["14 zero bytes", "array", "array below a blank line", "one object over lines", "UTF-16",
         "UTF-16 without mark", "41 nesting of 5,000", "41 unclosed nesting of 200,000",
         "15 new key", "15 new object"],
)  # fmt: skip
def test_a_file_that_cannot_be_trusted_is_refused_whole(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "sale"
    path.write_bytes(data)
    assert refusal(path, SALE, FORM) == reason


def test_brackets_in_a_text_are_no_nesting(tmp_path: Path) -> None:
    text = '\\"[{' * 300
    rows, rejects = load(tmp_path, b'{"note": "' + text.encode() + b'"}\n')
    assert (rows[0]["note"], rejects) == ('"[{' * 300, [])


def test_15_a_renamed_key_is_named_in_the_error(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"id": 1, "tons": 2}\n')
    with pytest.raises(SchemaDrift, match=r"extra 'tons' \(if 'tonnes' was renamed"):
        whole(path, SALE, FORM)


@pytest.mark.parametrize("odd", [b"", b'{"note": "[", "x": 3}\n'])
def test_15_a_key_that_may_be_ignored_is_told_once(tmp_path: Path, odd: bytes) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"id": 1, "x": 1}\n{"id": 2, "x": 2}\n' + odd)
    _, rejects, told = whole(path, replace(SALE, extra_columns="ignore"), FORM)
    assert not rejects
    assert [e.column for e in told if e.kind == "ignored"] == ["x"]
    assert "tonnes" in [e.column for e in told if e.kind == "absent"]


def test_15_keys_of_nested_objects_are_not_dropped_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"v": [{"a": 1, "b": 2}]}\n')
    promised = table(v="struct(a bigint)[]")
    assert refusal(path, promised, FORM) == "schema_drift"
    rows, _, told = whole(path, replace(promised, extra_columns="ignore"), FORM)
    assert rows == [{"v": [{"a": 1}]}]
    assert [e.column for e in told] == ["v[].b"]


def test_15_an_alias_is_taken_and_told_and_both_names_at_once_are_not(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"id": 1}\n{"nr": 2}\n{"id": 3, "nr": 3}\n')
    column = replace(SALE.columns[0], aliases=("nr",))
    rows, rejects, told = whole(path, replace(SALE, columns=(column,)), FORM)
    assert rows == [{"id": 1}, {"id": 2}]
    assert [(r.position, r.reason) for r in rejects] == [(3, "duplicate_key")]
    assert [(e.kind, e.column) for e in told] == [("renamed", "id")]


@pytest.mark.parametrize("block", [1 << 20, 100])
def test_17_a_line_over_the_cap_is_set_aside(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "BLOCK", block)
    over = b'{"id": 2, "note": "' + b"x" * 1000 + b'"}'
    data = b'{"id": 1}\n' + over + b'\n{"id": 3}\n' + over
    rows, rejects = load(tmp_path, data, max_field_bytes=500)
    assert [row["id"] for row in rows] == [1, 3]
    assert [(line, reason) for line, reason, _ in rejects] == [(2, "too_large"), (4, "too_large")]
    assert all(over.startswith(raw) and len(raw) >= 500 for _, _, raw in rejects)


def test_the_types_of_the_first_rows_are_drafted(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(
        b'{"id": 1, "big": 12345678901234567890, "x": 1.5, "s": "a", "ok": true, "o": {}}\n'
        b'{"id": 2, "x": 1, "s": 1, "late": null}\n'
    )
    assert observed(path, FORM) == {
        "id": pa.int64(), "big": pa.decimal128(38, 0), "x": pa.float64(), "s": None,
        "ok": pa.bool_(), "o": None, "late": None,
    }  # fmt: skip


def test_a_map_without_text_keys_and_another_encoding_are_config_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, b"{}\n", table(v="map(bigint, bigint)"))
    with pytest.raises(ConfigError):
        FileFormat("jsonl", encoding="latin-1")


NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-1000, 1000).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(allow_nan=False, allow_infinity=False, places=4).map(str),
    st.sampled_from(
        ["-0", "0.10", "1e2", "1E+400", "1.0", "-0.0", "1e-400", "NaN", "01", "5e-324"]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=5).map(json.dumps),
    st.text(max_size=5).map(lambda t: json.dumps(t, ensure_ascii=False)),
    st.sampled_from(['"2026-01-02"', '"2026-01-02T03:04:05Z"', '"1.25"', '"[{"', '"\\ud800"',
                     '"}\\n{"', '"\\u0000"', '"NaN"', "null", "true", "[]", '{"a": 1}']),
)  # fmt: skip
MIXED = table(i="integer", b="bigint", d="decimal(20,4)", x="double", s="varchar", at="timestamptz",
              day="date", ok="boolean")  # fmt: skip
VALUE = st.one_of(NUMBERS, TEXTS)
FITTING = {
    "i": st.integers(-1000, 1000).map(str), "b": st.integers(-(2**63), 2**63 - 1).map(str),
    "d": st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9),
                     max_value=10**9).map(str),
    "x": st.floats(allow_nan=False, allow_infinity=False).map(repr),
    "s": st.text(max_size=5).map(json.dumps), "at": st.just('"2026-01-02T03:04:05.25Z"'),
    "day": st.dates().map(lambda d: f'"{d}"'), "ok": st.sampled_from(["true", "false", "null"]),
}  # fmt: skip


@st.composite
def line(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(list(FITTING)), max_size=4, unique_by=None))
    wild = draw(st.integers(0, 5)) == 0
    pairs = [f'"{n}":{draw(VALUE if wild else FITTING[n])}' for n in names]
    return draw(st.sampled_from(["{%s}", "{%s}", "{%s}", " {%s} ", "{%s}\r"])) % ",".join(pairs)


def outcome(data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t")
        path.write_bytes(data)
        rows, rejects, told = whole(path, MIXED, FORM)
        return [list(map(repr, r.values())) for r in rows], rejects, told


@settings(max_examples=300)
@given(st.lists(line(), min_size=1, max_size=4))
@example(['{"i":1,"x":', "1}"])
@example(['{"s":"}', '{"}'])
@example(['{"i":1}{"i":2}', ""])
@example(['{"x":-0.0,"d":1.2500000}'])
def test_the_fast_way_and_the_exact_way_agree(lines: list[str]) -> None:
    data = "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "plain", lambda *_: None)
        exact = outcome(data)
    assert outcome(data) == exact


def test_plain_lines_go_the_fast_way(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"id": 1, "tonnes": 1.25, "note": "a"}\n' * 100_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl.Rows, "_one_by_one", None)
        rows, _, _ = whole(path, SALE, FORM)
    assert rows == [{"id": 1, "tonnes": Decimal("1.25"), "note": "a"}] * 100_000


@settings(max_examples=150)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=6), st.integers(1, 40), st.booleans())
def test_blocks_of_any_size_give_the_same_lines(texts: list[str], size: int, mark: bool) -> None:
    data = "\n".join(json.dumps({"note": t}) for t in texts).encode()
    data = (b"\xef\xbb\xbf" if mark else b"") + data
    pieces = iter([data[i : i + size] for i in range(0, len(data), size)])
    found = [x for part in jsonl_lines.lines(pieces, 1 << 20, Path("t")) for x in part.split()]
    assert [json.loads(text)["note"] for _, _, text in found] == texts
    assert [number for number, _, _ in found] == list(range(1, len(texts) + 1))
    assert all(data[at : at + len(text)] == text for _, at, text in found)


def test_a_reading_streams(tmp_path: Path) -> None:
    path = tmp_path / "sale"
    path.write_bytes(b'{"id": 1}\n' * 300_000 + b'{"a":' * 100)
    reading = read(path, SALE, FORM)
    assert next(reading.chunks).rows.num_rows == 1 << 16
    with pytest.raises(UnreadableFile):
        list(reading.chunks)


def test_a_physical_name_is_the_key(tmp_path: Path) -> None:
    promised = replace(SALE, columns=(Column("at_time", pa.string(), physical_name="@time"),))
    assert load(tmp_path, b'{"@time": "a"}\n', promised) == ([{"at_time": "a"}], [])
