"""``malacate ledger``: what was seen, how it ended, and trying it again."""

import json
import time
from typing import Annotated, Any

import typer

from malacate.commands.project import Json, opened, routes, show, target
from malacate.errors import ConfigError
from malacate.ingest import Ingest
from malacate.ledger.tables import BATCH

app = typer.Typer(help="The control database.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file's name, or the start of a batch id.")]


@app.command()
def status(as_json: Json = False) -> None:
    """Batches per source, table and state."""
    rows = target().open_ledger().status()
    for row in rows:
        row["oldest"] = _time(row["oldest"])
    show(rows, as_json, "Ledger")


@app.command()
def explain(name: Name, as_json: Json = False) -> None:
    """Everything known of one file, window or snapshot: attempts, counts, quarantined rows."""
    platform = opened()
    for batch in _named(platform, name):
        told: dict[str, Any] = {
            **{k: _time(v) if k in ("first_seen", "ended", "lease_until") else v
               for k, v in batch.items()},
            "attempts_made": platform.ledger.attempts(batch["batch_id"]),
            "quarantined_rows": _quarantined(platform, batch["batch_id"]),
        }  # fmt: skip
        if as_json:
            typer.echo(json.dumps(told, default=str, indent=1))
            continue
        facts = [(k, v) for k, v in told.items() if not isinstance(v, list) and v is not None]
        show([{"fact": k, "value": str(v)} for k, v in facts], False, batch["object"])
        show(told["attempts_made"], False, "Attempts")
        if told["quarantined_rows"]:
            show(told["quarantined_rows"], False, "Quarantined rows (first 20)")


@app.command()
def replay(name: Name) -> None:
    """Let a quarantined or waiting batch be tried again, and take it in at once."""
    platform = opened()
    batches = _named(platform, name)
    freed = platform.ledger.release([batch["batch_id"] for batch in batches])
    typer.echo(f"{freed} of {len(batches)} released")
    for key in sorted({(batch["source"], batch["table_name"]) for batch in batches}):
        for raw in routes("/".join(key)):
            report = platform.run(raw.route)
            typer.echo(f"{'/'.join(key)}: {report.total('rows_loaded'):,} rows loaded")


def _named(platform: Ingest, name: str) -> list[dict[str, Any]]:
    c = BATCH.c
    found = platform.ledger.batches(
        (c.object == name) | c.batch_id.startswith(name, autoescape=True)
    )
    if not found:
        raise ConfigError(
            f"the ledger knows nothing named {name!r}",
            "See `malacate ledger status`, or run the table: it looks for new files first.",
            reason="unknown_batch",
        )
    return found


def _quarantined(platform: Ingest, batch_id: str) -> list[dict[str, Any]]:
    query = "select position, reason, detail from malacate.quarantine where batch_id = $id limit 20"
    return list(platform.warehouse.query(query, {"id": batch_id}).to_pylist())


def _time(value: float | None) -> str:
    if value is None:
        return ""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(value))
