"""Changes of a relation as columns: the tuples of its messages beside what their commit says."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from malacate.sources.cdc.pgoutput_layout import Cells, Messages, Relation, strings, unchanged

_I, _D, _N, _K, _O = b"IDNKO"


@dataclass(frozen=True)
class Changes:
    """Changes of one version of one relation, in their order; every array has a place per change.

    ``new`` and ``old`` hold text as Postgres prints it (its encoding is not checked yet), null for
    SQL's null, and rows of nulls where there is no such tuple. ``unchanged`` marks values of
    ``new`` that were not sent; it has only the columns with any. ``old`` has the replica identity,
    or the whole row where ``old_is_full``. ``commit_lsn`` is the end of the commit, ``ordinal``
    the change's place in its transaction, from 0.
    """

    relation: Relation
    op: pa.Array
    new: pa.RecordBatch
    unchanged: dict[str, np.ndarray]
    old: pa.RecordBatch | None
    has_old: np.ndarray
    old_is_full: np.ndarray
    commit_lsn: np.ndarray
    ordinal: np.ndarray
    committed_at: pa.Array
    xid: np.ndarray
    slot: str
    read_at: datetime

    def __len__(self) -> int:
        return len(self.op)


class Stamps(NamedTuple):
    """Of each message: the end of its commit, when that was, its transaction, its place in it."""

    commit_lsn: np.ndarray
    committed_at: np.ndarray
    xid: np.ndarray
    ordinal: np.ndarray

    def at(self, some: slice | np.ndarray) -> "Stamps":
        """Of some of the messages."""
        lsn, when, xid, ordinal = (values[some] for values in self)
        return Stamps(lsn, when, xid, ordinal)

    def told(self, messages: Messages) -> dict[str, Any]:
        """What ``Changes`` say of their transactions and of how they came."""
        when = pa.array(self.committed_at).view(pa.timestamp("us", "UTC"))
        return {
            "commit_lsn": self.commit_lsn,
            "ordinal": self.ordinal,
            "committed_at": when,
            "xid": self.xid,
            "slot": messages.slot,
            "read_at": messages.read_at,
        }


def changed(relation: Relation, messages: Messages, rows: np.ndarray, stamps: Stamps) -> Changes:
    """All rows of one version of a relation, column by column."""
    kinds = messages.octets[messages.begins[rows]]
    at, width = messages.begins[rows] + 5, len(relation.columns)
    messages.require(at < messages.ends[rows], at, "is cut short", rows)
    leads = messages.octets[at]
    has_old, is_full = (leads == _K) | (leads == _O), leads == _O
    fits = np.where(kinds == _I, leads == _N, np.where(kinds == _D, has_old, True))
    messages.require(fits, at, "has the wrong tuples for its type", rows)
    old = None
    if has_old.any():
        cells, end = messages.tuples(at[has_old] + 1, width, rows[has_old])
        messages.require(~np.any([unchanged(c) for c in cells], axis=0), end,
                         "has an old value that was not sent", rows[has_old])  # fmt: skip
        old = _aligned(messages, relation, cells, has_old, rows)
        at = at.copy()
        at[has_old] = end
    has_new = kinds != _D
    new, marked = _new(messages, relation, rows, at, has_new)
    op = pa.array(kinds.view("S1")).cast(pa.string())
    told = stamps.told(messages)
    return Changes(relation, op, new, marked, old, has_old, is_full, **told)


def _new(
    messages: Messages, relation: Relation, rows: np.ndarray, at: np.ndarray, has_new: np.ndarray
) -> tuple[pa.RecordBatch, dict[str, np.ndarray]]:
    which, begins = rows[has_new], at[has_new]
    messages.require(begins < messages.ends[which], begins, "is cut short", which)
    messages.require(messages.octets[begins] == _N, begins, "has no new tuple", which)
    cells, end = messages.tuples(begins + 1, len(relation.columns), which)
    ends = at.copy()
    ends[has_new] = end
    messages.require(ends == messages.ends[rows], ends, "is longer than its values", rows)
    marked = {}
    for column, found in zip(relation.columns, cells, strict=True):
        left = unchanged(found)
        if left.any():
            marked[column.name] = np.zeros(len(rows), bool)
            marked[column.name][has_new] = left
    return _aligned(messages, relation, cells, has_new, rows), marked


def _aligned(
    messages: Messages,
    relation: Relation,
    columns: list[Cells],
    which: np.ndarray,
    rows: np.ndarray,
) -> pa.RecordBatch:
    """The columns as text with a place for every row; those without such a tuple are null."""
    if not which.all():
        columns = [_spread(cells, which, messages.begins[rows]) for cells in columns]
    arrays = [strings(messages.data, cells) for cells in columns]
    return _batch(relation, arrays, len(rows))


def _spread(cells: Cells, which: np.ndarray, begins: np.ndarray) -> Cells:
    places, lengths = begins.copy(), np.zeros(len(begins), np.int64)
    kinds = np.full(len(begins), ord("n"), np.uint8)
    places[which], lengths[which], kinds[which] = cells
    return Cells(places, lengths, kinds)


def _batch(relation: Relation, arrays: list[pa.Array], count: int) -> pa.RecordBatch:
    names = [column.name for column in relation.columns]
    if arrays:
        return pa.RecordBatch.from_arrays(arrays, names=names)
    return pa.RecordBatch.from_struct_array(pa.array([{}] * count, pa.struct([])))


def truncated(relation: Relation, messages: Messages, stamps: Stamps) -> Changes:
    """The one change that empties a relation."""
    none = np.zeros(1, bool)
    new = _batch(relation, [pa.nulls(1, pa.string()) for _ in relation.columns], 1)
    told = stamps.told(messages)
    return Changes(relation, pa.array(["T"]), new, {}, None, none, none, **told)
