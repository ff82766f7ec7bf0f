"""``malacate collect``: a stream's messages into files, until it is ended."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid

from malacate.alarms.collected import Pass
from malacate.alarms.sender import Sender
from malacate.commands.project import company, target
from malacate.components.alarm_rules import watches
from malacate.components.declared import components
from malacate.components.event_stream import Collected, EventStream
from malacate.errors import ConfigError
from malacate.orchestration.environment import resolve
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.metrics import Metrics, served
from malacate.sources.streams.transport import connect

Port = Annotated[
    int | None, typer.Option(help="Tell Prometheus on this port of loopback, at /metrics.")
]
Seconds = Annotated[float, typer.Option(help="How often to tell what was done.", min=0.1)]


def collect(
    stream: Annotated[
        str, typer.Argument(help="source/table, or the source if it has one stream.")
    ],
    metrics_port: Port = None,
    report_seconds: Seconds = 10.0,
) -> None:
    """Receive a stream's messages and write them as files, each acknowledged once it is durable.

    SIGTERM and Ctrl-C write what is held and end with 0. A broker or a store that is away is
    waited for. One collector per stream and target; where it is killed, nothing is lost.
    """
    declared = _declared(stream)
    transport = connect(resolve(declared.url), declared.name, declared.bounds)
    with ExitStack() as around:
        around.callback(transport.close)
        collector = Collector(
            declared.key, transport, declared.store, declared.bounds, declared.prefix,
            _judged(declared, around),
        )  # fmt: skip
        for ended in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ended, lambda *_: collector.end())
        if metrics_port is not None:
            around.enter_context(served(collector.metrics, metrics_port))
        around.enter_context(_reported(collector.metrics, report_seconds))
        collector.run()


def streams() -> list[Collected]:
    """Every declared stream that a collector has to receive."""
    return [
        one
        for _, component in components(company() / "defs")
        if isinstance(component, EventStream)
        for one in component.collected()
    ]


def _declared(stream: str) -> Collected:
    found = streams()
    wanted = stream.removeprefix("raw/")
    kept = [one for one in found if wanted in (one.key, one.key.partition("/")[0])]
    if len(kept) != 1:
        names = ", ".join(one.key for one in kept or found)
        raise ConfigError(
            f"{stream!r} is {len(kept)} of the streams that have a url",
            f"Use one of: {names}." if names else "Give a table of an EventStream the url of "
            "its broker: without one, somebody else writes its files.",
            reason="unknown_stream",
        )  # fmt: skip
    return kept[0]


def _judged(declared: Collected, around: ExitStack) -> Callable[[bytes], None]:
    """What becomes of each file: its readings are judged, and alarms are sent until the end."""
    found = [one for one in watches(company() / "defs") if one.name == declared.key]
    if not found:
        return lambda _: None
    ledger, (watch,), horizon = target().open_ledger, found, declared.horizon
    if horizon is not None:
        horizon.require_instants(watch.table)
    sender = around.enter_context(Sender(ledger, watch.channels, resolve).running())
    held = iter if horizon is None else horizon.held
    return Pass(watch, declared.form, ledger, sender.wake, held)


@contextmanager
def _reported(metrics: Metrics, seconds: float) -> Iterator[None]:
    """Metrics on standard error: live on a terminal, else a line each ``seconds``."""
    if sys.stderr.isatty():
        console = Console(stderr=True)
        with Live(get_renderable=lambda: _grid(metrics), console=console, refresh_per_second=2):
            yield
        return
    ended = Event()
    thread = Thread(target=_lines, args=(metrics, seconds, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _lines(metrics: Metrics, seconds: float, ended: Event) -> None:
    while not ended.wait(seconds):
        print(metrics.line(), file=sys.stderr, flush=True)
    print(metrics.line(), file=sys.stderr, flush=True)


def _grid(metrics: Metrics) -> Grid:
    grid = Grid(title=metrics.stream, title_justify="left")
    told = {
        "messages": f"{metrics.messages:,}",
        "files": f"{metrics.files:,}",
        "bytes": f"{metrics.bytes:,}",
        "in flight": f"{metrics.in_flight:,}",
        "since the last file": f"{metrics.seconds_since_file:.0f} s",
    }
    for name in told:
        grid.add_column(name, justify="right")
    grid.add_row(*told.values())
    grid.caption = metrics.trouble
    return grid
