"""Notifications that are lost, repeated, shuffled and forged, with listings as the backstop."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

from platform_tests.faults.cases import Case
from platform_tests.faults.haul import file_of, judge, route_of, rows_in, run_to_rest
from platform_tests.faults.processes import told
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import Orders, platform_of
from platform_tests.sources.stores import MemoryStore

from malacate.ingest import Ingest, Route
from malacate.route import note
from malacate.sources import discovery
from malacate.sources.discovery import Windows
from malacate.sources.notices import Handled, Listener, handle
from malacate.stores.names import raw

OBJECTS = 1000
OVERWRITTEN = 60
GONE = 30
LATE = 40
EVENTS_IN_A_PAYLOAD = 10
LOOKS = 100

Event = dict[str, Any]


@dataclass
class Bucket:
    """A bucket, what it told, and the platform that listens."""

    store: MemoryStore
    ingest: Ingest
    route: Route
    choice: random.Random
    told: list[Event] = field(default_factory=list)
    versions: set[tuple[str, str]] = field(default_factory=set)
    this: Verdict = field(default_factory=Verdict)

    @classmethod
    def at(cls, root: Path, seed: int) -> "Bucket":
        store = MemoryStore()
        route = route_of(store, plan=Windows("rock/%Y/%m/%d/%H/"), reconcile_seconds=0.0)
        return cls(store, platform_of(root, Orders()), route, random.Random(seed))

    def put(self, number: int, tonnes: float | None = None) -> str:
        """Write an object, which is told; in one of the last 240 hours."""
        hour = datetime.fromtimestamp(1.8e9 - number % 240 * 3600, UTC)
        odd = "ñ +" if number % 10 == 0 else ""
        name = f"rock/{hour:%Y/%m/%d/%H}/{odd}{number:04}.csv"
        entry = self.store.put(name, file_of(number, tonnes=tonnes), at=hour.timestamp())
        self.versions.add((name, entry.version))
        self.told.append(event("drops", name, number))
        return name

    def hear(self, events: Sequence[Event | bytes]) -> list[Handled]:
        """Deliver events, some in one payload and some alone."""
        source: Any = self.route.source
        ears = [Listener("drops", "", source.discovery, supersedes=True)]
        alone = [e for e in events if isinstance(e, bytes) or "Records" not in e]
        records = [r for e in events if e not in alone for r in e["Records"]]  # type: ignore[index]
        some = range(0, len(records), EVENTS_IN_A_PAYLOAD)
        payloads = [{"Records": records[i : i + EVENTS_IN_A_PAYLOAD]} for i in some]
        heard = [handle(p, ears, self.ingest.ledger) for p in payloads + alone]
        self.this.injected += len(events)
        return heard

    def listed_whole(self) -> bool:
        """Whether looks come to an end; a run that waits for that would wait for ever."""
        looks = (note(self.route, self.ingest.ledger) for _ in range(LOOKS))
        is_done = any(look.is_complete for look in looks)
        if not is_done:
            self.this.problems.append(f"{LOOKS} looks did not end a walk")
        return is_done

    def known(self) -> set[tuple[str, str]]:
        """What the ledger has, object and version."""
        rows = self.ingest.ledger.batches(*self.route.batches)
        if len(rows) != len(found := {(row["object"], row["version"]) for row in rows}):
            self.this.problems.append("one version has more than one row in the ledger")
        return found

    def judged(self) -> Verdict:
        """The table holds what stands in the store; the ledger only what stood there."""
        if self.listed_whole():
            run_to_rest(self.ingest, self.route, self.this)
            content = [data for _, data in self.store.objects.values()]
            judge(self.ingest, self.route, rows_in(content), self.this)
        if made_up := self.known() - self.versions:
            self.this.problems.append(f"the ledger has {len(made_up)} versions that never stood")
        return self.this


def event(bucket: str, name: str, number: int = 0, kind: str = "Created") -> Event:
    """What S3 tells, itself and through EventBridge, and what GCS does."""
    key = raw(name)
    if number % 3 == 0:
        told = {"name": bucket}, {"key": quote_plus(key), "versionId": "v-of-the-event"}
        facts = {"bucket": told[0], "object": told[1]}
        return {"Records": [{"eventName": f"Object{kind}:Put", "s3": facts}]}
    if number % 3 == 1:
        detail = {"bucket": {"name": bucket}, "object": {"key": key.decode()}}
        return {"source": "aws.s3", "detail-type": f"Object {kind}", "detail": detail}
    facts = {"bucketId": bucket, "objectId": key.decode(), "objectGeneration": "17"}
    kind = "OBJECT_FINALIZE" if kind == "Created" else "OBJECT_DELETE"
    return {"message": {"attributes": {**facts, "eventType": kind}}}


def _fill(bucket: Bucket, first: int = 0, last: int = OBJECTS) -> list[str]:
    """Objects, of which some are overwritten and some removed before anybody looked."""
    names = {number: bucket.put(number) for number in range(first, last)}
    for number in bucket.choice.sample(sorted(names), OVERWRITTEN):
        bucket.put(number, 398.25)
    for number in bucket.choice.sample(sorted(names), GONE):
        bucket.store.delete(names[number])
        bucket.told.append(event("drops", names.pop(number), number, "Removed"))
    return list(names.values())


def _require_known(bucket: Bucket) -> None:
    """Events alone were enough: no listing was needed for what stands."""
    entries = [entry for entry, _ in bucket.store.objects.values()]
    missed = {(e.name, e.version) for e in entries} - bucket.known()
    if missed:
        bucket.this.problems.append(f"{len(missed)} objects were told and not noted")


def dropped(bucket: Bucket) -> None:
    """No event arrives; later objects and overwrites are found by walking on."""
    names = _fill(bucket, 0, OBJECTS * 6 // 10)
    if not bucket.listed_whole():
        return
    bucket.ingest.run(bucket.route)
    for number in bucket.choice.sample(range(len(names)), OVERWRITTEN):
        bucket.put(int(names[number][-8:-4]), 397.25)
    _fill(bucket, OBJECTS * 6 // 10)
    bucket.this.injected += len(bucket.told)


def repeated(bucket: Bucket) -> None:
    """Each event arrives ten times, before its object was loaded and after; some list late."""
    names = _fill(bucket)
    bucket.store.hidden.update(bucket.choice.sample(names, LATE))
    bucket.hear(bucket.told * 5)
    _require_known(bucket)
    bucket.ingest.run(bucket.route)
    bucket.hear(bucket.told * 5)


def shuffled(bucket: Bucket) -> None:
    """Old before new, removed before written, half of them once the others are loaded."""
    names = _fill(bucket)
    bucket.store.hidden.update(bucket.choice.sample(names, LATE))
    bucket.choice.shuffle(bucket.told)
    half = len(bucket.told) // 2
    bucket.hear(bucket.told[:half])
    bucket.ingest.run(bucket.route)
    bucket.hear(bucket.told[half:])
    _require_known(bucket)


def forged(bucket: Bucket) -> None:
    """Only lies arrive: nothing is noted but what stands, as it stands."""
    names = _fill(bucket)
    lies = [_lie(bucket.choice, names) for _ in range(OBJECTS)]
    heard = bucket.hear(lies)
    if not sum(len(handled.dead) for handled in heard) > OBJECTS // 3:
        bucket.this.problems.append("lies were not told as such")
    entries = {(e.name, e.version) for e, _ in bucket.store.objects.values()}
    if bucket.known() - entries:
        bucket.this.problems.append("a forged event was noted")


def _lie(choice: random.Random, names: Sequence[str]) -> Event | bytes:
    number, name = choice.randrange(10**6), choice.choice(names)
    honest = event("drops", name, number)
    text = json.dumps(honest).encode()
    lies: list[Callable[[], Event | bytes]] = [
        lambda: event("elsewhere", name, number),
        lambda: event("drops", f"rock/2026/01/01/00/{number}.csv", number),
        lambda: event("drops", f"../../{number}.csv", number),
        lambda: event("drops", f"{name}.tmp", number),
        lambda: choice.randbytes(60),
        lambda: text[: len(text) // 2],
        lambda: {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": name}}}]},
        lambda: {"message": {"data": base64.b64encode(text[1:]).decode()}},
        lambda: {"source": "aws.s3", "detail-type": "Object Created", "detail": None},
        lambda: event("drops", name, 3 * number),
    ]  # fmt: skip
    return choice.choice(lies)()


def of_one_object(bucket: Bucket) -> None:
    """10,000 events for one object are one row of the ledger."""
    bucket.put(0)
    bucket.hear([event("drops", next(iter(bucket.store.objects)), 0)] * 10_000)
    rows = bucket.ingest.ledger.batches(*bucket.route.batches)
    if len(rows) != 1:
        bucket.this.problems.append(f"{len(rows)} rows in the ledger for one object")


HISTORIES: tuple[Callable[[Bucket], None], ...] = (
    dropped, repeated, shuffled, forged, of_one_object,
)  # fmt: skip


def event_cases(seed: int, mutant: str = "") -> list[Case]:
    """Each history over a bucket of its own; few entries come with a page of its listing."""

    def case(history: Callable[[Bucket], None]) -> Case:
        def come_to_rest(root: Path) -> Verdict:
            discovery.PAGE = 10
            bucket = Bucket.at(root, seed)
            history(bucket)
            return bucket.judged()

        name = history.__name__.replace("_", " ")
        return Case(f"events {name}", lambda root: told(root, lambda: come_to_rest(root), mutant))

    return [case(history) for history in HISTORIES]
