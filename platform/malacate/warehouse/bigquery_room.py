"""Where the rows are that publications replace, asked before the transaction that deletes them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.bigquery_spans import asked, spans
from malacate.warehouse.bigquery_write import Staged, is_replaced

_ROOM = "room"


def placed(rows: Callable[[str], list[Any]], staged: Sequence[Staged]) -> list[Staged]:
    """``staged``, each with the span of its rows and of those that it makes room in.

    Rows that are replaced by key may be in other partitions than those that replace them, unless
    the contract says that a key keeps its partition; rows that go for their key is gone may be
    anywhere. Where they are is looked up: that reads the key and the column of the partitions of
    the whole table, where the DELETE would read all of its columns. What is found still holds in
    the transaction, which ends if the table has other markers by then; and what the same
    transaction inserted before is in the spans of the others.
    """
    where = {
        name: _of_one(rows, list(some))
        for name, some in groupby(sorted(staged, key=_table_name), key=_table_name)
    }
    found = {one.batch_id: one for some in where.values() for one in some}
    return [found[one.batch_id] for one in staged]


def _of_one(rows: Callable[[str], list[Any]], staged: list[Staged]) -> list[Staged]:
    table = staged[0].this.table
    if not table.partitioned_by:
        return staged
    relations = {one.batch_id: one.rows for one in staged}
    if replaced := [is_replaced(one) for one in staged if _may_be_anywhere(table, one)]:
        name, column = table.name.sql("bigquery"), quote(table.partitioned_by, "bigquery")
        relations[_ROOM] = f"(select {column} from {name} where {' or '.join(replaced)})"
    found = spans(table, relations, rows(asked(table, relations)))
    return [
        replace(one, span=found[one.batch_id], room=tuple(found.values()))
        if replaced
        else replace(one, span=found[one.batch_id], room=(found[one.batch_id],))
        for one in staged
    ]


def _may_be_anywhere(table: Table, one: Staged) -> bool:
    """Whether the partitions of what it replaces are not told by its own rows."""
    if one.this.mode is WriteMode.UPSERT:
        return bool(one.keys) or not table.keeps_partition
    partition = one.this.partition
    return partition is not None and partition.column != table.partitioned_by


def _table_name(one: Staged) -> str:
    return str(one.this.table.name)
