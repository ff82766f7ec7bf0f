"""``malacate doctor``: is everything reachable and allowed, and if not, the exact fix."""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from malacate.commands.collect import streams
from malacate.commands.doctor_slots import fixed, looked_at, published
from malacate.commands.project import Json, opened, routes, show, target
from malacate.components.dbt_models import executable
from malacate.components.event_stream import Collected
from malacate.errors import MalacateError
from malacate.orchestration.environment import resolve
from malacate.orchestration.raw_assets import RawAsset
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable
from malacate.sources.cdc.sqlserver import ChangeTable
from malacate.sources.databases import DatabaseTable
from malacate.sources.databases_postgres import catalog, quoted_path
from malacate.sources.protocol import Known
from malacate.sources.selection import Selection
from malacate.sources.streams.transport import probe
from malacate.warehouse.protocol import Warehouse

Finding = tuple[str, bool, str, str]
"""What was looked at, whether it is right, what was found, and the fix."""

Fix = Annotated[
    bool, typer.Option("--fix", help="First make publications and slots that are missing or lost.")
]
LOOKED_AT = 10_000
"""Objects of a place that are looked at, at most."""

_CLOSED = "select 1 from pg_namespace where nspname = %s and not has_schema_privilege(oid, 'usage')"


def doctor(as_json: Json = False, fix: Fix = False) -> None:
    """Look at connections, privileges, versions and folders. Exit 1 if something needs a fix."""
    if fix:
        for line in fixed(routes(), opened()):
            typer.echo(line, err=True)
    findings = [*_machine(), *_target(), *_sources()]
    rows = [
        {"what": what, "is_right": right, "found": found, "fix": "" if right else fix}
        for what, right, found, fix in findings
    ]
    show(rows, as_json, "Doctor")
    if not all(right for _, right, _, _ in findings):
        raise typer.Exit(1)


def _machine() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield "python", sys.version_info[:2] in ((3, 11), (3, 12)), version, "Install Python 3.11."
    found = shutil.which(executable())
    yield "dbt", found is not None, found or "none", "Run `make .venv`."
    kept = os.environ.get("DAGSTER_HOME", "")
    fix = "Export DAGSTER_HOME, or start from the folder whose .env sets it: history is lost else."
    yield "dagster home", bool(kept) or Path(".env").exists(), kept or "from .env", fix


def _target() -> Iterator[Finding]:
    chosen = target()
    yield _tried(f"{chosen.name} ledger", lambda: f"{len(chosen.open_ledger().status())} states")
    yield _tried(f"{chosen.name} lake", lambda: chosen.open_lake().probe())
    yield _tried(f"{chosen.name} warehouse", lambda: _answers(chosen.open_warehouse()))


def _sources() -> Iterator[Finding]:
    try:
        found = routes()
    except MalacateError as error:
        yield "declarations", False, f"{error.object} {error.what}", error.advice
        return
    yield "declarations", True, f"{len(found)} raw tables", ""
    seen: set[str] = set()
    slots: list[ReplicationSlot] = []
    for raw in found:
        reads = raw.route.source
        if isinstance(reads, DatabaseTable):
            if reads.url not in seen:
                yield _tried(f"{raw.route.table.source} database", partial(_version, reads))
                seen.add(reads.url)
            yield _tried(_named(raw), partial(_readable, reads))
        elif isinstance(reads, SlotTable):
            if reads.slot not in slots:
                yield from _slot(reads, found)
            slots.append(reads.slot)
        elif isinstance(reads, ChangeTable):
            yield _tried(_named(raw), partial(_captured, reads))
        else:
            yield _tried(_named(raw), partial(_files, reads))
    for stream in streams():
        yield _tried(f"{stream.key} broker", partial(_receivable, stream))


def _slot(reads: SlotTable, found: list[RawAsset]) -> Iterator[Finding]:
    try:
        warehouse = target().open_warehouse()
        yield from looked_at(reads.slot, published(reads.slot, found, warehouse))
    except MalacateError as error:
        yield f"{reads.slot.server.name} slot", False, error.actual or error.what, error.advice


def _named(raw: RawAsset) -> str:
    return "/".join(raw.key.path[1:])


def _tried(what: str, look: Callable[[], Any]) -> Finding:
    try:
        return what, True, str(look() or "opened"), ""
    except MalacateError as error:
        return what, False, error.actual or error.what, error.advice
    except OSError as error:
        return what, False, str(error), "Check the path and its permissions."


def _version(reads: DatabaseTable) -> str:
    with reads.connect() as connection:
        row = connection.execute(
            "select current_setting('server_version'), current_setting('wal_level'), current_user"
        ).fetchone()
    server, level, user = row or ("?", "?", "?")
    return f"PostgreSQL {server}, wal_level {level}, user {user}"


def _readable(reads: DatabaseTable) -> str:
    schema = reads.relation.rpartition(".")[0]
    with reads.connect() as connection:
        if connection.execute(_CLOSED, [schema]).fetchone():
            raise _refused(f"grant usage on schema {schema} to {connection.info.user};")
        columns = catalog(connection, reads.relation)
        query = "select has_table_privilege(current_user, to_regclass(%s), 'select')"
        allowed = connection.execute(query, [quoted_path(reads.relation)]).fetchone()
        user = connection.info.user
    if allowed and allowed[0]:
        return f"{len(columns)} columns"
    raise _refused(f"grant select on {reads.relation} to {user};")


def _refused(statement: str) -> MalacateError:
    return MalacateError(
        "this user may not read the table",
        f"Run as its owner: {statement}",
        actual="permission denied",
    )


def _captured(reads: ChangeTable) -> str:
    """Raises what a first run would raise: no such table, no right, nothing captured of it."""
    reads.discover(Known())
    return f"captured until {reads.captured().at or 'now'}"


def _answers(warehouse: Warehouse) -> str:
    warehouse.query("select 1")
    return warehouse.location


def _receivable(stream: Collected) -> str:
    return probe(resolve(stream.url), stream.name)


def _files(reads: Any) -> str:
    """What the first objects of a place are: enough to see that it is the right one."""
    chosen: Selection = reads.discovery.selection
    looked = list(islice(chosen.store.list(chosen.prefix), LOOKED_AT))
    picked = chosen.pick(looked, time.time())
    passed = Counter(one.reason for one in picked.passed)
    more = " of the first" if len(looked) == LOOKED_AT else ""
    ignored = ", ".join(f"{count} {reason}" for reason, count in sorted(passed.items()))
    return f"{len(picked.drops)} files{more}" + (f", ignored: {ignored}" if ignored else "")
