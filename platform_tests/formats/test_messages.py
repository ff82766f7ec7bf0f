"""Files of messages: each one's JSON is a row, by both kinds of file, and what is none is told."""

import datetime as dt
import io
import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from platform_tests.formats.readings import refusal, table, whole
from platform_tests.formats.test_damage import at_most

from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError, SchemaDrift
from malacate.formats import FileFormat, jsonl, messages, observed, read
from malacate.sources.streams.message import Message, as_file

FORM = FileFormat("messages")
READING = table(n="bigint", note="varchar")
ENVELOPE = {
    "topic": ("$topic", pa.string()),
    "message_id": ("$message_id", pa.string()),
    "published_at": ("$published_at", pa.timestamp("us", "UTC")),
    "raw": ("$data", pa.string()),
    "attributes": ("$attributes", pa.string()),
}
AROUND = tuple(Column(n, kind, physical_name=p) for n, (p, kind) in ENVELOPE.items())
FULL = replace(READING, columns=(*READING.columns, *AROUND))
AT = 1_767_323_045_000_006
SUBSCRIPTION = "projects/mine/subscriptions/vibration"

BARE = {
    "type": "record", "namespace": "com.google.pubsub", "name": "PubsubMessage",
    "fields": [{"name": "data", "type": "bytes"}],
}  # fmt: skip
WITH_METADATA = {
    "type": "record", "namespace": "com.google.pubsub", "name": "PubsubMessageWithMetadata",
    "fields": [
        {"name": "subscription_name", "type": "string"},
        {"name": "message_id", "type": "string"},
        {"name": "publish_time", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "attributes", "type": {"type": "map", "values": "string"}},
        {"name": "data", "type": "bytes"},
    ],
}  # fmt: skip
"""As Google's page on Cloud Storage subscriptions has them."""


def native(found: list[Message], codec: str = "null", schema: Any = WITH_METADATA) -> bytes:
    """What a Cloud Storage subscription writes."""
    rows = [
        {"subscription_name": one.topic, "message_id": one.message_id, "data": one.data,
         "publish_time": one.published_at, "attributes": dict(one.attributes)}
        for one in found
    ]  # fmt: skip
    out = io.BytesIO()
    fastavro.writer(out, schema, rows, codec=codec, sync_marker=b"m" * 16)
    return out.getvalue()


def bare(found: list[Message]) -> bytes:
    return native(found, schema=BARE)


KINDS = {"parquet": as_file, "avro": native, "bare avro": bare}


def message(data: bytes, number: int = 1) -> Message:
    return Message(data, SUBSCRIPTION, str(number), AT + number, (("sensor", f"s{number}"),))


def numbered(*data: bytes) -> list[Message]:
    return [message(one, number) for number, one in enumerate(data, 1)]


def load(
    folder: Path, data: bytes, promised: Table = READING, **options: Any
) -> tuple[list[dict[str, Any]], list[tuple[int, str, bytes]]]:
    path = folder / "drop"
    path.write_bytes(data)
    rows, rejects, _ = whole(path, promised, FileFormat("messages", **options))
    return rows, sorted((r.position, r.reason, r.raw) for r in rejects)


PLAIN = [b'{"n": %d, "note": "a"}' % n for n in range(3)]
WANTED = [{"n": n, "note": "a"} for n in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_message_is_a_row(tmp_path: Path, kind: str) -> None:
    assert load(tmp_path, KINDS[kind](numbered(*PLAIN))) == (WANTED, [])


@pytest.mark.parametrize("kind", ["parquet", "avro"])
def test_what_is_around_a_message_fills_columns(tmp_path: Path, kind: str) -> None:
    (row,), _ = load(tmp_path, KINDS[kind](numbered(b' {"n": 1,\n "note": null}\n')), FULL)
    assert row == {
        "n": 1, "note": None, "topic": SUBSCRIPTION, "message_id": "1",
        "published_at": dt.datetime(2026, 1, 2, 3, 4, 5, 7, tzinfo=dt.UTC),
        "raw": ' {"n": 1,\n "note": null}\n', "attributes": '{"sensor": "s1"}',
    }  # fmt: skip


def test_what_a_file_does_not_tell_is_null(tmp_path: Path) -> None:
    for data in (bare(numbered(PLAIN[0])), as_file([Message(PLAIN[0])])):
        (row,), _ = load(tmp_path, data, FULL)
        assert (row["topic"], row["message_id"], row["published_at"]) == (None, None, None)
        assert row["raw"] == PLAIN[0].decode()


def test_an_attribute_that_comes_twice_has_both_values(tmp_path: Path) -> None:
    pairs = (("k", "1"), ("k", "2"), ("ñ", '"'))
    (row,), _ = load(tmp_path, as_file([Message(b"{}", attributes=pairs)]), FULL)
    assert json.loads(row["attributes"]) == {"k": ["1", "2"], "ñ": '"'}


def test_a_contract_of_what_is_around_alone_has_a_row_for_each_object(tmp_path: Path) -> None:
    raw = replace(READING, columns=AROUND, extra_columns="ignore")
    data = as_file(numbered(b'{"any": [1]}', b"no", b"{}"))
    rows, rejects = load(tmp_path, data, raw)
    assert [row["raw"] for row in rows] == ['{"any": [1]}', "{}"]
    assert rejects == [(2, "bad_json", b"no")]
    _, _, told = whole(tmp_path / "drop", raw, FORM)
    assert [(one.kind, one.column) for one in told] == [("ignored", "any")]


def test_a_key_of_the_payload_is_never_taken_for_the_envelope(tmp_path: Path) -> None:
    promised = replace(FULL, extra_columns="ignore")
    data = as_file([message(b'{"n": 1, "$topic": "x", "topic": "y", "raw": "z", "data": 1}')])
    (row,), _ = load(tmp_path, data, promised)
    assert (row["topic"], row["raw"][:4]) == (SUBSCRIPTION, '{"n"')
    with pytest.raises(SchemaDrift):
        load(tmp_path, data, FULL)


REFUSED = [
    (b"", "empty_message"),
    (b" \r\n\t", "empty_message"),
    (b"[1]", "not_an_object"),
    (b'{"n": 1} {"n": 2}', "bad_json"),
    (b'{"n": 1}\n{"n": 2}', "bad_json"),
    (b'{"n": 1}\r{"n": 2}', "bad_json"),
    (b'{"n": 1, "note": "a\nb"}', "bad_json"),
    (b'{"n": 1, "note": "a\rb"}', "bad_json"),
    (b'\xef\xbb\xbf{"n": 1}', "bad_json"),
    (b'{"n": 1, "note": "\xff"}', "bad_encoding"),
    (b'{"n": 1, "note": "\\u0000"}', "nul_byte"),
    (b'{"n": 1, "n": 1}', "duplicate_key"),
    (b'{"n": 1.5}', "does_not_fit"),
    (b'{"n": ' + b"[" * 90 + b"]" * 90 + b"}", "too_deep"),
    (b'{"n": 1, "note": "' + b"a" * 600 + b'"}', "too_large"),
    (b'{"n": "\n"}', "bad_json"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("data", "reason"), REFUSED)
def test_a_message_that_is_no_row_is_set_aside_with_its_number_and_bytes(
    tmp_path: Path, data: bytes, reason: str, kind: str
) -> None:
    found = KINDS[kind](numbered(PLAIN[0], data, PLAIN[1], data, PLAIN[2]))
    rows, rejects = load(tmp_path, found, max_field_bytes=500)
    assert rows == WANTED
    assert rejects == [(2, reason, data), (4, reason, data)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
DATA = st.one_of(
    st.builds(lambda n, note: json.dumps({"n": n, "note": note}).encode(), st.integers(), TEXTS),
    st.builds(lambda n, x: json.dumps({"n": n, "note": x}, indent=1).encode(), st.integers(), JSON),
    JSON.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")),
    st.sampled_from([data for data, _ in REFUSED]),
    st.binary(max_size=12),
    st.sampled_from([b'{"n": 1, "note": "{"}', b'{"n": 1}\n', b'{"n": 2, "note":\r\n"a"}']),
)
MESSAGES = st.lists(
    st.builds(
        Message, DATA, TEXTS, TEXTS, st.integers(0, 2**52),
        st.dictionaries(TEXTS, TEXTS, max_size=2).map(lambda found: tuple(found.items())),
    ),
    max_size=6,
)  # fmt: skip
ANYTHING = replace(FULL, extra_columns="ignore")


def line_of(data: bytes) -> tuple[list[dict[str, Any]], list[str]] | None:
    """The message as JSON lines have it, where one line can say it; by the exact way."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "plain", lambda *_: None)
        path = Path(folder) / "line"
        path.write_bytes(b"{}\n" + data)
        rows, rejects, _ = whole(
            path, replace(READING, extra_columns="ignore"), FileFormat("jsonl")
        )
    return rows[1:], [one.reason for one in rejects]


@settings(max_examples=200)
@given(MESSAGES, st.integers(1, 60))
@example([Message(b'{"n": 1}\n{"n": 2}', "", "", 0), Message(b'{"n": 3}', "", "", 0)], 60)
def test_any_messages_give_the_same_rows_by_both_kinds_of_file(
    found: list[Message], block: int
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "BLOCK", block)
        folder = Path(name)
        rows, rejects = load(folder, as_file(found), ANYTHING)
        assert load(folder, native(found), ANYTHING) == (rows, rejects)
        assert load(folder, native(found, "snappy"), ANYTHING) == (rows, rejects)
    aside = {place for place, _, _ in rejects}
    kept = [one for place, one in enumerate(found, 1) if place not in aside]
    assert len(rows) + len(rejects) == len(found)
    assert [place for place, _, _ in rejects] == sorted(aside)
    for place, _, raw in rejects:
        assert raw == found[place - 1].data
    for row, one in zip(rows, kept, strict=True):
        assert row["raw"].encode() == one.data
        assert (row["topic"], row["message_id"]) == (one.topic, one.message_id)
        assert json.loads(row["attributes"]) == dict(one.attributes)
        assert row["published_at"] == dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(
            microseconds=one.published_at or 0
        )


@settings(max_examples=300)
@given(DATA)
def test_a_message_is_the_row_that_its_line_would_be(data: bytes) -> None:
    if b"\n" in data.strip() or not data.strip() or b"[" * 65 in data:
        return
    with tempfile.TemporaryDirectory() as folder:
        promised = replace(READING, extra_columns="ignore")
        rows, rejects = load(Path(folder), as_file(numbered(data)), promised)
    assert (rows, [reason for _, reason, _ in rejects]) == line_of(data)


def test_many_messages_keep_their_numbers(tmp_path: Path) -> None:
    chance = random.Random(7)
    bad = sorted(chance.sample(range(1, 100_001), 50))
    data = [b'{"n": %d, "note": "%s"}' % (n, b"x" * (n % 90)) for n in range(1, 100_001)]
    for place in bad:
        data[place - 1] = b"{" * (place % 3)
    for kind in KINDS.values():
        rows, rejects = load(tmp_path, kind([Message(one, "", "", 0) for one in data]))
        assert [place for place, _, _ in rejects] == bad
        assert [row["n"] for row in rows] == sorted(set(range(1, 100_001)) - set(bad))
        for chunk in read(tmp_path / "drop", READING, FORM).chunks:
            assert list(chunk.positions or ()) == chunk.rows.column("n").to_pylist()


def test_plain_messages_go_the_fast_way(tmp_path: Path) -> None:
    path = tmp_path / "drop"
    path.write_bytes(as_file([Message(PLAIN[1])] * 100_000))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl.Rows, "_one_by_one", None)
        rows, _, _ = whole(path, READING, FORM)
    assert rows == [WANTED[1]] * 100_000


def test_no_messages_are_no_rows(tmp_path: Path) -> None:
    for kind in KINDS.values():
        assert load(tmp_path, kind([])) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_has_all_its_rows_or_is_refused(tmp_path: Path, kind: str) -> None:
    data = KINDS[kind](numbered(*[b'{"n": %d, "note": "abc"}' % n for n in range(300)]))
    chance, path = random.Random(kind), tmp_path / "drop"
    reasons = set()
    for _ in range(60):
        at = chance.randrange(len(data))
        flipped = bytearray(data)
        flipped[at] ^= 1 << chance.randrange(8)
        for broken in (data[:at], bytes(flipped), data + chance.randbytes(9)):
            path.write_bytes(broken)
            with at_most(10):
                if reason := refusal(path, READING, FORM):
                    reasons.add(reason)
                    continue
                rows, rejects, _ = whole(path, READING, FORM)
            assert len(rows) + len(rejects) == 300 or kind != "parquet"
    assert reasons <= {
        "bad_magic", "truncated", "corrupt", "empty_object", "bad_header", "bad_sync",
        "row_count_mismatch", "trailing_bytes", "schema_drift", "unknown_codec", "does_not_fit",
        "decompression_bomb", "encrypted", "duplicate_column", "not_a_record",
    }  # fmt: skip
    assert {"truncated", "bad_magic"} <= reasons or {"truncated", "corrupt"} <= reasons


WRONG = [
    (b"", "empty_object"),
    (b'{"n": 1}\n', "bad_magic"),
    (b"PK\x03\x04", "bad_magic"),
    (b"PAR1", "truncated"),
    (b"PARE" + bytes(20) + b"PARE", "encrypted"),
    (b"Obj\x01", "truncated"),
    (b"P", "truncated"),
]


@pytest.mark.parametrize(("data", "reason"), WRONG)
def test_what_is_no_file_of_messages_is_refused_whole(
    tmp_path: Path, data: bytes, reason: str
) -> None:
    path = tmp_path / "drop"
    path.write_bytes(data)
    assert refusal(path, READING, FORM) == reason


def test_a_file_of_other_columns_is_drift(tmp_path: Path) -> None:
    path = tmp_path / "drop"
    pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(SchemaDrift, match="missing 'data'"):
        read(path, READING, FORM)
    pq.write_table(pa.table({"data": [1]}), path)
    with pytest.raises(SchemaDrift, match="retyped 'data'"):
        read(path, READING, FORM)


def test_a_column_of_the_envelope_has_its_own_type(tmp_path: Path) -> None:
    promised = replace(READING, columns=(Column("at", pa.string(), physical_name="$published_at"),))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, as_file(numbered(*PLAIN)), promised)
    assert caught.value.expected == "timestamptz"


def test_caps_hold(tmp_path: Path) -> None:
    path = tmp_path / "drop"
    path.write_bytes(as_file(numbered(*PLAIN)))
    for limits, reason in (({"rows": 2}, "too_many_rows"), ({"bytes": 100}, "too_large")):
        form = FileFormat("messages", caps=limits)  # type: ignore[arg-type]
        assert refusal(path, READING, form) == reason


def test_a_draft_has_the_keys_and_what_tells_a_message(tmp_path: Path) -> None:
    path = tmp_path / "drop"
    path.write_bytes(native(numbered(b'{"n": 1}', b'{"n": 2, "x": 1.5,\n"s": "a"}')))
    assert observed(path, FORM) == {
        "n": pa.int64(), "x": pa.float64(), "s": None, "$topic": pa.string(),
        "$message_id": pa.string(), "$published_at": pa.timestamp("us", "UTC"),
    }  # fmt: skip
