"""What a collector tells of itself: one JSON line, or text for Prometheus over HTTP."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

_HELP = {
    "messages": ("counter", "Messages that stand in files and are acknowledged"),
    "bytes": ("counter", "Bytes of the files written"),
    "files": ("counter", "Files written"),
    "failures": ("counter", "Times that the broker or the store did not answer"),
    "in_flight": ("gauge", "Messages received and not acknowledged yet"),
    "seconds_since_file": ("gauge", "Seconds since the last file, or since the start"),
}


@dataclass
class Metrics:
    """Counts since the start; ``trouble`` is what keeps the collector waiting now."""

    stream: str
    messages: int = 0
    bytes: int = 0
    files: int = 0
    failures: int = 0
    in_flight: int = 0
    trouble: str = ""
    last_file: float = 0.0

    def __post_init__(self) -> None:
        self.last_file = time.monotonic()

    @property
    def seconds_since_file(self) -> float:
        """Seconds since the last file, or since the start."""
        return round(time.monotonic() - self.last_file, 1)

    def line(self) -> str:
        """All of it as one line of JSON."""
        told = {"stream": self.stream, **{name: getattr(self, name) for name in _HELP}}
        return json.dumps({**told, "trouble": self.trouble})

    def exposition(self) -> str:
        """The numbers as Prometheus reads them."""
        lines: list[str] = []
        for name, (kind, told) in _HELP.items():
            full = f"malacate_stream_{name}" + ("_total" if kind == "counter" else "")
            lines += [f"# HELP {full} {told}.", f"# TYPE {full} {kind}"]
            lines.append(f'{full}{{stream="{self.stream}"}} {getattr(self, name)}')
        return "\n".join(lines) + "\n"


@contextmanager
def served(metrics: Metrics, port: int) -> Iterator[str]:
    """Prometheus text at ``/metrics`` of ``port`` (0 takes a free one) on loopback; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", port), _handler(metrics.exposition))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def _handler(told: Callable[[], str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            body = told().encode() if found else b"Look at /metrics.\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads of each look."""

    return Handler
