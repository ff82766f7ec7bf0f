"""``malacate contract``: what a source could promise, drafted from what it has."""

from typing import Annotated

import typer

from malacate.commands.project import company
from malacate.components.declared import Observable, components
from malacate.contracts.draft import draft as to_yaml
from malacate.errors import ConfigError

app = typer.Typer(help="Data contracts (Open Data Contract Standard, version 3).")


@app.callback()
def _group() -> None:
    """Data contracts (Open Data Contract Standard, version 3)."""


@app.command()
def draft(source: Annotated[str, typer.Argument(help="A source that is declared.")]) -> None:
    """Print a contract written from the live source: review it, save it beside defs.yaml."""
    found = [one for _, one in components(company() / "defs") if isinstance(one, Observable)]
    for component in found:
        if component.source == source:
            typer.echo(to_yaml(source, component.observed()))
            return
    names = sorted(component.source for component in found)
    raise ConfigError(
        f"no declared source is called {source!r}",
        f"Write its defs.yaml first, or use one of {', '.join(names)}.",
        reason="unknown_source",
    )
