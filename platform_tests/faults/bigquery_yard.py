"""One project of BigQuery behind a proxy that loses replies, and the verdict on what it holds."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NoReturn
from unittest import mock

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from platform_tests.emulators import bigquery_proxy, parts
from platform_tests.emulators.bigquery_proxy import Proxy
from platform_tests.emulators.bigquery_words import Request
from platform_tests.faults.bigquery_feeds import MODES, Feeds, Model, Sent
from platform_tests.faults.expected import Row
from platform_tests.faults.verdict import Verdict
from platform_tests.stores.proxy import Answer
from platform_tests.warehouse.engines import Engine, on_bigquery

from malacate import crash
from malacate.errors import WarehouseBusy

TRIES = 25
"""A call of publish has come through after so many runs, or it never does."""

PATIENCE_SECONDS = 3.0
HASTE_SECONDS = 0.7
"""How long a run waits for BigQuery, and how long for the answer to one request."""

_SERVERS: list[parts.BigQuery] = []


def is_installed() -> bool:
    """Whether BigQuery takes part; where all parts must be there it always does."""
    return parts.BIGQUERY.mark.exists() or os.environ.get("MALACATE_ALL_PARTS") == "1"


@contextmanager
def standing() -> Iterator[None]:
    """An emulator for all cases that are forked meanwhile; each has a project of its own."""
    with ExitStack() as stack:
        if is_installed() and not _SERVERS:
            _SERVERS.append(stack.enter_context(parts.bigquery()))
            stack.callback(_SERVERS.clear)
        yield


class Died(BaseException):
    """A publisher, here."""


class Ended(Exception):
    """A history that is bad already, and cannot go on."""


class Hasty(bigquery.Client):
    """Waits ``HASTE_SECONDS`` for what is said of a job, which goes on by itself."""

    def _call_api(self, retry: Any, *more: Any, path: str = "", **asked: Any) -> Any:
        if "/jobs" in path:
            asked["timeout"] = HASTE_SECONDS
        return super()._call_api(retry, *more, path=path, **asked)


class OneByOne(bigquery_proxy.Handler):
    """Asks the emulator one thing at a time: its transactions see, and undo, those beside them."""

    alone = Lock()

    def _ask(self, body: bytes) -> Answer:
        with self.alone:
            return super()._ask(body)


@dataclass
class Yard:
    """A project, those who publish into it, and what it must hold."""

    engine: Engine
    proxy: Proxy
    feeds: Feeds
    holds: bigquery.Client
    this: Verdict = field(default_factory=Verdict)
    model: Model = field(default_factory=Model)
    calls: list[list[Sent]] = field(default_factory=list)

    @classmethod
    @contextmanager
    def at(cls, seed: int) -> "Iterator[Yard]":
        """An empty one, on the emulator that stands."""
        server = _SERVERS[0]
        with (
            mock.patch.object(bigquery_proxy, "Handler", OneByOne),
            bigquery_proxy.proxied(server.url, seed) as proxy,
        ):
            engine = on_bigquery(server, proxy.url, PATIENCE_SECONDS, Hasty)
            holds = bigquery.Client(
                engine.warehouse.location,
                credentials=AnonymousCredentials(),
                client_options={"api_endpoint": server.url},
            )
            yield cls(engine, proxy, Feeds(engine.lake, random.Random(seed)), holds)

    def publish(self, *call: Sent) -> None:
        """As runs would: again and again, each with nothing but what BigQuery tells."""
        self.expect(*call)
        for _ in range(TRIES):
            if self.tried(*call):
                return
        self._end(f"never published: {[(one.table, one.this.landing.object) for one in call]}")

    def tried(self, *call: Sent) -> list[str]:
        """What one run comes to; nothing if BigQuery was too busy to tell."""
        try:
            done = self.engine.warehouse.publish([one.this for one in call])
        except WarehouseBusy:
            return []
        except Exception as error:
            self._end(f"raised {type(error).__name__}: {error}"[:600])
        return [one.outcome for one in done]

    def _end(self, problem: str) -> NoReturn:
        self.this.problems.append(problem)
        raise Ended(problem)

    def expect(self, *call: Sent) -> None:
        """From now on it must hold these."""
        if list(call) not in self.calls:
            self.calls.append(list(call))
        for one in call:
            self.model.take(one)

    def judged(self, history: "Callable[[Yard], None]") -> Verdict:
        """What it comes to: then faults end, all is published once more, and nothing may change."""
        with suppress(Ended):
            history(self)
        self.proxy.quiet()
        self._come_to_rest()
        before = self._held()
        for what, wanted in {
            **self.model.rows,
            "quarantine": self.model.rejects,
            "markers": self.model.markers,
            "positions": self.model.positions,
        }.items():
            self.this.compare(what, wanted, before[what])
        everything = sorted((o for call in self.calls for o in call), key=lambda one: one.table)
        with suppress(Ended):
            again = set(self.tried(*everything))
            if not again or not again <= {"already", "superseded"}:
                self.this.problems.append(f"published once more, it came to {again}")
        if self._held() != before:
            self.this.problems.append("a second run changed the tables")
        self._loaded_once()
        self.this.injected += self.proxy.unknown
        self.this.fenced += self._fenced()
        return self.this

    def _come_to_rest(self) -> None:
        """Jobs that nobody waits for any more end too."""
        for job in list(self.proxy._jobs.values()):
            if not job.ended.wait(30):
                self.this.problems.append("a job never ended")

    def _held(self) -> dict[str, Counter[Row]]:
        loads = "batch_id, table_name, object, is_current, `rows`, rows_quarantined"
        there = {one.table_id for one in self.holds.list_tables("raw_lab")}
        held = {name: Counter[Row]() for name in MODES} | {
            name: self._rows(f"select id, name, _batch_id from raw_lab.{name}") for name in there
        }
        rejects = "select concat(batch_id, ':', cast(position as string)), table_name"
        return held | {
            "quarantine": self._rows(f"{rejects} from malacate.quarantine"),
            "markers": self._rows(f"select {loads} from malacate.loads"),
            "positions": self._rows("select table_name, position from malacate.positions"),
        }

    def _rows(self, sql: str) -> Counter[Row]:
        """Asked around the proxy."""
        return Counter(tuple(map(str, row)) for row in self.holds.query(sql).result())

    def _loaded_once(self) -> None:
        """Each Parquet came into its staging table once."""
        loads = {one.key: one for one in self._sent("load") if self._error(one) == ""}
        tables = Counter(
            one.configuration["load"]["destinationTable"]["tableId"] for one in loads.values()
        )
        for name, number in tables.items():
            if number > 1:
                self.this.problems.append(f"{name} was loaded {number} times")

    def _fenced(self) -> int:
        errors = {one.key: self._error(one) for one in self._sent("transaction")}
        return sum("malacate: " in (error or "") for error in errors.values())

    def _sent(self, what: str) -> list[Request]:
        return [request for request in list(self.proxy.seen) if request.what == what]

    def _error(self, request: Request) -> str | None:
        """Why its job failed: empty if it did not, ``None`` if it was never accepted."""
        job = self.proxy.job(request)
        if job is None:
            return None
        return str((job.told or {}).get("status", {}).get("errorResult", {}).get("message", ""))


@contextmanager
def passing(point: str, then: Callable[[], object]) -> Iterator[None]:
    """Do ``then`` where ``point`` is passed next, once."""
    waiting, before = [then], crash.point

    def at(name: str) -> None:
        before(name)
        if name == point and waiting:
            waiting.pop()()

    crash.point = at
    try:
        yield
    finally:
        crash.point = before


def die() -> None:
    """What is open stays as it is."""
    raise Died
