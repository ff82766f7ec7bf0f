"""Changes of a slot as rows of a table's log: contract types, envelope, key changes in two.

A deletion carries its key alone: whatever else the row held, it is gone.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.contracts.changes import ROW_HASH
from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.drift import Alignment, align
from malacate.contracts.table import Column, Table
from malacate.errors import SourceGap
from malacate.sources.cdc.pgoutput_changes import Changes
from malacate.sources.cdc.pgoutput_images import Images, images_of, marks
from malacate.sources.cdc.pgoutput_layout import Relation
from malacate.sources.cdc.pgoutput_types import Refusals, cast, catalog_of, native
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.databases_postgres import delivered


def alignment(relation: Relation, table: Table) -> Alignment:
    """Where each contract column comes from; ``SchemaDrift`` if the relation has become another."""
    kinds = {name: column.type for name, column in catalog_of(relation).items()}
    return align(table, kinds, str(relation))


def rows(changes: Changes, table: Table, log: Table, first: int = 0) -> Iterator[Chunk]:
    """The rows of ``log`` that the changes are, and those that do not fit.

    ``table`` is as its contract has it, ``log`` what ``changes_of(keyed(table))`` makes of it;
    ``first`` is the place of the first row in its batch. Raises ``SchemaDrift``, and ``SourceGap``
    where the replica identity lacks the key.
    """
    sources = alignment(changes.relation, table).sources
    wanted = {name: table.by_name[ours] for ours, name in sources.items() if name is not None}
    key = [name for name, column in wanted.items() if column.name in table.key]
    _require_identity(changes, table, key)
    images = images_of(changes, list(wanted), key)
    typed, places, refused = _typed(images, changes.relation, wanted)
    _refuse_keyless(images, typed, places, table, refused)
    if refused:
        good = np.isin(places, np.fromiter(refused, np.int64), invert=True)
        typed, places = typed.filter(pa.array(good)), places[good]
    if not table.key:
        typed = _hashed(images, typed, places)
    told = _envelope(changes, images, wanted, first)
    arrays = [_column(c, typed, told, places) for c in log.columns]
    batch = pa.RecordBatch.from_arrays(arrays, names=log.schema.names)
    rejects = [Reject(first + i, *why, images.raw(i)) for i, why in sorted(refused.items())]
    yield Chunk(batch, rejects, (first + places).tolist() if rejects else None)


def _require_identity(changes: Changes, table: Table, key: list[str]) -> None:
    if not pc.any(pc.is_in(changes.op, pa.array(["U", "D"]))).as_py():
        return
    relation = changes.relation
    logged = {column.name for column in relation.columns if column.is_key}
    if len(key) == len(table.key) and logged.issuperset(key) and (key or relation.identity == "f"):
        return
    raise SourceGap(
        "updates and deletes come without the old key of their rows",
        f"Run at the source: alter table {relation} replica identity full; then read a new "
        "snapshot, because earlier changes cannot be told apart.",
        source=str(table.name),
        object=str(relation),
        expected=f"a replica identity with {', '.join(key) or 'every column'}",
        actual=f"identity {relation.identity!r} with {', '.join(sorted(logged)) or 'no column'}",
        reason="replica_identity",
    )


def _typed(
    images: Images, relation: Relation, wanted: Mapping[str, Column]
) -> tuple[pa.RecordBatch, np.ndarray, Refusals]:
    """The rows that the contract's types hold, the place of each, and why the others do not fit."""
    columns = catalog_of(relation)
    batch, refused = native(cast(relation, images.texts), columns, wanted)
    (chunk,) = delivered(batch, columns, wanted)
    for reject in chunk.rejects:
        refused.setdefault(reject.position, (reject.reason, reject.detail))
    every = np.arange(len(images.op))
    places = every if chunk.positions is None else np.asarray(chunk.positions, np.int64)
    return chunk.rows, places, refused


def _refuse_keyless(
    images: Images, typed: pa.RecordBatch, places: np.ndarray, table: Table, refused: Refusals
) -> None:
    is_truncate = marks(pc.equal(images.op, "T"))[places]
    for name in table.key:
        is_there = name in typed.schema.names
        lacks = marks(typed.column(name).is_null()) if is_there else np.ones(len(places), bool)
        for place in places[lacks & ~is_truncate].tolist():
            refused.setdefault(place, ("no_key", f"{name} is the key and null"))


def _hashed(images: Images, typed: pa.RecordBatch, places: np.ndarray) -> pa.RecordBatch:
    """With the hash that is the key; the rest of a deleted row was only needed for that."""
    is_truncate = marks(pc.equal(images.op, "T"))[places]
    hashes = pc.if_else(is_truncate, pa.scalar(None, pa.string()), row_hash(typed))
    is_old = images.is_old[places]
    columns = {
        name: pc.if_else(is_old, pa.scalar(None, values.type), values) if is_old.any() else values
        for name, values in zip(typed.schema.names, typed.columns, strict=True)
    }
    return pa.RecordBatch.from_pydict({**columns, ROW_HASH.name: hashes})


def _envelope(
    changes: Changes, images: Images, wanted: Mapping[str, Column], first: int
) -> dict[str, pa.Array | pa.Scalar]:
    """The change columns of every image."""
    lsn = changes.commit_lsn[images.change]
    seq = pa.array(2 * changes.ordinal[images.change] + (images.is_half & ~images.is_old))
    identity = (changes.slot, pa.array(lsn).cast(pa.string()), seq.cast(pa.string()), ":")
    return {
        "_op": images.op,
        "_is_key_change": pa.array(images.is_half),
        "_position_hi": pa.array(lsn >> 32),
        "_position_lo": pa.array(lsn & 0xFFFFFFFF),
        "_seq": seq,
        "_is_snapshot": pa.scalar(False),
        "_source_at": changes.committed_at.take(pa.array(images.change)),
        "_read_at": pa.scalar(changes.read_at, pa.timestamp("us", "UTC")),
        "_event_id": pc.binary_join_element_wise(*identity),
        "_file": pa.scalar(changes.slot),
        "_file_row": pa.array(np.arange(first, first + len(images.op))),
        "_missing": _missing(images, wanted),
    }


def _missing(images: Images, wanted: Mapping[str, Column]) -> pa.Array | pa.Scalar:
    nothing = pa.scalar(None, pa.string())
    if not images.missing:
        return nothing
    left = [(images.missing[name], wanted[name].name) for name in wanted if name in images.missing]
    names = pc.binary_join_element_wise(*(pc.if_else(m, f",{n}", "") for m, n in left), "", "")
    return pc.if_else(
        np.any([m for m, _ in left], axis=0), pc.utf8_slice_codeunits(names, 1), nothing
    )


def _column(
    column: Column,
    typed: pa.RecordBatch,
    told: Mapping[str, pa.Array | pa.Scalar],
    places: np.ndarray,
) -> pa.Array:
    if column.name in typed.schema.names:
        return typed.column(column.name)
    values = told.get(column.name, pa.scalar(None, column.type))
    if isinstance(values, pa.Scalar):
        return pa.repeat(values, len(places))
    return values if len(values) == len(places) else values.take(pa.array(places))
