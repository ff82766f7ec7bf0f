"""Finding batches by name or id, and trying them again: what several subcommands share."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import typer

from malacate.commands.project import routes
from malacate.errors import ConfigError
from malacate.ingest import Ingest, Report, Route
from malacate.ledger.tables import BATCH
from malacate.transfer import SOURCE as TRANSFERS

Batch = dict[str, Any]


def named(platform: Ingest, name: str) -> list[Batch]:
    """Batches of the object ``name``, or whose id begins so; raise ``ConfigError`` for none."""
    c = BATCH.c
    found = platform.ledger.batches(
        (c.object == name) | c.batch_id.startswith(name, autoescape=True)
    )
    if not found:
        raise ConfigError(
            f"the ledger knows nothing named {name!r}",
            "See `malacate files list`, or run the table: it looks for new files first.",
            reason="unknown_batch",
        )
    return found


def tried_again(
    platform: Ingest, batches: Sequence[Batch], again: Callable[[Route, Batch], str]
) -> None:
    """Let ``again`` make each wait, run their tables, and tell; exit 1 if one is not loaded."""
    waiting: list[str] = []
    for key in sorted({(batch["source"], batch["table_name"]) for batch in batches}):
        mine = [b for b in batches if (b["source"], b["table_name"]) == key]
        if key[0] == TRANSFERS:
            count = platform.ledger.release([batch["batch_id"] for batch in mine])
            typer.echo(f"{count} of {len(mine)} released; {'/'.join(key)} sends it when it runs")
            continue
        for raw in routes("/".join(key)):
            freed = [batch_id for batch in mine if (batch_id := again(raw.route, batch))]
            typer.echo(f"{len(freed)} of {len(mine)} released")
            report = platform.run(raw.route) if freed else Report()
            typer.echo(f"{'/'.join(key)}: {report.total('rows_loaded'):,} rows loaded")
            waiting += freed
    refused = [b for b in _of(platform, waiting) if b["state"] not in ("loaded", "superseded")]
    for batch in refused:
        why = batch["error"] or batch["reason"] or ""
        typer.echo(f"{shown(batch['object'])} is {batch['state']}: {shown(why)}", err=True)
    if refused:
        raise typer.Exit(1)


def _of(platform: Ingest, batch_ids: Sequence[str]) -> list[Batch]:
    return platform.ledger.batches(BATCH.c.batch_id.in_(batch_ids))


def instant(value: float | None) -> str:
    """An instant of the ledger for people; empty for none."""
    if value is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))


def shown(value: str | bytes) -> str:
    """Text or bytes that somebody else wrote, on one line and without control characters."""
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
