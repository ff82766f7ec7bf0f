"""What a change shows of its row: the new tuple, the old one, or one after the other."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.rules import as_json
from malacate.sources.cdc.pgoutput_changes import Changes


@dataclass(frozen=True)
class Images:
    """Rows on their way: their text by the source's names, and the change that each is of.

    ``is_old``: it is made of the old tuple; a deletion, or the first half of a key change.
    ``missing`` marks what an update did not send and no old tuple tells.
    """

    texts: dict[str, pa.Array]
    missing: dict[str, np.ndarray]
    op: pa.Array
    change: np.ndarray
    is_old: np.ndarray
    is_half: np.ndarray

    def raw(self, place: int) -> bytes:
        """One of them as it came."""
        columns = {"_op": self.op, **self.texts}
        return as_json(pa.RecordBatch.from_pydict(columns).slice(place, 1))


def images_of(changes: Changes, names: list[str], key: list[str]) -> Images:
    """The images of some columns; the whole row is the key of a table without one."""
    new, missing = _filled(changes, names)
    is_delete = _is(changes.op, "D")
    old = {} if changes.old is None else {n: changes.old.column(n) for n in key or names}
    moved = np.zeros(len(changes), bool)
    if old:
        differs = np.any([_differs(old[name], new[name]) for name in old], axis=0)
        moved = differs & changes.has_old & _is(changes.op, "U")
    change = np.repeat(np.arange(len(changes)), 1 + moved)
    is_half = moved[change]
    is_second = np.concatenate([[False], change[1:] == change[:-1]])[: len(change)]
    is_old = is_delete[change] | (is_half & ~is_second)
    op = changes.op if not moved.any() else changes.op.take(pa.array(change))
    if moved.any():
        op = pc.if_else(is_half, pc.if_else(is_second, "I", "D"), op)
    texts = {
        name: _image(new[name], old.get(name), change, is_old, bool(moved.any())) for name in names
    }
    sent = {name: left[change] & ~is_old for name, left in missing.items()}
    return Images(texts, sent, op, change, is_old, is_half)


def _image(
    new: pa.Array, old: pa.Array | None, change: np.ndarray, is_old: np.ndarray, spreads: bool
) -> pa.Array:
    if spreads:
        new = new.take(pa.array(change))
        old = None if old is None else old.take(pa.array(change))
    if old is None:
        return pc.if_else(is_old, pa.scalar(None, new.type), new) if spreads else new
    return pc.if_else(is_old, old, new)


def _filled(
    changes: Changes, names: list[str]
) -> tuple[dict[str, pa.Array], dict[str, np.ndarray]]:
    """New values; one that was not sent is the old tuple's, where that has it."""
    logged = {column.name for column in changes.relation.columns if column.is_key}
    values, missing = {name: changes.new.column(name) for name in names}, {}
    for name in changes.unchanged.keys() & values.keys():
        left = changes.unchanged[name]
        told = left & (changes.old_is_full | (changes.has_old & (name in logged)))
        if changes.old is not None and told.any():
            values[name] = pc.if_else(told, changes.old.column(name), values[name])
        if (left & ~told).any():
            missing[name] = left & ~told
    return values, missing


def _differs(old: pa.Array, new: pa.Array) -> np.ndarray:
    both = pc.not_equal(old, new)
    one = pc.not_equal(old.is_null(), new.is_null())
    differs: np.ndarray = marks(pc.fill_null(both, False)) | marks(one)
    return differs


def _is(op: pa.Array, letter: str) -> np.ndarray:
    return marks(pc.equal(op, letter))


def marks(found: pa.Array) -> np.ndarray:
    """Booleans without nulls, for numpy."""
    flags: np.ndarray = found.to_numpy(zero_copy_only=False)
    return flags
