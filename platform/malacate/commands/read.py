"""``malacate read``: rows of a table, and what they are made of."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import pyarrow.parquet as pq
import typer

import malacate
from malacate.commands.project import Json, show
from malacate.errors import ConfigError, refused

Range = tuple[str, str, str]


def read(
    table: Annotated[str, typer.Argument(help="An asset, say gold/tonnes_vs_plan_shift.")],
    partition: Annotated[
        Range | None, typer.Option(help="Column, from (inclusive), to (exclusive).")
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="Only these; repeat it.")] = None,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="The rows that stood then: 2026-11-03T06:00:00Z. Of a change table, at its source."
        ),
    ] = None,
    to: Annotated[Path | None, typer.Option(help="Write all of them to this Parquet file.")] = None,
    first: Annotated[int, typer.Option(help="How many are shown.")] = 20,
    as_json: Json = False,
) -> None:
    """Rows of a table, now or as they stood, with the fingerprint of what they are made of."""
    rows = malacate.read(
        table, partition=partition, columns=column or (), as_of=_instant(as_of) if as_of else None
    )
    if to is not None:
        try:
            pq.write_table(rows.arrow(), to)
        except OSError as error:
            raise refused(error, str(to)) from error
    shown = rows.arrow().slice(0, first).to_pylist()
    facts: dict[str, str | int] = {"table": table, "rows": len(rows), "batches": len(rows.batches)}
    if rows.changed_at is not None:
        facts["changed_at"] = rows.changed_at.isoformat()
    told = {**facts, "fingerprint": rows.fingerprint}
    if as_json:
        typer.echo(json.dumps({**told, "first": shown}, default=str, indent=1))
        return
    show(shown, False, f"{table}, {len(shown)} of {len(rows):,} rows")
    show([{"fact": name, "value": str(value)} for name, value in told.items()], False)


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "--as-of is no instant", "Write it as 2026-11-03T06:00:00Z.",
            actual=text, reason="bad_instant",
        ) from error  # fmt: skip
