"""``malacate simulate``: the mine's source systems from the command line."""

import json
import os
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from acme.simulator.mine import Mine, Systems, TickReport
from acme.simulator.world import World
from malacate.orchestration import environment

simulate = typer.Typer(help="A mine's source systems on this machine.", no_args_is_help=True)

Home = Annotated[
    Path | None,
    typer.Option(help="Working folder; MALACATE_HOME, or .malacate in the current folder."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


class Of(StrEnum):
    """Devices that tell what they tell over MQTT."""

    GEOPHONES = "geophones"
    PHONES = "phones"


@simulate.command()
def start(
    seed: Annotated[int, typer.Option(help="The same seed gives the same mine.")] = 7,
    scale: Annotated[float, typer.Option(min=0.01, help="1 is a month of 20 trucks.")] = 1.0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make the mine if it is new, start its database, note in `env` where it is."""
    systems = started(seed, scale, home)
    _answer({"running": True, **_named(systems)}, as_json)


@simulate.command()
def tick(
    hours: Annotated[int, typer.Option(min=1, help="Simulated hours to let pass.")] = 1,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let hours pass: rows are added, corrected, deleted; files arrive."""
    mine = _running(home)
    report = mine.tick(hours)
    if as_json:
        _answer(asdict(report), as_json)
    else:
        _show(report)


@simulate.command()
def stop(home: Home = None, as_json: AsJson = False) -> None:
    """Stop the database; nothing is removed."""
    Mine(_home(home) / "mine").stop()
    _answer({"running": False}, as_json)


@simulate.command()
def status(home: Home = None, as_json: AsJson = False) -> None:
    """Say whether the mine runs, and where."""
    folder = _home(home) / "mine"
    mine = Mine(folder)
    known = folder / "truth" / "state.json"
    state = json.loads(known.read_text()) if known.exists() else {}
    running = mine.is_running()
    _answer({"running": running, **state, **(_named(mine.systems()) if running else {})}, as_json)


@simulate.command()
def stream(
    url: Annotated[str, typer.Option(help="mqtt://host:port/path; topics are below the path.")],
    of: Annotated[
        Of, typer.Option(help="120 geophones tell each second, the phones some 7 times an hour.")
    ] = Of.GEOPHONES,
    seconds: Annotated[int, typer.Option(min=1, help="Seconds of the mine's time.")] = 60,
    speed: Annotated[float, typer.Option(min=0.01, help="So many of them in a second.")] = 1.0,
    hour: Annotated[int, typer.Option(help="Hour of the mine at which they begin.")] = 5,
    saved_seconds: Annotated[
        float,
        typer.Option(min=0, help="A broker that answers has saved what it took so long before."),
    ] = 5.0,
    seed: Annotated[int, typer.Option(help="The same seed tells the same.")] = 7,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Publish what geophones or phones tell live, until the broker has it; note what is true.

    It waits for a broker that is away, and for one to which nobody is subscribed yet.
    """
    from acme.simulator import stream as streamed
    from acme.simulator.stream_phones import LivePhones

    when = World(seed), hour, seconds
    live: streamed.Devices = LivePhones(*when) if of is Of.PHONES else streamed.Live(*when)
    truth = _home(home) / "mine" / "truth" / "stream"
    sent = streamed.publish(live, url, speed, saved_seconds)
    live.note_truth(truth)
    _answer({"messages": sent, "truth": str(truth)}, as_json)


def started(seed: int = 7, scale: float = 1.0, home: Path | None = None) -> Systems:
    """Start the mine and note where it is in the file ``env``, where the code location looks."""
    folder = _home(home)
    systems = Mine(folder / "mine").start(seed, scale)
    _write_env(folder / "env", systems)
    return systems


def _home(given: Path | None) -> Path:
    return (given or environment.home()).absolute()


def _running(home: Path | None) -> Mine:
    mine = Mine(_home(home) / "mine")
    if not mine.is_running():
        Console(stderr=True).print("The mine does not run. Start it: malacate simulate start")
        raise typer.Exit(1)
    return mine


def _write_env(path: Path, systems: Systems) -> None:
    """Set the mine's lines in the env file, keep the others; only the owner may read it."""
    ours = {
        "ACME_PRODUCTION_URL": systems.production_url,
        "ACME_PLANT_URL": systems.plant_url,
        "ACME_DROPS": str(systems.drops),
    }
    lines = path.read_text().splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in ours]
    unfinished = path.with_name(f".tmp-{path.name}")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.writelines(f"{line}\n" for line in [*kept, *(f"{k}={v}" for k, v in ours.items())])
    unfinished.replace(path)


def _named(systems: Systems) -> dict[str, str]:
    return {name: str(place) for name, place in asdict(systems).items()}


def _answer(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(facts, default=str))
        return
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(f"[bold]{name}[/bold]", str(value))
    Console().print(table)


def _show(report: TickReport) -> None:
    table = Table("table", "inserted", "updated", "deleted", title=f"until {report.now_at:%c} UTC")
    for name in sorted({*report.inserted, *report.updated, *report.deleted}):
        kinds = (report.inserted, report.updated, report.deleted)
        table.add_row(name, *(str(kind.get(name, 0)) for kind in kinds))
    console = Console()
    console.print(table)
    files = ", ".join(f"{name} {count}" for name, count in report.files.items())
    console.print(f"files: {files}")
