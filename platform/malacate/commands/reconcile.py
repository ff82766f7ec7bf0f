"""``malacate reconcile``: the guarantee, checked on the user's own data."""

import time
from dataclasses import asdict
from typing import Annotated

import typer

from malacate.commands.project import Json, opened, routes, show
from malacate.ingest import Ingest
from malacate.orchestration.raw_assets import RawAsset
from malacate.reconcile import Difference
from malacate.reconcile import reconcile as compare
from malacate.reconcile_changes import is_captured, reconcile_changes
from malacate.sources.databases import DatabaseTable

_DAY = 86400
Full = Annotated[
    bool, typer.Option("--full", help="All of each table, not the ranges whose turn it is today.")
]


def reconcile(
    source: Annotated[str | None, typer.Argument(help="A source, or source/table.")] = None,
    full: Full = False,
    as_json: Json = False,
) -> None:
    """Compare every source with its tables: rows lost, twice, wrong. Exit 1 if any is.

    Sources are read again; of tables whose changes are captured, one part in thirty each day.
    """
    real, found = opened(), []
    for raw in routes(source):
        found += _compared(raw, real, full)
    show([_row(one) for one in found], as_json, "Source against target")
    if not as_json:
        totals = (sum(getattr(d, name) for d in found) for name in ("lost", "twice", "wrong"))
        typer.echo("lost {}, twice {}, wrong {}".format(*totals))
    if not all(one.is_equal for one in found):
        raise typer.Exit(1)


def _compared(raw: RawAsset, real: Ingest, full: bool) -> list[Difference]:
    route = raw.route
    if is_captured(route):
        return [reconcile_changes(route, real, int(time.time()) // _DAY, full)]
    reads = route.source
    cursor = reads.cursor.column if isinstance(reads, DatabaseTable) and reads.cursor else None
    return compare(route, real, cursor, raw.beside)


def _row(one: Difference) -> dict[str, object]:
    row = asdict(one)
    row["examples"] = "; ".join(one.examples)
    return row
