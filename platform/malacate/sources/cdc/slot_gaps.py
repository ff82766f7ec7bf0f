"""Where changes were lost, or would be: each a ``SourceGap`` that says what to do, never silence.

Every rule is a question about facts that were read before; nothing is asked of a server here.
"""

from malacate.contracts.table import Table
from malacate.errors import SourceGap
from malacate.sources.cdc.slot_position import Position, identity_of, shown
from malacate.sources.cdc.slot_server import (
    PublicationState,
    ServerState,
    SlotServer,
    SlotState,
    TableState,
)

ANEW = (
    "Run `malacate doctor --fix`: it sets the slot up anew, and the next run takes a snapshot of "
    "its tables, which also deletes the rows that are gone by now."
)

_IDENTITIES = {"d": "its primary key", "i": "an index", "f": "full", "n": "nothing"}


def gap(
    what: str, advice: str, reason: str, slot: str, table: Table | None = None, lsn: int = 0,
    expected: str = "", actual: str = "",
) -> SourceGap:  # fmt: skip
    """An error that names slot, table and LSN."""
    return SourceGap(
        what, advice, str(table.name) if table else "", slot, shown(lsn) if lsn else "",
        expected, actual, reason=reason,
    )  # fmt: skip


def identity(server: ServerState, published: PublicationState, table: TableState) -> int:
    """What the LSNs of a table's changes belong to.

    A table that was dropped and made again, or left the publication for a while, has lost changes
    though every LSN follows the last one.
    """
    facts = (server.system_identifier, server.timeline, published.oid, table.oid, table.entry)
    return identity_of(*facts)


def require_slot(slot: SlotState, server: ServerState, table: Table | None = None) -> None:
    """It decodes this database for us, and has all WAL since its position."""
    if slot.plugin != "pgoutput" or slot.database != server.database:
        raise gap(
            "the slot is not one of ours", "Give the slot another name in defs.yaml.",
            "foreign_slot", slot.name, table, expected=f"pgoutput in {server.database}",
            actual=f"{slot.plugin} in {slot.database}",
        )  # fmt: skip
    if slot.wal_status == "lost":
        raise gap(
            "the server has removed WAL that was not read yet",
            "Raise max_slot_wal_keep_size at the source, or read more often. " + ANEW,
            "wal_lost", slot.name, table, slot.confirmed,
            expected="wal_status reserved or extended", actual=slot.wal_status,
        )  # fmt: skip


def require_published(
    slot: str, name: str, table: Table, published: PublicationState | None, state: TableState | None
) -> tuple[PublicationState, TableState]:
    """Every change of the table is published, and can be told to its row: then what it is."""
    relation = table.physical_name or table.name.table
    if state is None:
        raise gap(
            "the table is not there, or was renamed",
            f"Check physicalName in {table.origin or 'the contract'}.", "no_table", slot, table,
            actual=relation,
        )  # fmt: skip
    if published is None or not state.is_published:
        raise gap(
            f"the publication {name} lacks the table, so its changes are lost",
            "Run `malacate doctor --fix`: it adds the table. " + ANEW, "not_published", slot, table,
            actual=relation,
        )  # fmt: skip
    if not published.publishes_all or state.row_filter:
        raise gap(
            f"the publication {name} leaves out changes",
            "Let it publish insert, update, delete and truncate without a row filter. " + ANEW,
            "publication_filters", slot, table, expected="all changes",
            actual=state.row_filter or "not all kinds of change",
        )  # fmt: skip
    if state.kind == "p" and not published.via_root:
        raise gap(
            "changes of the partitioned table come under the names of its partitions",
            f"Run: alter publication {name} set (publish_via_partition_root = true);",
            "partitions", slot, table, actual=relation,
        )  # fmt: skip
    require_identity(slot, table, state)
    return published, state


def require_identity(slot: str, table: Table, state: TableState) -> None:
    """What an update or delete tells of the old row has the contract's key."""
    if state.identity == "f":
        return
    key = [table.by_name[name].delivered_as for name in table.key]
    if key and set(key) <= set(state.identity_columns):
        return
    relation = table.physical_name or table.name.table
    harm = "" if state.identity_columns else "; and its own updates fail while it is published"
    raise gap(
        f"the replica identity of the table does not tell which row a change is of{harm}",
        f"Run as its owner: alter table {relation} replica identity full; or give it the primary "
        "key that the contract promises.",
        "no_replica_identity", slot, table,
        expected=f"an identity with {', '.join(key)}" if key else "full",
        actual=f"{_IDENTITIES.get(state.identity, state.identity)}, columns "
        f"{', '.join(state.identity_columns) or 'none'}",
    )  # fmt: skip


def require_follows(
    table: Table, position: Position, slot: SlotState, server: ServerState, identity_now: int
) -> None:
    """The slot goes on where the table's published changes end."""
    if position.identity != identity_now:
        raise gap(
            "the server, the table or its place in the publication is another one than before",
            ANEW, "other_identity", slot.name, table, position.lsn,
            "the same system identifier, timeline, table and publication",
            f"system {server.system_identifier}, timeline {int(server.timeline, 16)}",
        )  # fmt: skip
    if position.lsn > server.flushed:
        raise gap(
            "the server's log ends before what was published of it: it was set back",
            ANEW, "set_back", slot.name, table, position.lsn,
            f"a log up to {shown(position.lsn)}", f"up to {shown(server.flushed)}",
        )  # fmt: skip
    if slot.confirmed > position.lsn:
        raise gap(
            "somebody else has read from the slot, or created it anew",
            ANEW, "consumed", slot.name, table, position.lsn,
            f"a slot at {shown(position.lsn)} or before", f"one at {shown(slot.confirmed)}",
        )  # fmt: skip


def require_generation(
    server: SlotServer, table: Table, position: Position, generation: int
) -> None:
    """The slot that was read last is there, or a later one."""
    if position.generation > generation:
        raise missing(server.slot_name(position.generation), table, position)


def missing(slot: str, table: Table, position: Position) -> SourceGap:
    """The slot is gone, and with it what it held."""
    return gap(
        "the slot is gone, and with it the changes since it was last read",
        ANEW, "slot_missing", slot, table, position.lsn,
    )  # fmt: skip
