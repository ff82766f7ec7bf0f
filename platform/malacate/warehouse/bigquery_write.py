"""The one script that makes publications visible in BigQuery: claims first, rows, then markers.

Every value in it is an identity of ours or of the asset's partition; what came with the data is
in the claims, bound when they were made. A statement that calls ``error`` ends the script, and
with it the transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlglot
from sqlglot import exp

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.names import TableName, quote
from malacate.warehouse.bigquery_tables import MARKER_COLUMNS
from malacate.warehouse.protocol import BATCH_COLUMN, Derivation, Partition, Publication


@dataclass(frozen=True)
class Staged:
    """A publication whose files are loaded: the tables that its rows, keys and rejects are in.

    ``older`` are the batches that it takes the place of, ``whole`` those that were the whole table.
    """

    this: Publication
    rows: str
    keys: str = ""
    rejects: str = ""
    older: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def batch_id(self) -> str:
        """Its batch."""
        return self.this.landing.batch_id


def script(claim: str, seen: Mapping[TableName, int], staged: Sequence[Staged]) -> str:
    """All of it as one transaction; ``seen`` is how many markers each table had when decided."""
    ours = f"claim = {_text(claim)}"
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
        if derives is not None:
            yield from _touch_what_goes(table, derives, _older(group))
        yield from _written(table, group)
        if derives is not None:
            yield from _derived(table, derives, [one.batch_id for one in group])


def _written(table: Table, group: list[Staged]) -> Iterable[str]:
    name, mode = table.name.sql("bigquery"), group[0].this.mode
    if mode is WriteMode.SNAPSHOT:
        yield f"delete from {name} where true"
        yield _inserted(table, group[-1:])
        return
    if gone := {*group[0].whole, *(_older(group) if mode is WriteMode.APPEND else ())}:
        yield f"delete from {name} where {_in(BATCH_COLUMN, sorted(gone))}"
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
    name = table.name.sql("bigquery")
    if one.this.mode is WriteMode.PARTITION and one.this.partition is not None:
        yield f"delete from {name} where {within(one.this.partition)}"
        return
    key = _key(table.key)
    yield f"delete from {name} where {key} in (select {key} from {one.rows})"
    if one.keys:
        yield f"delete from {name} where {key} not in (select {key} from {one.keys})"


def _key(columns: Sequence[str]) -> str:
    """One value for all of a key, in which null equals null."""
    return f"to_json_string(struct({', '.join(quote(name, 'bigquery') for name in columns)}))"


def _inserted(table: Table, group: list[Staged]) -> str:
    columns = ", ".join(quote(column.name, "bigquery") for column in table.columns)
    rows = " union all ".join(
        f"select {columns}, {_text(one.batch_id)} from {one.rows}" for one in group
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
            values = ", ".join(map(_text, (one.batch_id, name.schema, name.table)))
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


def _touch_what_goes(table: Table, derives: Derivation, older: Sequence[str]) -> Iterable[str]:
    """Remember the keys that older versions of the objects fed, while their rows are there."""
    yield _touching(older)
    yield f"create or replace temp table touched as {translated(derives.touched(table))}"


def _derived(table: Table, derives: Derivation, batches: Sequence[str]) -> Iterable[str]:
    yield _touching(batches)
    both = f"select * from touched union distinct {translated(derives.touched(table))}"
    yield f"create or replace temp table touched_now as {both}"
    yield "create or replace temp table touched as select * from touched_now"
    for statement in derives.statements(table):
        yield translated(statement.replace("$batch_id", _text(batches[-1])))


def _touching(batches: Sequence[str]) -> str:
    ids = f"array<string>[{', '.join(map(_text, batches))}]"
    return (
        f"create or replace temp table touching as select batch_id from unnest({ids}) as batch_id"
    )


def translated(sql: str) -> str:
    """A statement in DuckDB's words, in BigQuery's."""
    return sqlglot.transpile(sql, read="duckdb", write="bigquery")[0]


def within(partition: Partition) -> str:
    """The condition of a partition."""
    column = quote(partition.column, "bigquery")
    if partition.hi is None:
        return f"{column} = {_value(partition.lo)}"
    return f"{column} >= {_value(partition.lo)} and {column} < {_value(partition.hi)}"


def _of(name: TableName) -> str:
    return f"schema_name = {_text(name.schema)} and table_name = {_text(name.table)}"


def _in(column: str, batches: Iterable[str]) -> str:
    return f"{column} in ({', '.join(map(_text, batches))})"


def _value(value: Any) -> str:
    return exp.convert(value).sql("bigquery")


def _text(value: str) -> str:
    return exp.Literal.string(value).sql("bigquery")
