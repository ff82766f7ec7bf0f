"""``malacate reconcile``: the guarantee, checked on the user's own data."""

from dataclasses import asdict
from typing import Annotated

import typer

from malacate.commands.project import Json, opened, routes, show
from malacate.reconcile import Difference
from malacate.reconcile import reconcile as compare
from malacate.sources.databases import DatabaseTable


def reconcile(
    source: Annotated[str | None, typer.Argument(help="A source, or source/table.")] = None,
    as_json: Json = False,
) -> None:
    """Read every source again and compare: rows lost, twice, wrong. Exit 1 if any is."""
    real, found = opened(), []
    for raw in routes(source):
        reads = raw.route.source
        cursor = reads.cursor.column if isinstance(reads, DatabaseTable) and reads.cursor else None
        found += compare(raw.route, real, cursor)
    show([_row(one) for one in found], as_json, "Source against target")
    if not as_json:
        totals = (sum(getattr(d, name) for d in found) for name in ("lost", "twice", "wrong"))
        typer.echo("lost {}, twice {}, wrong {}".format(*totals))
    if not all(one.is_equal for one in found):
        raise typer.Exit(1)


def _row(one: Difference) -> dict[str, object]:
    row = asdict(one)
    row["examples"] = "; ".join(one.examples)
    return row
