"""``malacate rebuild``: what was lost, made again from what is left."""

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from malacate.commands.project import Json, opened, routes, show, target
from malacate.orchestration.environment import resolve


class Lost(StrEnum):
    """What can be rebuilt."""

    LEDGER = "ledger"
    WAREHOUSE = "warehouse"


def rebuild(
    lost: Annotated[Lost, typer.Argument(help="What to make again.")], as_json: Json = False
) -> None:
    """Rebuild the ledger from lake and warehouse, or the warehouse from the lake.

    The old file is moved aside, never deleted. Run silver and gold again afterwards.
    """
    chosen = target()
    url = chosen.ledger if lost is Lost.LEDGER else chosen.warehouse
    _aside(Path(resolve(url).partition("://")[2].replace("//", "/")))
    platform, rows = opened(), []
    for raw in routes():
        landings = platform.rebuild(raw.route)
        rows.append({"table": "/".join(raw.key.path), "landings": landings})
    show(rows, as_json, f"Rebuilt the {lost.value}")


def _aside(file: Path) -> None:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    for path in (file, *(file.with_name(file.name + tail) for tail in (".wal", "-wal", "-shm"))):
        if path.exists():
            path.rename(path.with_name(f"{path.name}.{stamp}"))
