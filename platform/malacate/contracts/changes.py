"""What a change carries, whoever captured it, and the tables that changes become.

The log holds every change as it came; the state holds one row for each key, deleted ones too.
"""

from dataclasses import replace

import pyarrow as pa

from malacate.contracts.table import Column, Table

_UTC = pa.timestamp("us", "UTC")

POSITION = (
    Column("_position_hi", pa.int64(), True, "position in the source's log: high part"),
    Column("_position_lo", pa.int64(), True, "position in the source's log: low part"),
    Column(
        "_seq", pa.int64(), True, "order among changes of one position; a moved key's D, then I"
    ),
)
"""Where a change stands: three numbers that compare in the order of the source's log.

Postgres: halves of the commit's LSN. SQL Server: eight and two bytes of the LSN. Oracle: SCN and
packed rs_id. MySQL: number of the log file and place in it. Zeros: a snapshot without a position.
"""

CHANGE_COLUMNS = (
    Column("_op", pa.string(), True, "I, U, D, T truncate, or R for a row of a snapshot"),
    Column("_is_key_change", pa.bool_(), True, "half of an update that moved the row's key"),
    *POSITION,
    Column("_is_snapshot", pa.bool_(), True, "read by a snapshot or backfill, not from the log"),
    Column("_source_at", _UTC, True, "its commit at the source; of a snapshot, when it began"),
    Column("_read_at", _UTC, False, "when it was captured"),
    Column("_event_id", pa.string(), True, "identity of the change at its source"),
    Column("_file", pa.string(), False, "object or slot that it came in"),
    Column("_file_row", pa.int64(), True, "its place in the batch; alone there with its _seq"),
    Column("_missing", pa.string(), False, "columns that were not sent, by commas: unchanged"),
)
"""What a change carries beside the columns of its table."""

STATE_COLUMNS = (
    CHANGE_COLUMNS[0],
    *POSITION,
    Column("_is_snapshot", pa.bool_(), True, "no logged change of the row was seen yet"),
    Column("_source_at", _UTC, True, "when the source committed its last change"),
    Column("_missing", pa.string(), False, "columns whose values an earlier change brought"),
    Column("is_deleted", pa.bool_(), True, "the row is gone at the source; kept as a tombstone"),
)
"""What a row of current state carries beside the columns of its table."""

ROW_HASH = Column("_row_hash", pa.string(), True, "SHA-256 of the row, which has no key")


def keyed(table: Table) -> Table:
    """The table itself; one without a key is keyed by the hash of its whole row."""
    return table if table.key else replace(table.having(ROW_HASH), key=(ROW_HASH.name,))


def changes_of(table: Table) -> Table:
    """The log of a keyed table: a key comes often, a delete carries little else, a truncate none.

    Whoever reads changes refuses rows without their key.
    """
    log = table.optional(keep=()).having(*CHANGE_COLUMNS, name=f"{table.name.table}_changes")
    return replace(log, key=())


def state_of(table: Table) -> Table:
    """The state of a keyed table, its change columns not yet among the columns: see ``Fold``."""
    return table.optional(keep=table.key)
