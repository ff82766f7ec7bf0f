"""A reverse proxy of ours before an emulator, which does to requests what networks do."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import parse_qs, urlsplit

Kind = Literal["status", "slow", "drop_before", "drop_after", "truncate", "stale"]


@dataclass
class Request:
    method: str
    path: str

    @property
    def is_listing(self) -> bool:
        asked = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        is_google = urlsplit(self.path).path.endswith("/o")
        return self.method == "GET" and ("list-type" in asked or "comp" in asked or is_google)


@dataclass
class Fault:
    """What happens to the next ``times`` requests that ``where`` picks.

    ``status`` answers so without asking the service; ``slow`` waits ``seconds`` first;
    ``drop_before`` closes before, ``drop_after`` after the service has done it; ``truncate``
    sends half of the body; ``stale`` repeats the last answer to the same request.
    """

    kind: Kind
    where: Callable[[Request], bool]
    times: int = 1
    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


class Proxy:
    """What is to happen, and what came: ``seen`` are all requests, ``hit`` those with a fault."""

    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream).netloc
        self.url = ""
        self.seen: list[Request] = []
        self.hit: list[Request] = []
        self.known: dict[str, Answer] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()

    def inject(self, *faults: Fault) -> None:
        """Add faults; each request meets the first that picks it."""
        with self._lock:
            self._faults += faults

    def next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            for fault in self._faults:
                if fault.times and fault.where(request):
                    fault.times -= 1
                    self.hit.append(request)
                    return fault
        return None


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    proxy: Proxy

    def _handle(self) -> None:
        body = self._request_body()
        request = Request(self.command, self.path)
        fault = self.proxy.next_fault(request)
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            self._drop()
            return
        if fault and kind == "status":
            self._send(Answer(fault.status, list(fault.headers.items()), b""))
            return
        if fault and kind == "slow":
            time.sleep(fault.seconds)
        answer = self.proxy.known.get(self.path) if kind == "stale" else None
        answer = answer or self._ask(body)
        if request.is_listing:
            self.proxy.known[self.path] = answer
        if kind == "drop_after":
            self._drop()
            return
        self._send(answer, whole=kind != "truncate")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass

    def _request_body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _ask(self, body: bytes) -> Answer:
        upstream = HTTPConnection(self.proxy.upstream, timeout=30)
        try:
            headers = dict(_passed_on(self.headers))
            if body or self.command in ("PUT", "POST"):
                headers["Content-Length"] = str(len(body))
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
            return Answer(answer.status, list(_passed_on(answer.headers)), answer.read())
        finally:
            upstream.close()

    def _send(self, answer: Answer, whole: bool = True) -> None:
        self.send_response_only(answer.status)
        told = {name.lower() for name, _ in answer.headers}
        for name, value in answer.headers:
            self.send_header(name, value)
        if "content-length" not in told:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if whole else answer.body[: len(answer.body) // 2])
        if not whole:
            self._drop()

    def _drop(self) -> None:
        self.wfile.flush()
        self.close_connection = True


def _passed_on(headers: HTTPMessage) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.lower() not in ("connection", "transfer-encoding", "expect", "keep-alive"):
            yield name, value


@contextmanager
def proxied(upstream: str) -> Iterator[Proxy]:
    """A proxy before ``upstream`` on a free port of loopback."""
    proxy = Proxy(upstream)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
