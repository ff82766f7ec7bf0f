"""What a Postgres slot sends (pgoutput, protocol 1), as columns of text per relation.

``peek`` asks for the messages, in a session of ``pinned``; ``Decoder`` reads them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from malacate.sources.cdc.pgoutput_changes import Changes, Stamps, changed, truncated
from malacate.sources.cdc.pgoutput_layout import (
    Messages,
    Relation,
    RelationColumn,
    UndecodableMessage,
)

__all__ = ["Changes", "Decoder", "Relation", "RelationColumn", "UndecodableMessage", "peek",
           "pinned"]  # fmt: skip

ROWS = 16_384
"""Messages that are decoded at a time, so that what is looked at stays in the processor's cache."""

_POSTGRES_EPOCH = 946_684_800_000_000
_SETTINGS = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}
_B, _C, _R, _I, _U, _D, _T, _M, _Y = b"BCRIUDTMY"


def pinned(url: str) -> str:
    """``url`` for sessions that print values in one way, whatever the database is set to.

    A slot's changes are printed by the session that reads them. Snapshots take it as well: ranges,
    intervals and arrays are text there too. An encoding that the URL itself names is kept: a
    SQL_ASCII database needs ``client_encoding=sql_ascii`` if it holds bytes that are no UTF-8.
    """
    given = conninfo_to_dict(url)
    ours = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
    options = f"{given.get('options') or ''} {ours}".strip()
    encoding = given.get("client_encoding") or "utf8"
    return make_conninfo(url, options=options, client_encoding=encoding)


def peek(
    slot: str, publications: Iterable[str], upto_changes: int | None = None, upto_lsn: int = 0
) -> str:
    """The statement that shows what the slot holds, and leaves it there.

    Whole transactions come until there are ``upto_changes``, or those that ended by ``upto_lsn``.
    """
    names = ",".join('"' + name.replace('"', '""') + '"' for name in publications)
    lsn = f"{upto_lsn >> 32:X}/{upto_lsn & 0xFFFFFFFF:X}" if upto_lsn else None
    return (
        sql.SQL(
            "select lsn, data from pg_logical_slot_peek_binary_changes({}, {}::pg_lsn, {}, "
            "'proto_version', '1', 'publication_names', {}, 'messages', 'true')"
        )
        .format(*(sql.Literal(value) for value in (slot, lsn, upto_changes, names)))
        .as_string()
    )


@dataclass
class Decoder:
    """Keeps the relations and types that were announced: the server sends each once a session."""

    slot: str
    relations: dict[int, Relation] = field(default_factory=dict)
    types: dict[int, str] = field(default_factory=dict)
    last_commit: int = 0

    def decode(self, messages: pa.RecordBatch) -> Iterator[Changes]:
        """Changes of whole transactions; ``UndecodableMessage`` if the last has no end."""
        yield from self.stream([messages])

    def stream(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Changes]:
        """The same from batches that may end in the middle of a transaction, except the last.

        A transaction is decoded once all of it came.
        """
        waiting: list[tuple[Messages, np.ndarray]] = []
        for batch in batches:
            messages = Messages.of(self.slot, batch)
            kinds = messages.kinds()
            commits = np.flatnonzero(kinds == _C)
            end = int(commits[-1]) + 1 if commits.size else 0
            if end:
                yield from self._transactions([*waiting, (messages[:end], kinds[:end])])
                waiting = []
            waiting.append((messages[end:], kinds[end:]))
        for messages, kinds in waiting:
            messages.require(kinds == _M, messages.ends, "belongs to a transaction without an end")

    def _transactions(self, parts: list[tuple[Messages, np.ndarray]]) -> Iterator[Changes]:
        stamps = _stamps(parts)
        self.last_commit = int(stamps.commit_lsn[-1])
        first = 0
        for messages, kinds in parts:
            for low in range(0, len(messages), ROWS):
                some = slice(low, min(low + ROWS, len(messages)))
                theirs = stamps.at(slice(first + some.start, first + some.stop))
                yield from self._chunk(messages[some], kinds[some], theirs)
            first += len(messages)

    def _chunk(self, messages: Messages, kinds: np.ndarray, stamps: Stamps) -> Iterator[Changes]:
        rows = np.flatnonzero((kinds == _I) | (kinds == _U) | (kinds == _D))
        oids = messages.numbers(messages.begins[rows] + 1, 4, rows) & 0xFFFFFFFF
        emptied = {int(i): _truncated(messages, int(i)) for i in np.flatnonzero(kinds == _T)}
        self.types.update(messages.named_type(int(i)) for i in np.flatnonzero(kinds == _Y))
        announced = [
            (int(i), messages.relation(int(i), self.types)) for i in np.flatnonzero(kinds == _R)
        ]
        breaks: dict[int, list[tuple[int, Relation | None]]] = defaultdict(list)
        for index, relation in announced:
            breaks[relation.oid].append((index, relation))
        for index, others in emptied.items():
            for oid in others:
                breaks[oid].append((index, None))
        groups: list[tuple[int, Changes]] = []
        for oid in {*np.unique(oids).tolist(), *breaks}:
            mine, theirs = rows[oids == oid], sorted(breaks[oid], key=lambda b: b[0])
            groups += self._versions(oid, mine, theirs, messages, stamps)
        for _, changes in sorted(groups, key=lambda group: group[0]):
            yield changes

    def _versions(
        self,
        oid: int,
        rows: np.ndarray,
        breaks: list[tuple[int, Relation | None]],
        messages: Messages,
        stamps: Stamps,
    ) -> Iterator[tuple[int, Changes]]:
        """Changes of one relation between the messages that announce or truncate it."""
        for place, announced in [*breaks, (len(messages), None)]:
            if announced is not None and announced == self.relations.get(oid):
                continue
            before, rows = rows[rows < place], rows[rows > place]
            if before.size:
                known = self._known(oid, messages, int(before[0]))
                yield int(before[0]), changed(known, messages, before, stamps.at(before))
            if announced is not None:
                self.relations[oid] = announced
            elif place < len(messages):
                known = self._known(oid, messages, place)
                yield place, truncated(known, messages, stamps.at(slice(place, place + 1)))

    def _known(self, oid: int, messages: Messages, index: int) -> Relation:
        if oid in self.relations:
            return self.relations[oid]
        at = int(messages.begins[index]) + 1
        raise messages.error(index, at, f"is about relation {oid}, which was not announced")


def _stamps(parts: list[tuple[Messages, np.ndarray]]) -> Stamps:
    """Check that transactions begin and end in turn; tell each message's commit."""
    kinds = np.concatenate([kinds for _, kinds in parts])
    begins, ends = np.flatnonzero(kinds == _B), np.flatnonzero(kinds == _C)
    each = np.arange(len(kinds))
    mine = np.searchsorted(ends, each)
    inside = (np.searchsorted(begins, each, "right") == mine + 1) | (kinds == _M)
    first = 0
    for messages, own in parts:
        sound = inside[first : first + len(own)]
        messages.require(sound, messages.begins, "is outside of a transaction")
        first += len(own)
    commits = [_fields(m, own == _C, (10, 18)) for m, own in parts]
    starts = [_fields(m, own == _B, (17,)) for m, own in parts]
    lsn, micros = (np.concatenate(found) for found in zip(*commits, strict=True))
    xid = np.concatenate([found[0] for found in starts])
    data = np.isin(kinds, np.frombuffer(b"IUDT", np.uint8))
    counted = np.cumsum(data)
    ordinal = counted - 1 - counted[begins][mine]
    return Stamps(lsn[mine], micros[mine] + _POSTGRES_EPOCH, xid[mine] & 0xFFFFFFFF, ordinal)


def _fields(messages: Messages, which: np.ndarray, places: tuple[int, ...]) -> list[np.ndarray]:
    rows = np.flatnonzero(which)
    width = {10: 8, 18: 8, 17: 4}
    return [messages.numbers(messages.begins[rows] + p, width[p], rows) for p in places]


def _truncated(messages: Messages, index: int) -> list[int]:
    which = np.array([index])
    begin, end = messages.begins[which], messages.ends[which]
    count = messages.numbers(begin + 1, 4, which)
    messages.require(begin + 6 + 4 * count == end, begin + 1, "has another length", which)
    at = int(begin[0]) + 6 + 4 * np.arange(count[0])
    oids = messages.numbers(at, 4, np.full(len(at), index))
    return [int(oid) & 0xFFFFFFFF for oid in oids]
