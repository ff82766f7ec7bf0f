"""The ``malacate`` command: what is where, is it right, and what to do when it is not."""

import importlib.metadata
import sys

import typer
from rich.console import Console

from malacate.commands import (
    add,
    collect,
    contract,
    doctor,
    files,
    ledger,
    quarantine,
    query,
    read,
    rebuild,
    reconcile,
)
from malacate.errors import MalacateError

app = typer.Typer(
    help="Every source to its raw table, each row once: see, prove, repair.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _mount() -> None:
    app.command("doctor")(doctor.doctor)
    app.command("read")(read.read)
    app.command("query")(query.query)
    app.command("reconcile")(reconcile.reconcile)
    app.command("rebuild")(rebuild.rebuild)
    app.command("collect")(collect.collect)
    app.add_typer(files.app, name="files")
    app.add_typer(quarantine.app, name="quarantine")
    app.add_typer(add.app, name="add")
    app.add_typer(ledger.app, name="ledger")
    app.add_typer(contract.app, name="contract")
    for entry in importlib.metadata.entry_points(group="malacate.commands"):
        command = entry.load()
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=entry.name)
        else:
            app.command(entry.name)(command)


def main() -> None:
    """Run the command; an error is its message, without a traceback. Exit codes: 0 right,
    1 something differs or is broken, 2 wrong use or configuration.
    """
    _mount()
    try:
        app()
    except MalacateError as error:
        told = Console(stderr=True)
        told.print(f"[bold red]{error.reason}[/]", end=": ")
        told.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
