"""``malacate demo``: the mine's systems started, the whole graph materialized, the result shown."""

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

import dagster as dg
import typer
from rich.console import Console

from acme.definitions import defs
from acme.simulator.commands import started
from malacate.commands.project import Json, show, target
from malacate.orchestration.environment import home
from malacate.orchestration.reconciled import KEY as RECONCILED

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}
"""The table says what happened; the UI has every line."""


@dataclass
class Line:
    """What the demo tells of one asset."""

    rows: int | None = None
    passed: int = 0
    checks: int = 0
    seconds: float | None = None
    failed: list[str] = field(default_factory=list)


def demo(
    scale: Annotated[float, typer.Option(help="How much history the mine has.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Start the mine's systems, materialize everything once, show every asset."""
    begun = time.monotonic()
    on = target().name
    told = Console(stderr=True)
    with told.status("Starting the mine: Postgres, the lab, the geophones ..."):
        started(scale=scale)
    with told.status("Loading the graph ..."):
        location = defs()
        job = location.resolve_implicit_global_asset_job_def()
    keys = set(job.asset_layer.executable_asset_keys)
    with (
        told.status(f"Materializing {len(keys)} assets ..."),
        dg.DagsterInstance.get() as instance,
    ):
        results = [
            job.execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={"loggers": QUIET},
                asset_selection=sorted(some),
            )
            for some in (keys - {RECONCILED}, {RECONCILED})
        ]
    lines = _lines(event for result in results for event in result.all_events)
    show(
        [_row(key, line) for key, line in sorted(lines.items())], as_json, "The mine, materialized"
    )
    for key, line in sorted(lines.items()):
        for name in line.failed if not as_json else ():
            told.print(f"[yellow]check[/] {key}: {name}")
    if not as_json:
        _where_to_look(on, time.monotonic() - begun)
    if not all(result.success for result in results):
        told.print("[bold red]The run failed.[/] `make dev` shows which step, and why.")
        raise typer.Exit(1)


def _lines(events: Iterable[dg.DagsterEvent]) -> dict[str, Line]:
    lines: dict[str, Line] = defaultdict(Line)
    made_by: dict[str, list[Line]] = defaultdict(list)
    for event in events:
        if event.is_step_materialization:
            made = event.step_materialization_data.materialization
            if made.asset_key is not None:
                line = lines[made.asset_key.to_user_string()]
                line.rows = _number(made.metadata.get("dagster/row_count"))
                line.seconds = _number(made.metadata.get("Execution Duration"))
                made_by[event.step_key or ""].append(line)
        elif event.event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            line = lines[check.asset_key.to_user_string()]
            line.checks += 1
            line.passed += check.passed
            if not check.passed:
                line.failed.append(f"{check.check_name} ({check.severity.value})")
        elif event.is_step_success:
            for line in made_by[event.step_key or ""]:
                line.seconds = line.seconds or event.step_success_data.duration_ms / 1000
    return lines


def _number(value: dg.MetadataValue[Any] | None) -> Any:
    return value.value if value is not None else None


def _row(key: str, line: Line) -> dict[str, object]:
    checks = f"{line.passed} of {line.checks}" if line.checks else "-"
    return {
        "asset": key,
        "rows": line.rows,
        "checks_passed": checks,
        "seconds": round(line.seconds or 0.0, 2),
    }


def _where_to_look(on: str, seconds: float) -> None:
    if on != "local":
        typer.echo(f"Done in {seconds:.1f} s on {on}.")
        return
    typer.echo(f"Done in {seconds:.1f} s. Where to look:")
    typer.echo(
        "  make dev                      the asset graph, checks and lineage on 127.0.0.1:3000"
    )
    typer.echo(
        "  malacate reconcile            every source against its tables: lost, twice, wrong"
    )
    typer.echo(
        "  malacate simulate tick        an hour of life at the mine, then materialize again"
    )
    typer.echo(f"  {home() / 'local'}            the lake, the warehouse and the ledger")
