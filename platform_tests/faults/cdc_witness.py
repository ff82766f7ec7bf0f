"""What a slot that nobody reads from tells of a database: every change, message by message.

Read in the plainest way, from the protocol's description, so that it errs where the product does
not.
"""

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from platform_tests.faults.cdc_mine import PUBLICATION, Mine

Event = tuple[int, int, str, tuple[str, ...]]
"""End of its commit, place in it, letter, key: what the log holds once."""

Cells = list[str | None]


def witnessed(mine: Mine, keys: Mapping[str, Sequence[str]]) -> dict[str, list[Event]]:
    """The events of each table, in the order of their commits; ``keys`` by table."""
    query = (
        "select data from pg_logical_slot_peek_binary_changes(%s, null, null, "
        "'proto_version', '1', 'publication_names', %s)"
    )
    reader = _Reader(keys)
    for (data,) in mine.ask(query, mine.witness, PUBLICATION):
        reader.take(bytes(data))
    return reader.events


class _Reader:
    """Messages as they come; the end of a commit is known once all of it came."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self.keys, self.columns, self.names = keys, dict[int, list[str]](), dict[int, str]()
        self.events: dict[str, list[Event]] = defaultdict(list)
        self.open: list[tuple[str, int, str, tuple[str, ...]]] = []
        self.ordinal = 0

    def take(self, data: bytes) -> None:
        kind = data[:1].decode()
        if kind == "B":
            self.open, self.ordinal = [], 0
        elif kind == "C":
            (end,) = struct.unpack_from(">Q", data, 10)
            for table, seq, op, key in self.open:
                self.events[table].append((end, seq, op, key))
        elif kind == "R":
            self._relation(data)
        elif kind in "IUD":
            self._change(kind, data)
            self.ordinal += 1
        elif kind == "T":
            (count,) = struct.unpack_from(">I", data, 1)
            for (oid,) in struct.iter_unpack(">I", data[6 : 6 + 4 * count]):
                self.open.append((self.names[oid], 2 * self.ordinal, "T", ()))
            self.ordinal += 1

    def _relation(self, data: bytes) -> None:
        (oid,) = struct.unpack_from(">I", data, 1)
        schema, name, rest = data[5:].split(b"\0", 2)
        (count,) = struct.unpack_from(">H", rest, 1)
        names, at = [], 3
        for _ in range(count):
            end = rest.index(b"\0", at + 1)
            names.append(rest[at + 1 : end].decode())
            at = end + 9
        self.names[oid] = f"{schema.decode()}.{name.decode()}"
        self.columns[oid] = names

    def _change(self, kind: str, data: bytes) -> None:
        (oid,) = struct.unpack_from(">I", data, 1)
        at, tuples = 5, dict[str, Cells]()
        while at < len(data):
            letter = data[at : at + 1].decode()
            tuples[letter], at = _cells(data, at + 1)
        old, new = tuples.get("K", tuples.get("O")), tuples.get("N")
        before, after = self._key(oid, old), self._key(oid, new)
        name, seq = self.names[oid], 2 * self.ordinal
        if kind == "U" and before is not None and before != after:
            self.open += [(name, seq, "D", before), (name, seq + 1, "I", after or ())]
        else:
            self.open.append((name, seq, kind, (before if kind == "D" else after) or ()))

    def _key(self, oid: int, cells: Cells | None) -> tuple[str, ...] | None:
        if cells is None:
            return None
        row: dict[str, Any] = dict(zip(self.columns[oid], cells, strict=True))
        return tuple(row[name] for name in self.keys[self.names[oid]])


def _cells(data: bytes, at: int) -> tuple[Cells, int]:
    (count,) = struct.unpack_from(">H", data, at)
    cells, at = Cells(), at + 2
    for _ in range(count):
        if data[at : at + 1] == b"t":
            (size,) = struct.unpack_from(">I", data, at + 1)
            cells.append(data[at + 5 : at + 5 + size].decode())
            at += 5 + size
        else:
            cells.append(None)
            at += 1
    return cells, at
