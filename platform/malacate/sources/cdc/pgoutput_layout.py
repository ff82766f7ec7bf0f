"""Where things stand in pgoutput's messages: bytes to numbers and Arrow text, all rows at once.

Messages lie one after another in the buffer of an Arrow array; a position is a place in that
buffer. Nothing is read beyond the end of its message.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from malacate.errors import MalacateError

KINDS = frozenset(b"BCRIUDTYOM")
_NULL, _TEXT, _UNCHANGED = b"ntu"


class UndecodableMessage(MalacateError):
    """A message of a slot is not what its protocol says; nothing of its transaction is used."""


@dataclass(frozen=True)
class RelationColumn:
    """A column as the stream announces it; ``is_key``: part of the replica identity.

    ``base`` names its type where the server did not always have it; of a domain, what is under it.
    """

    name: str
    type_oid: int
    modifier: int
    is_key: bool
    base: str = ""


@dataclass(frozen=True)
class Relation:
    """A table as it stood when its changes were made."""

    oid: int
    namespace: str
    name: str
    identity: Literal["d", "n", "f", "i"]
    columns: tuple[RelationColumn, ...]

    def __str__(self) -> str:
        return f"{self.namespace or 'pg_catalog'}.{self.name}"


class Cells(NamedTuple):
    """A column's values: where each begins, how long it is, and whether it is null or not sent."""

    begins: np.ndarray
    lengths: np.ndarray
    kinds: np.ndarray


@dataclass(frozen=True)
class Messages:
    """Some messages: their bytes, where each begins and ends, and its type byte."""

    slot: str
    data: pa.Buffer
    begins: np.ndarray
    ends: np.ndarray
    lsns: pa.Array | None
    read_at: datetime

    @classmethod
    def of(cls, slot: str, batch: pa.RecordBatch) -> "Messages":
        """The column ``data``; ``lsn`` is used in errors alone, and may be absent."""
        data = batch.column("data")
        count, first = len(data), data.offset
        _, offsets, values = data.buffers()
        edges = np.frombuffer(offsets, np.int32, count + 1, 4 * first).astype(np.int64)
        lsns = batch.column("lsn") if "lsn" in batch.schema.names else None
        return cls(
            slot, values or pa.py_buffer(b""), edges[:-1], edges[1:], lsns, datetime.now(UTC)
        )

    def __len__(self) -> int:
        return len(self.begins)

    def __getitem__(self, some: slice) -> "Messages":
        """Messages that follow one another."""
        lsns = None if self.lsns is None else self.lsns[some]
        return replace(self, begins=self.begins[some], ends=self.ends[some], lsns=lsns)

    @property
    def octets(self) -> np.ndarray:
        """The buffer, byte by byte."""
        return np.frombuffer(self.data, np.uint8)

    def kinds(self) -> np.ndarray:
        """The type byte of each; an error for one that protocol 1 does not have."""
        self.require(self.ends > self.begins, self.begins, "is empty")
        kinds: np.ndarray = self.octets[self.begins]
        known = np.isin(kinds, np.frombuffer(bytes(KINDS), np.uint8))
        self.require(known, self.begins, "has a type that protocol 1 does not know")
        return kinds

    def require(
        self, good: np.ndarray, at: np.ndarray, what: str, which: np.ndarray | None = None
    ) -> None:
        """Raise for the first message that is not ``good``; ``which`` are those looked at."""
        if good.all():
            return
        worst = int(np.argmin(good))
        index = worst if which is None else int(which[worst])
        raise self.error(index, int(at[worst]), what)

    def error(self, index: int, at: int, what: str) -> UndecodableMessage:
        """What is wrong with a message, where it stands and which byte tells."""
        begin, end = int(self.begins[index]), int(self.ends[index])
        found = self.data.slice(at, 1).to_pybytes() if begin <= at < end else b""
        return UndecodableMessage(
            f"a message of the replication slot {what}",
            "Nothing was taken from its transaction and the slot was not advanced. If it comes "
            "again, the server speaks another version of pgoutput: report it with this message.",
            source=self.slot,
            object=f"LSN {_lsn(self.lsns, index)}",
            position=f"byte {at - begin} of {end - begin}",
            actual=f"{found!r}" if found else "the end of the message",
            reason="undecodable_message",
        )

    def numbers(self, at: np.ndarray, width: int, which: np.ndarray | None = None) -> np.ndarray:
        """Signed big-endian numbers of ``width`` bytes at the positions."""
        ends = self.ends if which is None else self.ends[which]
        self.require(at + width <= ends, at, "is cut short", which)
        return _numbers(self.octets, at, width)

    def tuples(
        self, at: np.ndarray, columns: int, which: np.ndarray
    ) -> tuple[list[Cells], np.ndarray]:
        """Rows of ``columns`` values that begin at the positions, and where each ends."""
        ends, data = self.ends[which], self.octets
        counted = self.numbers(at, 2, which)
        self.require(counted == columns, at, f"has not the announced {columns} columns", which)
        cells, at = [], at + 2
        for _ in range(columns):
            self.require(at < ends, at, "is cut short", which)
            kinds = data[at]
            is_text = kinds == _TEXT
            plain = is_text | (kinds == _NULL) | (kinds == _UNCHANGED)
            self.require(plain, at, "has a value that is neither text, null nor unchanged", which)
            self.require(~is_text | (at + 5 <= ends), at, "is cut short", which)
            lengths = _numbers(data, np.minimum(at + 1, len(data) - 4), 4)
            lengths = np.where(is_text, lengths, 0).astype(np.int64)
            begins = at + np.where(is_text, 5, 1)
            fits = (lengths >= 0) & (begins + lengths <= ends)
            self.require(fits, at, "has a value longer than itself", which)
            cells.append(Cells(begins, lengths, kinds))
            at = begins + lengths
        return cells, at

    def relation(self, index: int, types: Mapping[int, str]) -> Relation:
        """What an R message announces; ``types`` are those that were announced before."""
        try:
            return _relation(self._text(index), types)
        except (IndexError, ValueError) as error:
            at = int(self.ends[index])
            raise self.error(index, at, "announces a table and is cut short") from error

    def named_type(self, index: int) -> tuple[int, str]:
        """The number and the name that a Y message announces."""
        text = self._text(index)
        names = text[5:].split(b"\0")
        if len(names) != 3 or names[2]:
            raise self.error(index, int(self.ends[index]), "announces a type and is cut short")
        return int.from_bytes(text[1:5]), names[1].decode("utf-8", "backslashreplace")

    def _text(self, index: int) -> bytes:
        begin, end = int(self.begins[index]), int(self.ends[index])
        text: bytes = self.data.slice(begin, end - begin).to_pybytes()
        return text


def _numbers(data: np.ndarray, at: np.ndarray, width: int) -> np.ndarray:
    """Read through a view that has a number at every byte."""
    count = max(len(data) - width + 1, 0)
    every = np.ndarray((count,), f">i{width}", data, strides=(1,))
    found: np.ndarray = every[at].astype(np.int64)
    return found


def _relation(text: bytes, types: Mapping[int, str]) -> Relation:
    at = 5
    names = []
    for _ in range(2):
        end = text.index(0, at)
        names.append(text[at:end].decode("utf-8", "backslashreplace"))
        at = end + 1
    identity, count = chr(text[at]), int.from_bytes(text[at + 1 : at + 3])
    at += 3
    columns = []
    for _ in range(count):
        end = text.index(0, at + 1)
        name = text[at + 1 : end].decode("utf-8", "backslashreplace")
        kind, modifier = text[end + 1 : end + 5], text[end + 5 : end + 9]
        number, oid = int.from_bytes(modifier, signed=True), int.from_bytes(kind)
        is_key = bool(text[at] & 1)
        columns.append(RelationColumn(name, oid, number, is_key, types.get(oid, "")))
        at = end + 9
    if at != len(text) or identity not in "dnfi":
        raise ValueError(identity)
    oid = int.from_bytes(text[1:5])
    return Relation(oid, names[0], names[1], identity, tuple(columns))  # type: ignore[arg-type]


def _lsn(lsns: pa.Array | None, index: int) -> str:
    value: Any = None if lsns is None else getattr(lsns, "storage", lsns)[index].as_py()
    if isinstance(value, bytes):
        value = int.from_bytes(value)
    if isinstance(value, int):
        return f"{value >> 32:X}/{value & 0xFFFFFFFF:X}"
    return str(value or "unknown")


def strings(data: pa.Buffer, cells: Cells) -> pa.Array:
    """The values as text that was not checked yet; null where there is none.

    Seen as one array of values and of what lies between them, the values are every second one.
    """
    count = len(cells.begins)
    edges = np.empty(2 * count + 1, np.int32)
    edges[0:-1:2] = cells.begins
    edges[1::2] = cells.begins + cells.lengths
    edges[-1] = edges[-2] if count else 0
    both = pa.Array.from_buffers(pa.string(), 2 * count, [None, pa.py_buffer(edges), data])
    is_null = cells.kinds != _TEXT
    places = np.arange(0, 2 * count, 2, dtype=np.int32)
    return both.take(pa.array(places, mask=is_null if is_null.any() else None))


def unchanged(cells: Cells) -> np.ndarray:
    """Which values were not sent, because the change left them as they were."""
    marked: np.ndarray = cells.kinds == _UNCHANGED
    return marked
