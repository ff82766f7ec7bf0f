"""What a slot sends, byte by byte against a plain encoder: whatever comes is decoded or refused."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malacate.sources.cdc import pgoutput
from malacate.sources.cdc.pgoutput import Changes, Decoder, Relation, RelationColumn
from malacate.sources.cdc.pgoutput_layout import UndecodableMessage

UNCHANGED = "u"
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

SKIPPED = {"message": b"M?", "type": b"Y\0\1\0\0app\0mail\0", "origin": b"O?"}

Row = tuple[bytes | str | None, ...]
"""Text as bytes, null, or ``UNCHANGED``."""


@dataclass
class Log:
    """Messages as a server writes them, and what they say, one by one."""

    messages: list[bytes] = field(default_factory=list)
    said: list[dict[str, Any]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    lsn: int = 1 << 33

    def transaction(self, actions: list[tuple[Any, ...]]) -> None:
        self.lsn += 1000
        xid, micros, ordinal = self.lsn % (1 << 32), self.lsn // 7, 0
        self.messages.append(struct.pack(">cqqI", b"B", self.lsn - 40, micros, xid))
        for name, *told in actions:
            if name == "announce":
                self.messages.append(announced(*told))
                continue
            if name in ("message", "type", "origin"):
                self.messages.append(SKIPPED[name])
                continue
            stamp = {"commit": self.lsn, "ordinal": ordinal, "xid": xid, "at": micros}
            self._change(name, *told, stamp=stamp)
            ordinal += 1
        self.messages.append(struct.pack(">cbqqq", b"C", 0, self.lsn - 40, self.lsn, micros))
        self.ends.append(len(self.messages))

    def _change(
        self, op: str, relation: Relation, new: Row | None, old: Row | None, full: bool, stamp: Any
    ) -> None:
        if op == "T":
            body = struct.pack(">IbI", 1, 0, relation.oid)
        else:
            body = struct.pack(">I", relation.oid)
            body += b"" if old is None else (b"O" if full else b"K") + tupled(old)
            body += b"" if new is None else b"N" + tupled(new)
        self.messages.append(op.encode() + body)
        names = [column.name for column in relation.columns]
        self.said.append(
            {
                "op": op,
                "relation": relation,
                "new": dict(zip(names, map(text, new or (None,) * len(names)), strict=True)),
                "old": old and dict(zip(names, map(text, old), strict=True)),
                "full": bool(old) and full,
                "unchanged": {n for n, v in zip(names, new or (), strict=False) if v == UNCHANGED},
                **stamp,
            }
        )


def text(value: bytes | str | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else None


def tupled(row: Row) -> bytes:
    cells = (
        struct.pack(">cI", b"t", len(v)) + v
        if isinstance(v, bytes)
        else (b"u" if v == UNCHANGED else b"n")
        for v in row
    )
    return struct.pack(">h", len(row)) + b"".join(cells)


def announced(relation: Relation) -> bytes:
    names = f"{relation.namespace}\0{relation.name}\0{relation.identity}".encode()
    columns = b"".join(
        struct.pack(">b", c.is_key)
        + c.name.encode()
        + struct.pack(">bIi", 0, c.type_oid, c.modifier)
        for c in relation.columns
    )
    return (
        struct.pack(">cI", b"R", relation.oid)
        + names
        + struct.pack(">h", len(relation.columns))
        + columns
    )


def batch(messages: list[bytes]) -> pa.RecordBatch:
    lsns = pa.array(range(len(messages)), pa.int64())
    return pa.record_batch([lsns, pa.array(messages, pa.binary())], names=["lsn", "data"])


def told(found: Iterator[Changes]) -> list[dict[str, Any]]:
    """Every change by itself."""
    return [one for changes in found for one in _each(changes)]


def _each(changes: Changes) -> Iterator[dict[str, Any]]:
    new = changes.new.to_pylist()
    old = changes.old.to_pylist() if changes.old else [None] * len(changes)
    for i in range(len(changes)):
        yield {
            "op": changes.op[i].as_py(),
            "relation": changes.relation,
            "new": new[i],
            "old": old[i] if changes.has_old[i] else None,
            "full": bool(changes.old_is_full[i]),
            "unchanged": {name for name, marks in changes.unchanged.items() if marks[i]},
            "commit": int(changes.commit_lsn[i]),
            "ordinal": int(changes.ordinal[i]),
            "xid": int(changes.xid[i]),
            "at": (changes.committed_at[i].as_py() - EPOCH) // timedelta(microseconds=1),
        }


def in_order(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(said, key=lambda one: (one["commit"], one["ordinal"]))


NAMES = ("id", "ñandú", "Big Name", "d")
VALUES = st.one_of(st.none(), st.text(max_size=30).map(str.encode))


@st.composite
def relations(draw: st.DrawFn, oid: int) -> Relation:
    width = draw(st.integers(1, 4))
    columns = tuple(
        RelationColumn(name, draw(st.integers(16, 2**32 - 1)), draw(st.integers(-1, 99)), i == 0)
        for i, name in enumerate(NAMES[:width])
    )
    return Relation(oid, draw(st.sampled_from(["app", ""])), f"t{oid}", "d", columns)


@st.composite
def changes_to(draw: st.DrawFn, relation: Relation) -> tuple[Any, ...]:
    width = len(relation.columns)
    old = st.tuples(*[VALUES] * width)
    new = st.tuples(*[st.one_of(VALUES, st.just(UNCHANGED))] * width)
    op = draw(st.sampled_from("IIUUDT"))
    if op == "T":
        return (op, relation, None, None, False)
    if op == "I":
        return (op, relation, draw(old), None, False)
    before = draw(old) if op == "D" or draw(st.booleans()) else None
    return (op, relation, None if op == "D" else draw(new), before, draw(st.booleans()))


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Transactions on up to three relations, which change shape on the way."""
    log, known = Log(), dict[int, Relation]()
    oids = draw(st.lists(st.sampled_from([7, 16384, 2**32 - 1]), min_size=1, unique=True))
    for _ in range(draw(st.integers(0, 4))):
        actions: list[tuple[Any, ...]] = []
        for _ in range(draw(st.integers(0, 8))):
            oid = draw(st.sampled_from(oids))
            if oid not in known or draw(st.integers(0, 9)) == 0:
                known[oid] = draw(relations(oid))
                actions.append(("announce", known[oid]))
            elif draw(st.integers(0, 9)) == 0:
                actions.append(("announce", known[oid]))
            elif draw(st.integers(0, 9)) == 0:
                actions.append((draw(st.sampled_from(["message", "type", "origin"])),))
            actions.append(draw(changes_to(known[oid])))
        log.transaction(actions)
    return log


@given(logs(), st.integers(1, 20), st.lists(st.integers(0, 40), max_size=3))
def test_decoded_by_columns_is_decoded_one_by_one(log: Log, rows: int, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(log.messages)) for cut in cuts), len(log.messages)]
    parts = [batch(log.messages)[a:b] for a, b in pairwise(edges)]
    decoder = Decoder("slot")
    with mock.patch.object(pgoutput, "ROWS", rows):
        assert in_order(told(decoder.stream(parts))) == log.said
    assert decoder.last_commit == (log.lsn if log.messages else 0)


@given(logs())
def test_relations_that_were_announced_are_known_in_the_next_call(log: Log) -> None:
    decoder, said, first = Decoder("slot"), [], 0
    for end in log.ends:
        said += in_order(told(decoder.decode(batch(log.messages[first:end]))))
        first = end
    assert said == log.said


@given(logs(), st.data())
def test_a_message_that_is_cut_is_refused(log: Log, data: st.DataObject) -> None:
    parsed = [i for i, message in enumerate(log.messages) if message[:1] not in (b"M", b"O")]
    if not parsed:
        return
    index = data.draw(st.sampled_from(parsed))
    whole = log.messages[index]
    log.messages[index] = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(UndecodableMessage) as caught:
        told(Decoder("mine").decode(batch(log.messages)))
    assert (caught.value.source, caught.value.reason) == ("mine", "undecodable_message")
    assert caught.value.object == f"LSN 0/{index:X}"
    assert caught.value.position.startswith("byte ")


@given(logs(), st.data())
def test_bytes_that_lie_are_refused_or_another_value_but_never_a_crash(
    log: Log, data: st.DataObject
) -> None:
    if not log.messages:
        return
    index = data.draw(st.integers(0, len(log.messages) - 1))
    spoilt = bytearray(log.messages[index])
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    log.messages[index] = bytes(spoilt)
    try:
        for changes in Decoder("slot").decode(batch(log.messages)):
            assert changes.new.num_rows == len(changes)
    except UndecodableMessage:
        pass


TABLE = Relation(9, "app", "t", "d", (RelationColumn("id", 20, -1, True),))
INSERT = ("I", TABLE, (b"1",), None, False)


def begun() -> list[bytes]:
    log = Log()
    log.transaction([("announce", TABLE), INSERT])
    return log.messages


BROKEN = {
    "no end": (begun()[:-1], "without an end", 0),
    "no beginning": (begun()[1:], "outside of a transaction", 0),
    "a beginning in a transaction": (begun()[:1] + begun(), "outside of a transaction", 1),
    "a type of a later protocol": ([*begun()[:2], b"S\0\0", *begun()[2:]], "does not know", 2),
    "an empty message": ([*begun()[:2], b"", *begun()[2:]], "is empty", 2),
    "a relation nobody announced": ([begun()[0], *begun()[2:]], "was not announced", 1),
    "values in binary": (
        [*begun()[:2], begun()[2].replace(b"t\0", b"b\0"), begun()[3]], "neither text", 2,
    ),
    "another width": (
        [*begun()[:2], begun()[2].replace(b"N\0\1", b"N\0\2"), begun()[3]], "announced 1 col", 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_an_error_names_slot_lsn_and_byte(case: str) -> None:
    messages, what, index = BROKEN[case]
    with pytest.raises(UndecodableMessage, match=what) as caught:
        told(Decoder("mine").decode(batch(messages)))
    assert f"mine, LSN 0/{index:X}, byte" in str(caught.value)


def test_what_is_whole_before_a_transaction_without_end_is_given() -> None:
    log = Log()
    log.transaction([("announce", TABLE), INSERT])
    log.transaction([INSERT])
    decoder = Decoder("slot")
    found = decoder.decode(batch(log.messages[:-1]))
    assert len(next(found)) == 1
    with pytest.raises(UndecodableMessage, match="without an end"):
        next(found)
    assert decoder.last_commit == log.lsn - 1000


def test_a_truncate_of_many_tables_is_a_change_of_each() -> None:
    log, other = Log(), replace(TABLE, oid=10)
    log.transaction([("announce", TABLE), ("announce", other), INSERT])
    log.messages.insert(-1, struct.pack(">cIbII", b"T", 2, 0, 9, 10))
    log.messages.insert(-1, log.messages[3])
    found = told(Decoder("slot").decode(batch(log.messages)))
    seen = sorted((one["relation"].oid, one["ordinal"], one["op"]) for one in found)
    assert seen == [(9, 0, "I"), (9, 1, "T"), (9, 2, "I"), (10, 1, "T")]


def test_messages_outside_of_transactions_are_skipped() -> None:
    decoder = Decoder("slot")
    heartbeat = b"M\0" + struct.pack(">q", 5) + b"malacate\0" + struct.pack(">I", 0)
    assert told(decoder.decode(batch([heartbeat]))) == []
    found = told(decoder.decode(batch([heartbeat, *begun(), heartbeat])))
    assert [one["op"] for one in found] == ["I"]
    assert told(decoder.decode(batch([]))) == []


def test_a_column_of_a_domain_tells_what_is_under_it() -> None:
    log = Log()
    column = RelationColumn("mail", 1 << 16, -1, True)
    log.transaction([("type",), ("announce", replace(TABLE, columns=(column,))), INSERT])
    log.messages[3] = b"I" + struct.pack(">I", 9) + b"N" + tupled((b"a@b",))
    (changes,) = Decoder("slot").decode(batch(log.messages))
    assert changes.relation.columns == (replace(column, base="mail"),)


def test_lsns_are_named_however_they_come() -> None:
    places = [pa.array([(1 << 32) + 16]), pa.array([struct.pack(">q", (1 << 32) + 16)])]
    for lsns in places:
        messages = pa.record_batch([lsns, pa.array([b"?"], pa.binary())], names=["lsn", "data"])
        with pytest.raises(UndecodableMessage, match="LSN 1/10"):
            told(Decoder("slot").decode(messages))
    with pytest.raises(UndecodableMessage, match="LSN unknown"):
        told(Decoder("slot").decode(messages.select(["data"])))
