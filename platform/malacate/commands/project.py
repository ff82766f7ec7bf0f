"""What every subcommand starts from: the company's folder, its routes, its target."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from malacate.components.declared import raw_assets
from malacate.errors import ConfigError
from malacate.ingest import Ingest
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.target import TARGETS, Target, chosen

console = Console(width=None if sys.stdout.isatty() else 150)
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def company() -> Path:
    """The folder of the code location that ``workspace.yaml`` names, found from here upwards."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        file = folder / "workspace.yaml"
        if file.exists():
            locations = yaml.safe_load(file.read_text())["load_from"]
            module = locations[0]["python_module"]["module_name"].split(".")[0]
            spec = importlib.util.find_spec(module)
            if spec and spec.submodule_search_locations:
                return Path(next(iter(spec.submodule_search_locations)))
    raise ConfigError(
        "there is no workspace.yaml here or above",
        "Run `malacate` inside the project.",
        object=str(here),
        reason="no_workspace",
    )


def target() -> Target:
    """What ``MALACATE_TARGET`` chooses from the company's ``targets.yaml``."""
    return chosen(company() / TARGETS)


def opened() -> Ingest:
    """The chosen target, opened."""
    return target().open()


def routes(only: str | None = None) -> list[RawAsset]:
    """The declared routes: all, those of a source, or the one of ``source/table``."""
    found = raw_assets(company() / "defs")
    if only is None:
        return found
    wanted = only.removeprefix("raw/")
    kept = [r for r in found if wanted in (r.route.table.source, "/".join(r.key.path[1:]))]
    if not kept:
        names = ["/".join(raw.key.path[1:]) for raw in found]
        raise ConfigError(
            f"nothing is declared as {only!r}", f"Use a source, or one of {', '.join(names)}.",
            reason="unknown_table",
        )  # fmt: skip
    return kept


def show(rows: list[dict[str, Any]], as_json: bool, title: str = "") -> None:
    """Rows as a table for people, or as JSON for programs."""
    if as_json:
        typer.echo(json.dumps(rows, default=str, indent=1))
        return
    grid = Grid(title=title or None, title_justify="left")
    for name in rows[0] if rows else ("nothing",):
        numeric = bool(rows) and type(rows[0][name]) in (int, float)
        grid.add_column(name.replace("_", " "), justify="right" if numeric else "left")
    for row in rows:
        grid.add_row(*(_cell(value) for value in row.values()))
    console.print(grid)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "[green]yes[/]" if value else "[red]no[/]"
    if isinstance(value, int):
        return f"{value:,}"
    return "" if value is None else escape(str(value))
