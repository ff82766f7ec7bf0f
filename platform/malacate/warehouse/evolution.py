"""A standing table against its contract: what to add, what to widen, what is refused."""

from collections.abc import Mapping

import pyarrow as pa

from malacate.contracts.drift import same, widens
from malacate.contracts.table import Column, Table
from malacate.contracts.types import sql_type
from malacate.errors import SchemaDrift


def changes(table: Table, standing: Mapping[str, pa.DataType]) -> list[Column]:
    """The columns that ``standing`` lacks, or holds in a narrower type.

    Raises ``SchemaDrift`` for a change that would lose values. A column that the contract dropped
    is none: it stays, for the rows that have it.
    """
    found = []
    for column in table.columns:
        had = standing.get(column.name)
        if had is not None and same(had, column.type):
            continue
        if had is not None and not widens(had, column.type):
            raise _narrowed(table, column, had)
        found.append(column)
    return found


def _narrowed(table: Table, column: Column, had: pa.DataType) -> SchemaDrift:
    return SchemaDrift(
        "the contract narrows a column that already holds rows",
        f"Keep {sql_type(had)} in {table.origin or 'the contract'}, or give the column a new name.",
        source=str(table.name),
        object=column.name,
        expected=f"{sql_type(had)} or wider",
        actual=column.sql_type,
        reason="schema_drift",
    )
