"""Outcomes that nobody knows: stores, a warehouse and a ledger that lose their replies."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platform_tests.emulators import parts
from platform_tests.faults import haul, transfers
from platform_tests.faults.cases import Case
from platform_tests.faults.haul import file_of, route_of, rows_in
from platform_tests.faults.moody import Moody
from platform_tests.faults.processes import told
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import Orders, platform_of
from platform_tests.stores.proxy import Fault, Kind, Proxy, Request, proxied
from platform_tests.stores.yards import BUCKET, opened, supplier

from malacate.errors import WarehouseBusy
from malacate.ingest import Ingest, Route
from malacate.route import note
from malacate.sources.discovery import Rising
from malacate.stores import patience
from malacate.stores.folder import FolderStore

ROUNDS = 5
FILES = 6
THEIRS = "theirs.csv"


@dataclass
class Yard:
    """A folder of drops, its moody store, and what was dropped: the newest content by name."""

    root: Path
    choice: random.Random
    store: Moody
    ingest: Ingest
    this: Verdict = field(default_factory=Verdict)
    model: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def at(cls, root: Path, seed: int, rate: float, is_late: bool = False) -> "Yard":
        choice, ingest = random.Random(seed), platform_of(root, Orders())
        (root / "drops").mkdir()
        folder = FolderStore(root / "drops")

        def proof(name: str, version: str) -> bool:
            markers = ingest.warehouse.markers(haul.haul().name).values()
            return (name, version) in {(m.object, m.version) for m in markers}

        return cls(root, choice, Moody(folder, choice, rate, proof, is_late), ingest)

    def deliver(self, step: int) -> None:
        """New files, one of an older name, and one that is there already once more."""
        for number in range(step * FILES, (step + 1) * FILES):
            self.drop(f"{number:03}.csv", file_of(number))
        old = self.choice.randrange((step + 1) * FILES)
        self.drop(f"{old:03}.csv", file_of(old, rows=3, tonnes=100.0 + step))

    def drop(self, name: str, data: bytes) -> None:
        transfers.put(self.root / "drops", name, data)
        self.model[name] = data

    def judged(self, route: Route) -> Verdict:
        """Calm at last: run until nothing is left, then compare."""
        self.store.is_calm = True
        haul.run_to_rest(self.ingest, route, self.this)
        haul.judge(self.ingest, route, rows_in(self.model.values()), self.this)
        self.this.injected += self.store.injected.total()
        if self.store.unproven:
            self.this.problems.append(f"removed without proof: {self.store.unproven}")
        left = list((self.root / "drops").iterdir())
        if route.after_load == "remove" and left:
            self.this.problems.append(f"drops that were not removed: {left}")
        return self.this


def drops(root: Path, seed: int) -> Verdict:
    """Drops that are removed once loaded."""
    yard = Yard.at(root, seed, 0.25)
    route = route_of(yard.store, after_load="remove")
    for step in range(ROUNDS):
        yard.deliver(step)
        haul.run_once(yard.ingest, route, yard.this)
    return yard.judged(route)


def stale_listing(root: Path, seed: int) -> Verdict:
    """New objects are listed late, behind a plan that looks on from the last name."""
    yard = Yard.at(root, seed, 0.05, is_late=True)
    route = route_of(yard.store, plan=Rising(900.0))
    for step in range(ROUNDS):
        for number in range(step * FILES, (step + 1) * FILES):
            yard.drop(f"{number:03}.csv", file_of(number))
        haul.run_once(yard.ingest, route, yard.this)
    for _ in range(ROUNDS):
        haul.run_once(yard.ingest, route, yard.this)
    return yard.judged(route)


def overwritten_unread(root: Path, seed: int) -> Verdict:
    """Noted, then written again in the same size: only what was read is loaded, once."""
    yard = Yard.at(root, seed, 0.1)
    route = route_of(yard.store, overwrite="append")
    for step in range(ROUNDS):
        for number in range(step * FILES, (step + 1) * FILES):
            yard.drop(f"{number:03}.csv", file_of(number, tonnes=1.5))
        yard.store.is_calm = True
        note(route, yard.ingest.ledger)
        yard.store.is_calm = False
        for number in range(step * FILES, (step + 1) * FILES):
            yard.drop(f"{number:03}.csv", file_of(number, tonnes=2.5))
            yard.this.injected += 1
        haul.run_once(yard.ingest, route, yard.this)
    return yard.judged(route)


def _lost_replies(what: str) -> Callable[[Path, int], Verdict]:
    def run(root: Path, seed: int) -> Verdict:
        yard = Yard.at(root, seed, 0.1)
        route = route_of(yard.store, after_load="remove")
        ingest: Any = yard.ingest
        owner, name = (ingest.warehouse, "publish") if what == "commit" else (ingest.ledger, what)
        call = getattr(owner, name)

        def forgetful(*asked: Any) -> Any:
            answer = call(*asked)
            if not yard.store.is_calm and yard.choice.random() < 0.5:
                yard.this.injected += 1
                raise WarehouseBusy("no reply came", "Run again.", reason="no_reply")
            return answer

        setattr(owner, name, forgetful)
        for step in range(ROUNDS):
            yard.deliver(step)
            haul.run_once(yard.ingest, route, yard.this)
            _nothing_cleaned(yard)
        return yard.judged(route)

    return run


def _nothing_cleaned(yard: Yard) -> None:
    """What is not known to have ended keeps its bytes; what is marked keeps its landing."""
    lake, name = yard.ingest.lake, haul.haul().name
    rows = {row["batch_id"]: row for row in yard.ingest.ledger.batches()}
    for batch_id in yard.ingest.warehouse.markers(name):
        landing = lake.landed(name.schema, name.table, batch_id)
        is_whole = landing and all((lake.root / part.path).exists() for part in landing.all_parts)
        if not is_whole:
            yard.this.problems.append("a landing was cleaned away after an unknown outcome")
        row = rows[batch_id]
        stands = (yard.root / "drops" / row["object"]).exists() or lake.place(batch_id)
        if row["state"] != "loaded" and not stands:
            yard.this.problems.append(f"{row['object']} was cleaned away, {row['state']}")


def transferred(root: Path, seed: int) -> Verdict:
    """From a moody store to a moody one, where an object of somebody else stands."""
    yard = Yard.at(root, seed, 0.2)
    (root / "target").mkdir()
    target = Moody(FolderStore(root / "target"), yard.choice, 0.3)
    this = transfers.copies(yard.store, target)
    (root / "target" / THEIRS).write_bytes(b"of somebody else")
    for step in range(ROUNDS):
        yard.deliver(step)
        if step == 1:
            yard.drop(THEIRS, b"of ours")
        _send_once(this, yard)
    yard.store.is_calm = target.is_calm = True
    for _ in range(4):
        _send_once(this, yard)
    if (root / "target" / THEIRS).read_bytes() != b"of somebody else":
        yard.this.problems.append("what somebody else put at the target was written over")
    transfers.compare(yard.store.store, target.store, yard.this, theirs=(THEIRS,))
    yard.this.injected += yard.store.injected.total() + target.injected.total()
    return yard.this


def _send_once(this: Any, yard: Yard) -> None:
    try:
        transfers.send(this, yard.ingest)
    except Exception as error:
        haul.require_advice(error, yard.this)


def _http(root: Path, seed: int, body: Callable[[Path, random.Random, Any], Verdict]) -> Verdict:
    """Against an S3 of real HTTP, through the real client, with our proxy between."""
    patience.FIRST_WAIT_SECONDS = 0.002
    with parts.moto() as server, proxied(server) as proxy:
        put, _ = supplier("s3", server)
        at = f"{BUCKET}/yard"
        plain, store = opened("s3", at, server), opened("s3", at, proxy.url)
        return body(root, random.Random(seed), Http(proxy, store, plain, put))


@dataclass
class Http:
    """A bucket behind the proxy, and around it."""

    proxy: Proxy
    store: Any
    plain: Any
    put: Callable[[str, bytes], Any]

    def inject(self, choice: random.Random, number: int) -> None:
        """Faults for requests to come, each for the n-th of one method."""
        kinds: list[tuple[Kind, int]] = [
            ("status", 503), ("status", 429), ("status", 500), ("drop_before", 0),
            ("drop_after", 0), ("truncate", 0), ("stale", 0),
        ]  # fmt: skip
        for _ in range(number):
            kind, status = choice.choice(kinds)
            method = choice.choice(("GET", "PUT", "HEAD", "DELETE"))
            method = "GET" if kind in ("truncate", "stale") else method
            self.proxy.inject(Fault(kind, _nth(choice.randrange(4), method, kind), status=status))
        self.proxy.inject(Fault("status", _nth(choice.randrange(4), "GET", "412"), status=412))


def _nth(number: int, method: str, kind: str) -> Callable[[Request], bool]:
    left = [number]

    def where(request: Request) -> bool:
        fits = request.method == method and (kind != "stale" or request.is_listing)
        fits &= kind not in ("truncate", "412") or not request.is_listing
        left[0] -= fits
        return fits and left[0] < 0

    return where


def http_drops(root: Path, seed: int) -> Verdict:
    """Drops in S3, removed once loaded."""

    def body(root: Path, choice: random.Random, s3: Http) -> Verdict:
        ingest, this, model = platform_of(root, Orders()), Verdict(), {}
        route = route_of(s3.store, after_load="remove")
        for step in range(ROUNDS):
            for number in range(step * FILES, (step + 1) * FILES):
                model[number] = file_of(number)
                s3.put(f"yard/{number:03}.csv", model[number])
            s3.inject(choice, 6)
            haul.run_once(ingest, route, this)
        s3.proxy._faults.clear()
        haul.run_to_rest(ingest, route, this)
        haul.judge(ingest, route, rows_in(model.values()), this)
        if left := [entry.name for entry in s3.plain.list()]:
            this.problems.append(f"drops that were not removed: {left}")
        this.injected = len(s3.proxy.hit)
        return this

    return _http(root, seed, body)


def http_transfer(root: Path, seed: int) -> Verdict:
    """From a folder to S3."""

    def body(root: Path, choice: random.Random, s3: Http) -> Verdict:
        yard = Yard.at(root, seed, 0.0)
        this = transfers.copies(yard.store, s3.store)
        for step in range(ROUNDS):
            yard.deliver(step)
            s3.inject(choice, 6)
            _send_once(this, yard)
        s3.proxy._faults.clear()
        transfers.send_to_rest(this, yard.ingest, yard.this)
        transfers.compare(yard.store.store, s3.plain, yard.this)
        yard.this.injected += len(s3.proxy.hit)
        return yard.this

    return _http(root, seed, body)


HISTORIES: dict[str, Callable[[Path, int], Verdict]] = {
    "drops": drops,
    "stale listing": stale_listing,
    "overwritten unread": overwritten_unread,
    "lost commits": _lost_replies("commit"),
    "lost answers": _lost_replies("finish"),
    "transfer": transferred,
    "S3 drops": http_drops,
    "S3 transfer": http_transfer,
}


def unknown_cases(turns: int, seed: int, mutant: str = "") -> list[Case]:
    """Each history, ``turns`` times with seeds of their own."""

    def case(name: str, number: int) -> Case:
        def run(root: Path) -> Verdict:
            return told(root, lambda: HISTORIES[name](root, seed + number), mutant)

        return Case(f"unknown outcomes, {name}, seed {seed + number}", run)

    return [case(name, number) for name in HISTORIES for number in range(turns)]
