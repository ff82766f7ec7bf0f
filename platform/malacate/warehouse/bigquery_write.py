"""The one script that makes publications visible in BigQuery: claims first, rows, then markers.

Every value in it is an identity of ours or of the asset's partition; what came with the data is
in the claims, bound when they were made. A statement that calls ``error`` ends the script, and
with it the transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import pyarrow as pa

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.names import TableName, quote
from malacate.warehouse.bigquery_derived import Derived
from malacate.warehouse.bigquery_spans import Span, pruned
from malacate.warehouse.bigquery_tables import MARKER_COLUMNS
from malacate.warehouse.bigquery_types import literal
from malacate.warehouse.protocol import BATCH_COLUMN, Partition, Publication


@dataclass(frozen=True)
class Staged:
    """A publication whose files are loaded: the tables that its rows, keys and rejects are in.

    ``older`` are the batches that it takes the place of, ``whole`` those that were the whole table,
    ``spans`` where the rows of both are. ``span`` is where its own rows are, ``room`` where those
    may be that it replaces by key or by partition; empty if that was not looked up.
    """

    this: Publication
    rows: str
    keys: str = ""
    rejects: str = ""
    older: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    spans: Mapping[str, Span | None] = field(default_factory=dict)
    span: Span | None = None
    room: tuple[Span | None, ...] = ()

    @property
    def batch_id(self) -> str:
        """Its batch."""
        return self.this.landing.batch_id


def script(claim: str, seen: Mapping[TableName, int], staged: Sequence[Staged]) -> str:
    """All of it as one transaction; ``seen`` is how many markers each table had when decided."""
    ours = f"claim = {literal(claim)}"
    claimed = f"select count(*) = {len(staged)} from malacate.claims where {ours}"
    statements = [
        "begin transaction",
        f"update malacate.claims set state = 'loaded' where {ours} and state = 'claimed'",
        _require("fenced", f"{claimed} and state = 'loaded'"),
        *(_require("moved", f"select count(*) = {number} from malacate.loads where {_of(name)}")
          for name, number in seen.items()),
        *_rows(staged),
        *_quarantine(staged),
        *_markers(ours, staged),
        "commit transaction",
    ]  # fmt: skip
    return ";\n".join(statements) + ";"


def _require(reason: str, holds: str) -> str:
    return f"select if(({holds}), 0, error('malacate: {reason}'))"


def _rows(staged: Sequence[Staged]) -> Iterable[str]:
    for (_, derives, _), some in groupby(
        sorted(staged, key=lambda one: str(one.this.table.name)),
        key=lambda one: (one.this.table.name, one.this.derives, one.this.mode),
    ):
        group = list(some)
        table = group[0].this.table
        if derives is None:
            yield from _written(table, group)
            continue
        older = _older(group)
        spans = [next((one.spans[x] for one in group if x in one.spans), None) for x in older]
        derived = Derived(table, derives, [*spans, *(one.span for one in group)])
        yield from derived.touched(older)
        yield from _written(table, group)
        yield from derived.renewed([one.batch_id for one in group])


def _written(table: Table, group: list[Staged]) -> Iterable[str]:
    name, mode = table.name.sql("bigquery"), group[0].this.mode
    if mode is WriteMode.SNAPSHOT:
        yield f"delete from {name} where true"
        yield _inserted(table, group[-1:])
        return
    if gone := {*group[0].whole, *(_older(group) if mode is WriteMode.APPEND else ())}:
        spans = {batch: span for one in group for batch, span in one.spans.items()}
        where = pruned(table, [spans.get(batch) for batch in gone])
        yield f"delete from {name} where {_in(BATCH_COLUMN, sorted(gone))}{where}"
    if mode is WriteMode.APPEND:
        yield _inserted(table, _newest(group))
        return
    for one in group:
        yield from _room(one)
        yield _inserted(table, [one])


def _older(group: Iterable[Staged]) -> list[str]:
    return sorted({batch for one in group for batch in one.older})


def _newest(group: list[Staged]) -> list[Staged]:
    """Without those that a later one of the same call replaces."""
    last = {(one.this.table.name, one.this.landing.object): one.batch_id for one in group}
    newest = set(last.values())
    return [one for one in group if not one.this.replaces_older or one.batch_id in newest]


def _room(one: Staged) -> Iterable[str]:
    table = one.this.table
    name, room = table.name.sql("bigquery"), pruned(table, one.room)
    if one.this.mode is WriteMode.PARTITION and one.this.partition is not None:
        is_of = one.this.partition.column == table.partitioned_by
        yield f"delete from {name} where {within(one.this.partition)}{'' if is_of else room}"
        return
    same = pruned(table, [one.span]) if table.keeps_partition else room
    yield f"delete from {name} where {_has_key_in(table, one.rows)}{same}"
    if one.keys:
        yield f"delete from {name} where {_lacks_key_in(table, one.keys)}{room}"


def is_replaced(one: Staged) -> str:
    """The condition of the rows that a publication by key or partition replaces or ends."""
    table = one.this.table
    if one.this.partition is not None:
        return within(one.this.partition)
    lacks = f" or {_lacks_key_in(table, one.keys)}" if one.keys else ""
    return f"{_has_key_in(table, one.rows)}{lacks}"


def _has_key_in(table: Table, rows: str) -> str:
    return f"{_key(table)} in (select {_key(table)} from {rows})"


def _lacks_key_in(table: Table, rows: str) -> str:
    return f"({_has_key_in(table, rows)}) is not true"


def _key(table: Table) -> str:
    """One value for all of a key, in which null equals null: the columns as they are, for these
    are what BigQuery joins by, but for those that may be null, or whose values do not compare.
    """
    parts = [_comparable(table.by_name[name]) for name in table.key]
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _comparable(column: Column) -> str:
    name = quote(column.name, "bigquery")
    is_odd = pa.types.is_floating(column.type) or pa.types.is_nested(column.type)
    return name if column.required and not is_odd else f"to_json_string({name})"


def _inserted(table: Table, group: list[Staged]) -> str:
    columns = ", ".join(quote(column.name, "bigquery") for column in table.columns)
    rows = " union all ".join(
        f"select {columns}, {literal(one.batch_id)} from {one.rows}" for one in group
    )
    return f"insert into {table.name.sql('bigquery')} ({columns}, {BATCH_COLUMN}) {rows}"


def _quarantine(staged: Sequence[Staged]) -> Iterable[str]:
    """Rejects of the batches, in place of those of older versions of the same objects."""
    replacing = [one for one in staged if one.this.mode is not WriteMode.UPSERT]
    upserting = [one for one in staged if one.this.mode is WriteMode.UPSERT]
    if older := _older(replacing):
        yield f"delete from malacate.quarantine where {_in('batch_id', older)}"
    for one in (*_newest(replacing), *upserting):
        if one.rejects:
            name = one.this.table.name
            values = ", ".join(map(literal, (one.batch_id, name.schema, name.table)))
            yield (
                "insert into malacate.quarantine (batch_id, schema_name, table_name, position, "
                f"reason, detail, raw) select {values}, position, reason, detail, raw "
                f"from {one.rejects}"
            )


def _markers(ours: str, staged: Sequence[Staged]) -> Iterable[str]:
    columns = ", ".join(quote(name, "bigquery") for name in MARKER_COLUMNS)
    moved = f"from malacate.claims where {ours} and position is not null"
    if older := sorted({*_older(staged), *(batch for one in staged for batch in one.whole)}):
        yield f"update malacate.loads set is_current = false where {_in('batch_id', older)}"
    yield (
        f"insert into malacate.loads ({columns}, published_at) "
        f"select {columns}, current_timestamp() from malacate.claims where {ours}"
    )
    yield (
        "delete from malacate.positions where (schema_name, table_name) in "
        f"(select (schema_name, table_name) {moved})"
    )
    yield (
        "insert into malacate.positions (schema_name, table_name, position, batch_id) "
        f"select schema_name, table_name, position, batch_id {moved}"
    )
    batches = [one.batch_id for one in staged]
    yield f"delete from malacate.claims where {_in('batch_id', batches)}"


def within(partition: Partition) -> str:
    """The condition of a partition."""
    column = quote(partition.column, "bigquery")
    if partition.hi is None:
        return f"{column} = {literal(partition.lo)}"
    return f"{column} >= {literal(partition.lo)} and {column} < {literal(partition.hi)}"


def _of(name: TableName) -> str:
    return f"schema_name = {literal(name.schema)} and table_name = {literal(name.table)}"


def _in(column: str, batches: Iterable[str]) -> str:
    return f"{column} in ({', '.join(map(literal, batches))})"
