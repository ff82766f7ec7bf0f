"""``malacate rebuild``: what was lost, made again from what is left."""

import time
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from malacate.batch import WriteMode
from malacate.commands.project import Json, opened, routes, show, target
from malacate.hours.in_process import in_this_process
from malacate.ingest import Ingest
from malacate.ledger.aside import put_aside
from malacate.orchestration.environment import resolve
from malacate.orchestration.raw_assets import RawAsset
from malacate.route import Route
from malacate.sources.hours import HoursDue


class Lost(StrEnum):
    """What can be rebuilt."""

    LEDGER = "ledger"
    WAREHOUSE = "warehouse"


def rebuild(
    lost: Annotated[Lost, typer.Argument(help="What to make again.")], as_json: Json = False
) -> None:
    """Rebuild the ledger from lake and warehouse, or the raw tables from the lake.

    What stands is put aside, never deleted. Stop `make dev` before; run hours that an engine
    computes, silver and gold afterwards.
    """
    chosen, declared = target(), routes()
    stamp = time.strftime("%Y%m%dT%H%M%S")
    if lost is Lost.LEDGER:
        kept = put_aside(resolve(chosen.ledger), stamp)
    else:
        tables = [[table.name for table in raw.route.tables] for raw in declared]
        tables += [[raw.beside.table.name] for raw in declared if raw.beside]
        kept = chosen.open_warehouse().put_aside(tables, stamp)
    if kept:
        Console(stderr=True).print(f"What stood is kept in {kept}.", soft_wrap=True)
    platform, rows = opened(), []
    for route in (route for raw in declared for route in routes_of(raw, platform)):
        if lost is Lost.WAREHOUSE and isinstance(route.source, HoursDue):
            # Hours from before their engine have no landing.
            route.source.forget()
        landings = platform.rebuild(route)
        rows.append({"table": "/".join(route.table.name.key), "landings": landings})
    show(rows, as_json, f"Rebuilt the {lost.value}")


def routes_of(raw: RawAsset, platform: Ingest) -> Iterator[Route]:
    """That of the table, and that of its hours where an engine computes them."""
    yield raw.route
    if raw.beside is not None:
        lake, readings = platform.lake, raw.route.table
        launch = in_this_process(lake)
        due = HoursDue(readings, raw.beside, lake, platform.warehouse, launch)
        yield Route(raw.beside.table, due, WriteMode.UPSERT)
