"""What a slot needs at its source: looked at one by one, each with the statement that gives it.

``Need.runs`` are the statements that may be run for the user: they make a publication and a slot.
Nothing is ever changed at the source's tables, settings and roles.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from malacate.contracts.table import Table
from malacate.errors import MalacateError, SourceGap
from malacate.sources.cdc import slot_gaps
from malacate.sources.cdc.slot import ReplicationSlot, relation_of
from malacate.sources.cdc.slot_position import Position
from malacate.sources.cdc.slot_server import PublicationState, TableState
from malacate.sources.databases_postgres import identifier

_SETTINGS = """
select current_setting('wal_level') as level,
       current_setting('max_replication_slots')::int as slots,
       (select count(*) from pg_replication_slots) as slots_used,
       current_setting('max_wal_senders')::int as senders,
       (select count(*) from pg_stat_replication) as senders_used,
       current_user as user, pg_is_in_recovery() as is_standby,
       coalesce((select rolreplication or rolsuper from pg_roles where rolname = current_user),
                false) or coalesce((select pg_has_role(oid, 'member') from pg_roles
                where rolname = 'rds_replication'), false) as may_replicate
"""


@dataclass(frozen=True)
class Need:
    """Something that was looked at; ``fix`` is for people, ``runs`` are statements for it."""

    what: str
    is_right: bool
    found: str
    fix: str = ""
    runs: tuple[str, ...] = ()


def needs(slot: ReplicationSlot, positions: Mapping[str, str | None]) -> Iterator[Need]:
    """Everything, in the order in which it has to be put right."""
    with slot.server.connect() as connection, connection.cursor() as cursor:
        names = [column.name for column in cursor.execute(_SETTINGS).description or ()]
        told = dict(zip(names, cursor.fetchone() or (), strict=True))
    yield from _settings(slot, told)
    states = {relation_of(table): slot.server.table(relation_of(table)) for table in slot.tables}
    fit: list[str] = []
    for table in slot.tables:
        need = _table(slot, table, states[relation_of(table)], str(told["user"]))
        fit += [relation_of(table)] if need.is_right else []
        yield need
    yield _publication(slot, slot.server.published(), states, fit)
    yield _slot(slot, positions)


def _settings(slot: ReplicationSlot, told: Mapping[str, Any]) -> Iterator[Need]:
    name, level, user = slot.server.name, told["level"], told["user"]
    yield Need(
        f"{name} wal_level", level == "logical", str(level),
        "Run as superuser: alter system set wal_level = logical; then restart the server.",
    )  # fmt: skip
    for what, used, limit in (
        ("max_replication_slots", told["slots_used"], told["slots"]),
        ("max_wal_senders", told["senders_used"], told["senders"]),
    ):
        stands = what == "max_replication_slots" and bool(slot.server.generations())
        fix = f"Run as superuser: alter system set {what} = {limit + 5}; then restart the server."
        yield Need(f"{name} {what}", used < limit or stands, f"{used} of {limit} used", fix)
    role = sql.Identifier(str(user)).as_string()
    found = "a standby" if told["is_standby"] else "replication" if told["may_replicate"] else "no"
    yield Need(
        f"{name} privilege", bool(told["may_replicate"]) and not told["is_standby"], found,
        "Give the URL of the primary." if told["is_standby"]
        else f"Run as superuser: alter role {role} replication;",
    )  # fmt: skip


def _table(slot: ReplicationSlot, table: Table, state: TableState | None, user: str) -> Need:
    relation = relation_of(table)
    what, place = f"{slot.server.name} {relation}", identifier(relation).as_string()
    if state is None:
        return Need(what, False, "not there", "Check physicalName in the contract.")
    if not state.may_read:
        role, schema = (sql.Identifier(x).as_string() for x in (user, relation.split(".")[0]))
        grants = f"grant usage on schema {schema} to {role}; grant select on {place} to {role};"
        return Need(what, False, "may not be read", f"Run as its owner: {grants}")
    if state.persistence != "p":
        fix = f"Run as its owner: alter table {place} set logged;"
        return Need(what, False, "unlogged: its changes are in no log", fix)
    try:
        slot_gaps.require_identity(slot.server.name, table, state)
    except SourceGap as error:
        return Need(what, False, error.actual, error.advice)
    return Need(what, True, f"replica identity {state.identity}")


def _publication(
    slot: ReplicationSlot,
    published: PublicationState | None,
    states: Mapping[str, TableState | None],
    fit: list[str],
) -> Need:
    """Only tables whose updates go on working are put into it."""
    name = slot.server.publication
    what, place = f"{slot.server.name} publication {name}", sql.Identifier(name).as_string()
    lacking = [r for r, state in states.items() if published is None or state is None
               or not state.is_published]  # fmt: skip
    add = ", ".join(identifier(r).as_string() for r in lacking if r in fit)
    via_root = any(state is not None and state.kind == "p" for state in states.values())
    options = "publish_via_partition_root = true"
    if published is None:
        more = f" with ({options})" if via_root else ""
        return _fixed(what, "none", f"create publication {place} for table {add}{more};", bool(add))
    if lacking:
        added = f"alter publication {place} add table {add};"
        return _fixed(what, f"lacks {', '.join(lacking)}", added, bool(add))
    if via_root and not published.via_root:
        return _fixed(what, "via partitions", f"alter publication {place} set ({options});", True)
    filtered = [r for r, state in states.items() if state and state.row_filter]
    if filtered or not published.publishes_all:
        fix = f"Run as its owner: drop publication {place}; then `malacate doctor --fix`."
        return Need(what, False, "leaves out changes", fix)
    return Need(what, True, f"{len(states)} tables")


def _fixed(what: str, found: str, statement: str, may_run: bool) -> Need:
    fix = f"`malacate doctor --fix`, or run as owner of the tables: {statement}"
    return Need(what, False, found, fix if may_run else "Put the tables right first.",
                (statement,) if may_run else ())  # fmt: skip


def _slot(slot: ReplicationSlot, positions: Mapping[str, str | None]) -> Need:
    what = f"{slot.server.name} slot"
    try:
        slot.require(positions)
        standing = [_follows(slot, table, positions) for table in slot.tables]
    except SourceGap as error:
        return Need(what, False, f"{error.what} ({error.reason})", error.advice)
    except MalacateError as error:
        return Need(what, False, error.actual or error.what, error.advice)
    if not any(standing):
        return Need(what, True, "none yet: the first run creates it with a snapshot")
    lag = slot.lag()
    return Need(what, True, f"{lag.unread_bytes} bytes to read" if lag else "")


def _follows(slot: ReplicationSlot, table: Table, positions: Mapping[str, str | None]) -> bool:
    standing, position = slot.standing(table), Position.of(positions.get(relation_of(table)))
    if standing is not None and position is not None:
        slot_gaps.require_generation(slot.server, table, position, standing.generation)
        if position.generation == standing.generation:
            slot_gaps.require_follows(
                table, position, standing.slot, standing.server, standing.identity
            )
    return standing is not None


HEALED_BY_ANEW = (
    "slot_missing", "wal_lost", "other_identity", "set_back", "consumed",
)  # fmt: skip
"""Gaps that a new slot and a new snapshot end."""


def fix(slot: ReplicationSlot, positions: Mapping[str, str | None]) -> list[str]:
    """Make what is missing of publication and slot; return what was done."""
    done: list[str] = []
    for need in list(needs(slot, positions)):
        with slot.server.connect() as connection:
            for statement in need.runs:
                connection.execute(statement.encode())
                done.append(statement)
    try:
        slot.require(positions)
        for table in slot.tables:
            _follows(slot, table, positions)
    except SourceGap as error:
        if error.reason not in HEALED_BY_ANEW:
            return done
        done += _anew(slot, positions)
    return done


def _anew(slot: ReplicationSlot, positions: Mapping[str, str | None]) -> list[str]:
    """A slot of the next generation in place of all before it."""
    slots = slot.server.generations()
    reached = [Position.of(text) for text in positions.values()]
    last = max([*slots, *(position.generation for position in reached if position)], default=0)
    done = []
    with slot.server.connect() as connection:
        for old in slots.values():
            connection.execute("select pg_drop_replication_slot(%s)", [old.name])
            done.append(f"select pg_drop_replication_slot('{old.name}');")
    try:
        slot.server.create(last + 1).close()
    except psycopg.Error as error:
        raise slot.server.unreachable(error) from error
    return [*done, f"created slot {slot.server.slot_name(last + 1)}: the next run takes snapshots"]
