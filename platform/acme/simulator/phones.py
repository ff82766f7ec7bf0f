"""The mine's phones: events of machine issues as messages, in files as a collector writes them.

An issue is a function of the world, its hour and its number. Some phones are without a network and
tell three days later; some events come twice, some in the wrong order, some may not follow what
came before. What must become of every issue is told by a plain loop beside it.
"""

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from acme.simulator.drops import as_json, deliver
from acme.simulator.world import DAY, HOUR, World, instant
from malacate.sources.streams.message import Message, as_file

FOLLOWS = {
    None: {"open"},
    "open": {"ack", "in_progress", "cancelled"},
    "ack": {"in_progress", "cancelled"},
    "in_progress": {"blocked", "resolved"},
    "blocked": {"in_progress", "cancelled"},
    "resolved": {"closed", "in_progress"},
}
"""What an issue may become; what is closed or cancelled stays so."""

STATUSES = ("open", "ack", "in_progress", "blocked", "resolved", "closed", "cancelled")
OFFLINE_S, HISTORY_HOURS = 3 * DAY, 120
_WAYS = (
    ("open", "ack", "in_progress", "resolved", "closed"),
    ("open", "ack", "in_progress", "blocked", "in_progress", "resolved", "closed"),
    ("open", "in_progress", "resolved", "in_progress", "resolved", "closed"),
    ("open", "cancelled"),
    ("open", "ack"),
    ("open", "resolved", "ack", "closed", "in_progress"),
    ("open", "ack", "in_progress", "resolved", "closed", "in_progress"),
)
"""Statuses that phones tell, in the order of their clocks; the last two break a rule."""

_TEXTS = ("Fuga de aceite", "Ruido en el eje", "Avisar a Carla Rojas", "Neumático con corte")
_CATEGORIES = ("engine", "hydraulics", "tyres", "electrical", "brakes")
_REPORTERS = 40
_PER_HOUR = 1.5

Event = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """An event, and when the broker had it, in microseconds since 1970."""

    event: Event
    received_us: int


def deliver_history(world: World, folder: Path, truth: Path) -> list[Path]:
    """Write what came before the first tick, a file for each day."""
    days = range(-HISTORY_HOURS, 0, 24)
    found = [_write(world, folder, received(world, day, day + 24), day) for day in days]
    _write_truth(world, truth, 0)
    return [path for path in found if path]


def deliver_hour(world: World, folder: Path, truth: Path, hour: int) -> list[Path]:
    """Write what came in an hour, and what every issue is by all that came so far."""
    path = _write(world, folder, received(world, hour, hour + 1), hour)
    _write_truth(world, truth, hour + 1)
    return [path] if path else []


def received(world: World, from_hour: int, to_hour: int) -> list[Told]:
    """What the broker had from one hour to another, in the order of its coming."""
    first, last = ((world.end_s + hour * HOUR) * 1_000_000 for hour in (from_hour, to_hour))
    earliest = max(-HISTORY_HOURS, from_hour - 2 * OFFLINE_S // HOUR)
    found = [
        told
        for hour in range(earliest, to_hour)
        for told in _issues_of(world, hour)
        if first <= told.received_us < last
    ]
    return sorted(found, key=lambda one: (one.received_us, one.event["event_id"]))


def become(events: Iterable[Event]) -> dict[str, dict[str, Any]]:
    """What each issue is: its events once each, by the clocks of the phones, legal ones applied."""
    once = {event["event_id"]: event for event in events}
    issues: dict[str, dict[str, Any]] = {}
    for event in sorted(once.values(), key=lambda one: (one["device_at"], one["event_id"])):
        blank = {"status": None, "events": 0, "illegal_events": 0}
        issue = issues.setdefault(event["issue_id"], blank)
        if event["status"] in FOLLOWS.get(issue["status"], set()):
            issue |= {"status": event["status"], "events": issue["events"] + 1}
            issue["changed_at"] = event["device_at"]
        else:
            issue["illegal_events"] += 1
    return issues


def known(came: Sequence[Told]) -> dict[str, Any]:
    """How much came, and what each issue is by it."""
    events = {one.event["event_id"] for one in came}
    issues = become(one.event for one in came)
    return {"messages": len(came), "events": len(events), "issues": issues}


def _issues_of(world: World, hour: int) -> Iterator[Told]:
    rng = world.rng("issues", hour)
    for _ in range(rng.poisson(_PER_HOUR * min(1.0, 4 * world.scale))):
        yield from _issue(world, rng, hour)


def _issue(world: World, rng: np.random.Generator, hour: int) -> Iterator[Told]:
    """An issue's events, from one phone; the network is there, or comes back days later."""
    way = _WAYS[rng.integers(len(_WAYS))]
    about = {
        "issue_id": _uuid(rng),
        "equipment_id": world.trucks.ids[rng.integers(len(world.trucks.ids))],
        "reporter_id": f"EMP-{rng.integers(_REPORTERS):04d}",
        "severity": ("critical", "high", "medium", "low")[rng.integers(4)],
        "category": _CATEGORIES[rng.integers(len(_CATEGORIES))],
        "app_version": "3.2.0",
    }
    at = (world.end_s + hour * HOUR) * 1000 + int(rng.integers(HOUR * 1000))
    offline_s = OFFLINE_S if rng.random() < 0.15 else 0
    for status in way:
        event = {**about, **_details(rng), "event_id": _uuid(rng), "status": status}
        event["device_at"] = instant(at / 1000).isoformat(timespec="milliseconds")
        late_s = offline_s + rng.exponential(3) + (rng.random() < 0.1) * rng.uniform(60, HOUR)
        came = at * 1000 + int(late_s * 1_000_000)
        yield Told(event, came)
        if rng.random() < 0.1:
            yield Told(event, came + int(rng.uniform(1, 2 * HOUR) * 1_000_000))
        at += int(rng.exponential(1.5 * HOUR) * 1000) + 1000


def _details(rng: np.random.Generator) -> Event:
    has_photo = rng.random() < 0.2
    return {
        "text": _TEXTS[rng.integers(len(_TEXTS))],
        "photo_uri": f"photo/{rng.integers(1 << 40):010x}.jpg" if has_photo else None,
        "lat": round(-22.3 + float(rng.normal(0, 0.01)), 6),
        "lon": round(-68.9 + float(rng.normal(0, 0.01)), 6),
        "sap_qmnum": None,
    }


def _uuid(rng: np.random.Generator) -> str:
    return str(uuid.UUID(bytes=rng.bytes(16), version=4))


def _write(world: World, folder: Path, told: Sequence[Told], hour: int) -> Path | None:
    if not told:
        return None
    data = as_file(
        [
            Message(
                json.dumps(one.event, ensure_ascii=False).encode(), "mine/issues",
                f"{one.received_us}-{place}", one.received_us,
            )
            for place, one in enumerate(told)
        ]
    )  # fmt: skip
    at = instant(world.end_s + hour * HOUR)
    path = folder / "issue_event" / f"{at:%Y/%m/%d/%H}" / f"{sha256(data).hexdigest()}.parquet"
    deliver(path, data)
    return path


def _write_truth(world: World, truth: Path, hour: int) -> None:
    came = received(world, -HISTORY_HOURS, hour)
    deliver(truth / "mobile" / "machine_issue.json", as_json(known(came)))
