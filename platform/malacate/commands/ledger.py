"""``malacate ledger``: what was seen, how it ended, and trying it again."""

from typing import Annotated

import typer

from malacate.commands import files
from malacate.commands.batches import instant
from malacate.commands.project import Json, show, target

app = typer.Typer(help="The control database.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A file's name, or the start of a batch id.")]


@app.command()
def status(as_json: Json = False) -> None:
    """Batches per source, table and state."""
    rows = target().open_ledger().status()
    for row in rows:
        row["oldest"] = instant(row["oldest"])
    show(rows, as_json, "Ledger")


@app.command()
def explain(name: Name, as_json: Json = False) -> None:
    """Everything known of one file, window or snapshot: steps, counts, quarantined rows."""
    files.explain(name, as_json)


@app.command()
def replay(name: Name) -> None:
    """Let a quarantined or waiting batch be tried again, at once. Exit 1 if it is refused again."""
    files.release(name)
