"""``malacate rebuild``: what was lost, made again from what is left."""

import time
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from malacate.commands.project import Json, opened, routes, show, target
from malacate.ledger.aside import put_aside
from malacate.orchestration.environment import resolve


class Lost(StrEnum):
    """What can be rebuilt."""

    LEDGER = "ledger"
    WAREHOUSE = "warehouse"


def rebuild(
    lost: Annotated[Lost, typer.Argument(help="What to make again.")], as_json: Json = False
) -> None:
    """Rebuild the ledger from lake and warehouse, or the raw tables from the lake.

    What stands is put aside, never deleted. Stop `make dev` before, run silver and gold afterwards.
    """
    chosen, declared = target(), routes()
    stamp = time.strftime("%Y%m%dT%H%M%S")
    if lost is Lost.LEDGER:
        kept = put_aside(resolve(chosen.ledger), stamp)
    else:
        tables = [[table.name for table in raw.route.tables] for raw in declared]
        kept = chosen.open_warehouse().put_aside(tables, stamp)
    if kept:
        Console(stderr=True).print(f"What stood is kept in {kept}.", soft_wrap=True)
    platform, rows = opened(), []
    for raw in declared:
        landings = platform.rebuild(raw.route)
        rows.append({"table": "/".join(raw.key.path), "landings": landings})
    show(rows, as_json, f"Rebuilt the {lost.value}")
