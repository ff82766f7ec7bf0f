"""Reading a table of any target: its rows now, or at an instant, and the batches they are of."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from malacate.errors import WarehouseBusy
from malacate.lake.lake import Lake
from malacate.names import TableName
from malacate.readers.as_of import Key, past, require_instant
from malacate.readers.asked import Wanted, chosen, named, partition_of
from malacate.readers.changes import OF_STATE, batches, folded, log_of, logged
from malacate.readers.history import history, standing
from malacate.readers.rows import Rows
from malacate.warehouse.protocol import Warehouse

_TRIES = 20


def now(
    warehouse: Warehouse, table: str, columns: Sequence[str] | str = (), partition: Wanted = None
) -> Rows:
    """The rows of the asset ``table`` that stand now. Raises ``ConfigError`` for unknown names."""
    name = named(warehouse, table)
    schema = warehouse.query(f"select * from {name.sql('duckdb')} where false").schema
    wanted = chosen(name, columns, schema)
    inside = partition_of(name, partition, schema)
    batches = _batches(warehouse, name)
    for _ in range(_TRIES):
        rows, before = warehouse.read(name, wanted, inside), batches
        batches = _batches(warehouse, name)
        if batches == before:
            return Rows(table, rows, batches)
    raise _restless(name)


def at(
    warehouse: Warehouse,
    lake: Callable[[], Lake],
    key: Key,
    table: str,
    instant: datetime,
    columns: Sequence[str] | str = (),
    partition: Wanted = None,
) -> Rows:
    """The rows of the asset ``table`` that stood at ``instant``, in the columns they came with.

    Of a change table's state: the rows that its source had at ``instant``, as far as its log tells
    by now. ``key`` tells what its upserts or its changes replace by. Raises ``ConfigError`` for
    what is not kept.
    """
    name = named(warehouse, table)
    if (log := log_of(warehouse, name)) is not None:
        return _at_source(warehouse, key(), table, (name, log), instant, columns, partition)
    with past(name, history(warehouse, name), lake(), instant) as then:
        wanted = chosen(name, columns, then.schema)
        inside = partition_of(name, partition, then.schema)
        rows: pa.Table = then.rows(wanted, inside, cache(key))
        return Rows(table, rows, tuple(one.batch_id for one in then.batches), instant)


def _at_source(
    warehouse: Warehouse,
    key: Sequence[str],
    table: str,
    names: tuple[TableName, TableName],
    instant: datetime,
    columns: Sequence[str] | str,
    partition: Wanted,
) -> Rows:
    """The state by the clock of its source; ``names`` are those of the state and its log."""
    name, log = names
    require_instant(name, instant)
    kinds = warehouse.columns(name)
    found = warehouse.query(f"select * from {name.sql('duckdb')} where false").schema
    schema = pa.schema([(field.name, kinds.get(field.name, field.type)) for field in found])
    wanted = chosen(name, columns, schema)
    inside = partition_of(name, partition, schema)
    needed = [*key, *wanted, *([inside.column] if inside else [])]
    delivered = [column for column in needed if column not in OF_STATE]
    changes = logged(warehouse, log, delivered, instant)
    rows = folded(log, name, changes, key, wanted, inside)
    came, last = batches(changes), pc.max(changes["_source_at"]).as_py()
    ids = tuple(one.batch_id for one in history(warehouse, log) if one.batch_id in came)
    kept = rows.cast(pa.schema([schema.field(column) for column in wanted]))
    return Rows(table, kept, ids, instant, last)


def _batches(warehouse: Warehouse, name: TableName) -> tuple[str, ...]:
    return tuple(one.batch_id for one in standing(history(warehouse, name)))


def _restless(name: TableName) -> WarehouseBusy:
    return WarehouseBusy(
        "the table was published into each time it was read",
        "Read it again later, or as_of an instant.",
        source=str(name),
        reason="warehouse_busy",
    )
