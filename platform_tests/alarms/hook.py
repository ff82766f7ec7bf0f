"""A receiver of webhooks on loopback, which may refuse, and the asset that sends to it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any

_ALARMS = """
from pathlib import Path

import dagster as dg

from malacate.components.alarm_rules import watches
from malacate.orchestration.alarms import alarm_assets


@dg.definitions
def defs():
    return alarm_assets(lambda: watches(Path(__file__).parent), ["AFTER"])
"""


def alarms_after(key: str) -> str:
    """A company's module with the asset of its alarms, which follows a table."""
    return _ALARMS.replace("AFTER", key)


@dataclass
class Hook:
    """What came, in order: key, body and when. ``answer`` says with what status it is answered."""

    url: str = ""
    answer: Callable[[], int] = lambda: 200
    came: list[tuple[str, dict[str, Any], float]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def keys(self) -> list[str]:
        return [key for key, _, _ in self.came]

    def named(self, what: str = "subject") -> list[str]:
        """Of whom messages told: each time they came."""
        return [one[what] for _, body, _ in self.came for one in body["incidents"]]

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert self.headers["Content-Type"] == "application/json"
                with hook.lock:
                    status = hook.answer()
                    if status == 200:
                        key = self.headers["Idempotency-Key"]
                        hook.came.append((key, json.loads(body), time.time()))
                self.send_response(status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextmanager
def listening() -> Iterator[Hook]:
    hook = Hook()
    server = ThreadingHTTPServer(("127.0.0.1", 0), hook.handler())
    hook.url = f"http://127.0.0.1:{server.server_port}/hook?token=s3cret"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hook
    finally:
        server.shutdown()
        server.server_close()
