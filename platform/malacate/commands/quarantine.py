"""``malacate quarantine``: rejected rows and whole files, looked at and sent through again."""

from typing import Annotated, Any

import typer

from malacate.commands.batches import Batch, named, shown, tried_again
from malacate.commands.project import Json, opened, show
from malacate.ingest import Ingest, Route
from malacate.ledger.tables import BATCH
from malacate.names import TableName
from malacate.replay import replay as send_again

app = typer.Typer(help="What did not make it, and why.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file's name, or the start of a batch id.")]

_COUNTS = (
    "select batch_id, reason, count(*) as n from malacate.quarantine group by all "
    "order by batch_id, reason"
)
_ROWS = "select * exclude (batch_id, schema_name, table_name) from malacate.quarantine "
_RAW_BYTES = 2000


@app.command("list")
def listing(as_json: Json = False) -> None:
    """Files with rejected rows, by reason, and files that were put aside whole."""
    platform = opened()
    counted = _query(platform, _COUNTS)
    files = {row["batch_id"]: row for row in _batches(platform, [r["batch_id"] for r in counted])}
    rows = [_line(files[r["batch_id"]], r["reason"], r["n"]) for r in counted
            if r["batch_id"] in files]  # fmt: skip
    aside = platform.ledger.batches(BATCH.c.state.in_(("quarantined", "rejected")))
    rows += [_line(batch, batch["reason"] or "", None) for batch in aside]
    rows.sort(key=lambda row: (row["source"], row["table"], row["object"], row["reason"]))
    show(rows, as_json, "Quarantine")


def _line(batch: Batch, reason: str, rows: int | None) -> dict[str, Any]:
    return {
        "source": batch["source"],
        "table": batch["table_name"],
        "object": batch["object"],
        "what": "rows" if rows is not None else "whole file",
        "rows": rows,
        "reason": reason,
        "id": batch["batch_id"][:12],
    }


@app.command("show")
def one(name: Name, as_json: Json = False) -> None:
    """Rejected rows of a file: place, reason, detail and bytes; or why it was put aside whole."""
    platform = opened()
    told: list[dict[str, Any]] = []
    for batch in named(platform, name):
        if batch["state"] in ("quarantined", "rejected"):
            whole = {"position": None, "reason": batch["reason"], "detail": batch["error"]}
            told.append({**whole, "raw": platform.lake.place(batch["batch_id"])})
        rows = _query(platform, f"{_ROWS} where batch_id = $id order by position",
                      {"id": batch["batch_id"]})  # fmt: skip
        told += [{**row, "raw": _escaped(row["raw"], as_json)} for row in rows]
    show(told, as_json, shown(name))


def _escaped(raw: bytes, whole: bool) -> str:
    if whole or len(raw) <= _RAW_BYTES:
        return shown(raw)
    return f"{shown(raw[:_RAW_BYTES])} ... ({len(raw):,} bytes; --json shows all)"


@app.command()
def replay(name: Name) -> None:
    """Send a file, or the rejected rows of one, through again under today's contract.

    Rows that pass now are published and leave the quarantine; a second time changes nothing.
    Exit 1 if a file is refused again.
    """
    platform = opened()
    batches = [b for b in named(platform, name) if _is_standing(platform, b)]

    def again(route: Route, batch: Batch) -> str:
        return send_again(platform, route, batch)

    tried_again(platform, batches, again)


def _is_standing(platform: Ingest, batch: Batch) -> bool:
    """What was replaced, by a newer version or a newer reading, is not sent through again."""
    if batch["state"] != "loaded":
        return bool(batch["state"] != "superseded")
    name = TableName(f"raw_{batch['source']}", batch["table_name"])
    markers = platform.warehouse.markers(name, [batch["batch_id"]])
    return any(marker.is_current for marker in markers.values())


def _batches(platform: Ingest, batch_ids: list[str]) -> list[Batch]:
    return platform.ledger.batches(BATCH.c.batch_id.in_(batch_ids))


def _query(
    platform: Ingest, sql: str, values: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    platform.warehouse.ensure(())
    return list(platform.warehouse.query(sql, values).to_pylist())
