"""``malacate files``: the state of every file, what happened to it, and another try."""

import json
from typing import Annotated, Any

import typer

from malacate.commands.batches import Batch, instant, named, shown, tried_again
from malacate.commands.project import Json, opened, show, target
from malacate.ingest import Ingest, Route
from malacate.ledger.tables import BATCH

app = typer.Typer(help="Files, and what became of each.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file's name, or the start of a batch id.")]
Wanted = Annotated[str | None, typer.Option(help="Only those of this one.")]

_INSTANTS = ("first_seen", "ended", "lease_until", "waiting_since", "drop_removed")
_LISTED = ("source", "table_name", "object", "state", "rows_loaded", "rows_quarantined", "reason")


@app.command("list")
def listing(
    source: Wanted = None, table: Wanted = None, state: Wanted = None, as_json: Json = False
) -> None:
    """Every file that was seen, oldest first, with its state and counts."""
    c = BATCH.c
    wanted = ((c.source, source), (c.table_name, table), (c.state, state))
    where = [column == value for column, value in wanted if value is not None]
    rows = target().open_ledger().batches(c.kind == "object", *where)
    told = [
        {**{k: row[k] for k in _LISTED}, "seen": instant(row["first_seen"]), "id": row["batch_id"]}
        for row in rows
    ]
    if not as_json:
        told = [{**row, "id": row["id"][:12]} for row in told]
    show(told, as_json, "Files")


@app.command()
def explain(name: Name, as_json: Json = False) -> None:
    """Everything known of a file: steps with their times, attempts, rejected rows, its bytes."""
    platform = opened()
    for batch in named(platform, name):
        told = _told(platform, batch)
        if as_json:
            typer.echo(json.dumps(told, default=str, indent=1))
            continue
        facts = [(k, v) for k, v in told.items() if not isinstance(v, list) and v is not None]
        show([{"fact": k, "value": shown(str(v))} for k, v in facts], False, shown(name))
        show(told["steps"], False, "Steps")
        show(told["attempts_made"], False, "Attempts")
        if told["quarantined_rows"]:
            show(told["quarantined_rows"], False, "Quarantined rows (first 20)")


def _told(platform: Ingest, batch: Batch) -> dict[str, Any]:
    batch_id = batch["batch_id"]
    steps = platform.ledger.steps(batch_id)
    lag = None
    if batch["modified_ns"] is not None:
        lag = round(batch["first_seen"] - batch["modified_ns"] / 1e9, 3)
    return {
        **{k: instant(v) if k in _INSTANTS else v for k, v in batch.items()},
        "seen_after_seconds": lag,
        "bytes_are": platform.lake.place(batch_id) or "not in the lake",
        "steps": [{**step, "at": instant(step["at"])} for step in steps],
        "attempts_made": [_attempt(one) for one in platform.ledger.attempts(batch_id)],
        "quarantined_rows": _rejected(platform, batch_id),
    }


def _attempt(attempt: dict[str, Any]) -> dict[str, Any]:
    at = {name: instant(attempt[name]) for name in ("started", "ended")}
    return {name: at.get(name, value) for name, value in attempt.items() if name != "batch_id"}


def _rejected(platform: Ingest, batch_id: str) -> list[dict[str, Any]]:
    query = "select position, reason, detail from malacate.quarantine where batch_id = $id limit 20"
    return list(platform.warehouse.query(query, {"id": batch_id}).to_pylist())


@app.command()
def release(name: Name) -> None:
    """Give a quarantined, rejected or waiting file another try, at once. Exit 1 if refused."""
    platform = opened()

    def again(_: Route, batch: Batch) -> str:
        freed = platform.ledger.release([batch["batch_id"]])
        return str(batch["batch_id"]) if freed else ""

    tried_again(platform, named(platform, name), again)
