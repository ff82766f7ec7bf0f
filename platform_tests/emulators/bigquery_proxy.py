"""A proxy of ours before bqemulator: what BigQuery does and it does not, and what networks do.

Always: an id is taken once (409 from then on), a job is told to run until it is asked for again,
and why it failed is told by ``jobs.get`` and by the request for its rows. On request: ``Fault``.
Uploads and ``jobs.query`` pass as they are. Dry runs are answered here: bqemulator carries out a
script that is only to be tried.
"""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import ThreadingHTTPServer
from select import select
from socket import MSG_PEEK
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from platform_tests.emulators import bigquery_bytes
from platform_tests.emulators.bigquery_bytes import Cost
from platform_tests.emulators.bigquery_words import (
    INSERTS,
    Request,
    What,
    accepted,
    conflict,
    incomplete,
    refusal,
    understood,
)
from platform_tests.stores.proxy import Answer
from platform_tests.stores.proxy import Handler as Forwarding

LONG_POLL_SECONDS = 1.0
"""How long a request for rows waits for its job; the service takes up to 10 s by default."""

Kind = Literal["status", "status_after", "slow", "drop_before", "drop_after", "conflict"]


@dataclass
class Fault:
    """What happens to the next ``times`` requests ``on`` which it is (``None``: to no end).

    ``status`` answers so and does nothing; ``status_after`` answers so after it was done; ``slow``
    lets it run for ``seconds``; ``drop_before`` closes before, ``drop_after`` after it was done;
    ``conflict`` accepts a job, which fails because another one was first. With a ``chance``, a
    request is spared by the throw of the proxy's seed.
    """

    kind: Kind
    on: tuple[What, ...]
    times: int | None = 1
    status: int = 503
    seconds: float = 0.0
    chance: float = 1.0


@dataclass
class Job:
    """One that was accepted; ``told`` is what is told of it, unless the emulator knows better."""

    told: dict[str, Any] | None
    cost: Cost | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Proxy:
    """What is to happen, and what came: ``seen`` are all requests, ``hit`` those with a fault.

    If it ``bills``, statements have the bytes that the service would tell of, and its limit.
    """

    def __init__(self, upstream: str, seed: int = 0, bills: bool = False) -> None:
        self.bills = bills
        self.upstream = urlsplit(upstream).netloc
        self.url = ""
        self.seen: list[Request] = []
        self.hit: list[tuple[Request, Fault]] = []
        self.left: list[Request] = []
        self._jobs: dict[tuple[str, str], Job] = {}
        self._queries: dict[tuple[str, str], dict[str, Any] | None] = {}
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._dice = random.Random(seed)

    def inject(self, *faults: Fault) -> None:
        """Add faults; each request meets the first that is for it."""
        with self._lock:
            self._faults += faults

    def quiet(self) -> None:
        """Forget the faults that have not come yet."""
        with self._lock:
            self._faults.clear()

    @property
    def done(self) -> Counter[tuple[Kind, What]]:
        """How many faults of each kind came, to what."""
        return Counter((fault.kind, request.what) for request, fault in self.hit)

    @property
    def unknown(self) -> int:
        """How many inserted jobs got no answer that tells if they were accepted."""
        lost = ("drop_before", "drop_after", "status_after")
        dropped = sum(
            request.what in INSERTS
            and (fault.kind in lost or (fault.kind == "status" and fault.status >= 500))
            for request, fault in self.hit
        )
        return dropped + sum(request.what in INSERTS for request in self.left)

    def next_fault(self, request: Request) -> Fault | None:
        with self._lock:
            self.seen.append(request)
            for fault in self._faults:
                if request.what not in fault.on or fault.times == 0:
                    continue
                if fault.chance < 1 and self._dice.random() >= fault.chance:
                    continue
                fault.times = None if fault.times is None else fault.times - 1
                self.hit.append((request, fault))
                return fault
        return None

    def take(self, request: Request) -> Job | None:
        """The job, accepted; ``None`` if its id is taken."""
        with self._lock:
            if request.key in self._jobs:
                return None
            self._jobs[request.key] = Job(accepted(request))
            project, name = request.key
            result = f"anon{name.replace('-', '')}"  # as the emulator has it
            self._queries[project, result] = request.configuration.get("query")
            return self._jobs[request.key]

    def query_of(self, project: str, table: str) -> dict[str, Any] | None:
        """The query whose result the emulator calls ``table``, as it was asked for."""
        with self._lock:
            return self._queries.get((project, table))

    def forget(self, request: Request) -> None:
        with self._lock:
            del self._jobs[request.key]

    def job(self, request: Request) -> Job | None:
        with self._lock:
            return self._jobs.get(request.key)


class Handler(Forwarding):
    proxy: Proxy  # type: ignore[assignment]

    def _handle(self) -> None:
        body = self._request_body()
        request = understood(self.command, self.path, body)
        fault = self.proxy.next_fault(request)
        kind = fault.kind if fault else ""
        if kind == "drop_before":
            self._drop()
            return
        if fault and kind == "status":
            self._send(_json(*refusal(fault.status, request)))
            return
        answer = self._carried_out(request, body, fault)
        if fault and kind == "status_after":
            answer = _json(*refusal(fault.status, request))
        if self._is_left():
            self.proxy.left.append(request)
        if kind == "drop_after" or self._is_left():
            self._drop()
            return
        self._send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = _handle  # noqa: N815

    def _carried_out(self, request: Request, body: bytes, fault: Fault | None) -> Answer:
        if request.what in INSERTS:
            return self._inserted(request, body, fault)
        if request.what == "dry":
            return _json(200, bigquery_bytes.dry(request, self._cost(request)))
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        job = self.proxy.job(request)
        if job is None or request.what not in ("job", "rows"):
            return self._ask(body)
        if request.what == "rows":
            job.ended.wait(LONG_POLL_SECONDS)
        told = job.told
        if told is None:
            answer = self._ask(body)
            return _billed(answer, job.cost) if request.what == "job" and job.cost else answer
        if request.what == "job":
            return _json(200, told)
        return _json(*incomplete(told))

    def _inserted(self, request: Request, body: bytes, fault: Fault | None) -> Answer:
        job = self.proxy.take(request)
        if job is None:
            return _json(*refusal(409, request))
        try:
            if fault and fault.kind == "conflict":
                job.told = conflict(request)
                return _json(200, accepted(request))
            time.sleep(fault.seconds if fault else 0.0)
            if self.proxy.bills and request.sql:
                job.cost = self._cost(request)
                job.told = bigquery_bytes.stopped(request, job.cost)
                if job.told:
                    return _json(200, accepted(request))
            answer = self._ask(body)
            if answer.status >= 400:
                self.proxy.forget(request)
                return answer
            told = json.loads(answer.body)
            job.told = told if "errorResult" in told["status"] else None
            return _json(200, accepted(request))
        except OSError:
            self.proxy.forget(request)
            raise
        finally:
            job.ended.set()

    def _cost(self, request: Request) -> Cost:
        def ask(path: str) -> dict[str, Any]:
            upstream = HTTPConnection(self.proxy.upstream, timeout=30)
            upstream.request("GET", quote(path))
            answer = upstream.getresponse()
            told: dict[str, Any] = json.loads(answer.read()) if answer.status == 200 else {}
            upstream.close()
            return told

        return bigquery_bytes.cost(request.sql, request.key[0], ask)

    def _is_left(self) -> bool:
        """Whether the client waits no more."""
        readable, _, _ = select([self.connection], [], [], 0)
        return bool(readable) and self.connection.recv(1, MSG_PEEK) == b""


def _json(status: int, told: dict[str, Any]) -> Answer:
    return Answer(status, [("Content-Type", "application/json")], json.dumps(told).encode())


def _billed(answer: Answer, cost: Cost) -> Answer:
    return _json(answer.status, bigquery_bytes.billed(json.loads(answer.body), cost))


@contextmanager
def proxied(upstream: str, seed: int = 0, bills: bool = False) -> Iterator[Proxy]:
    """A proxy before ``upstream`` on a free port of loopback."""
    proxy = Proxy(upstream, seed, bills)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OwnHandler", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
