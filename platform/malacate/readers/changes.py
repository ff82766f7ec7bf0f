"""Change tables as their source had them: folded again from the log, up to an instant."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from malacate.contracts.changes import CHANGE_COLUMNS, STATE_COLUMNS
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError
from malacate.names import TableName, quote
from malacate.warehouse.duckdb_tables import follow
from malacate.warehouse.duckdb_write import begin_touching, derive, within
from malacate.warehouse.fold import Fold
from malacate.warehouse.protocol import BATCH_COLUMN, Partition, Warehouse

_LOGGED = tuple(column.name for column in CHANGE_COLUMNS)
OF_STATE = tuple(column.name for column in STATE_COLUMNS)
"""What a state has beside the columns of its table."""

_EVER = datetime(1, 1, 1, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


def log_of(warehouse: Warehouse, name: TableName) -> TableName | None:
    """The log that the table ``name`` is folded from; ``None`` if it is no state of one."""
    log = TableName(name.schema, f"{name.table}_changes")
    if set(OF_STATE) <= set(warehouse.columns(name)) and warehouse.exists(log):
        return log if set(_LOGGED) <= set(warehouse.columns(log)) else None
    return None


def logged(
    warehouse: Warehouse, log: TableName, columns: Sequence[str], instant: datetime
) -> pa.Table:
    """The changes that the source committed by ``instant``: ``columns``, and what a change carries.

    Raises ``ConfigError`` for an instant before the log begins: with its first snapshot, or else
    with its first change.
    """
    found = warehouse.query(
        "select min(_source_at) as first, "
        "min(case when _is_snapshot then _source_at end) as whole "
        f"from {log.sql('duckdb')}"
    ).to_pylist()[0]
    begins = found["whole"] or found["first"]
    if begins is None or instant < begins:
        raise _too_early(log, instant, begins)
    names = list(dict.fromkeys([*columns, *_LOGGED, BATCH_COLUMN]))
    return warehouse.read(log, names, Partition("_source_at", _EVER, instant + _MOMENT))


def folded(
    log: TableName,
    state: TableName,
    changes: pa.Table,
    key: Sequence[str],
    columns: Sequence[str],
    partition: Partition | None,
) -> pa.Table:
    """``columns`` of the state behind the ``changes``, tombstones too."""
    names = [name for name in changes.schema.names if name not in (*_LOGGED, BATCH_COLUMN)]
    delivered = tuple(Column(name, changes.schema.field(name).type) for name in names)
    published = Table(log, (*delivered, *CHANGE_COLUMNS))
    fold = Fold(Table(state, delivered, tuple(key)))
    chosen = ", ".join(quote(name, "duckdb") for name in columns)
    condition, values = within(partition) if partition else ("true", {})
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        follow(connection, published)
        connection.register("changes", changes)
        connection.execute(f"insert into {log.sql('duckdb')} by name select * from changes")
        begin_touching(connection, published, fold)
        derive(connection, published, fold, sorted(batches(changes)))
        select = f"select {chosen} from {state.sql('duckdb')} where {condition}"
        return connection.sql(select, params=values).to_arrow_table()


def batches(changes: pa.Table) -> set[str]:
    """The batches that brought them."""
    return set(changes[BATCH_COLUMN].unique().to_pylist())


def _too_early(log: TableName, instant: datetime, begins: datetime | None) -> ConfigError:
    earliest = f"{begins.astimezone(UTC).isoformat()} or later" if begins else "no change has come"
    return ConfigError(
        "the log of changes begins after that instant",
        "Ask for a later instant: what the source held before its first snapshot is not known.",
        source=str(log), object=instant.isoformat(), expected=earliest, reason="not_kept",
    )  # fmt: skip
