"""Exceedances to incidents. An incident is an episode of one rule and one sensor: exceedances with
no more than a quiet time, of event time, between them.

The episodes are the same whatever the order in which exceedances come, however often, and in
whatever parts. Which reading names an incident is not: it is the first that was known when it
opened. So a late exceedance within an episode, or a quiet time from it, opens nothing; one that
joins two episodes makes the later part of the earlier, and both may have been told by then.

What rows raise is no episode: it is named by its subject, and once for ever.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby

from malacate.alarms.rules import Exceedance


@dataclass(frozen=True, order=True)
class Incident:
    """An episode as it is known; ``opened`` is what opened it, if it was opened just now.

    ``came_us`` is when the newest of it became known, ``None`` where nothing says.
    """

    first_us: int
    last_us: int
    key: str
    rule: str
    subject: str
    came_us: int | None = None
    opened: Exceedance | None = None


@dataclass(frozen=True)
class Folded:
    """Incidents that are new or longer, and those that are part of another now."""

    changed: tuple[Incident, ...]
    joined: dict[str, str]


def key_of(watch: str, opened: Exceedance) -> str:
    """An incident's name, of the data alone."""
    return key_of_raised(watch, opened, str(opened.first_us))


def key_of_raised(watch: str, raised: Exceedance, *more: str) -> str:
    """The name of what rows raise: whichever of them says so."""
    parts = (watch, raised.rule, raised.subject, *more)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def fold(
    watch: str, standing: Iterable[Incident], found: Iterable[Exceedance], quiet_us: int
) -> Folded:
    """What becomes of the incidents of a watch by more exceedances.

    ``standing`` are at least those that are within ``quiet_us`` of one that was found; no two of a
    rule and a sensor are that near to each other.
    """
    spans = [*standing, *(_span(watch, one) for one in found)]
    spans.sort(key=lambda one: (one.rule, one.subject, one.first_us, one.last_us))
    changed, joined = list[Incident](), dict[str, str]()
    for _, some in groupby(spans, lambda one: (one.rule, one.subject)):
        for episode in _episodes(list(some), quiet_us):
            known = sorted(one for one in episode if one.opened is None)
            first = known[0] if known else episode[0]
            whole = replace(
                first,
                first_us=episode[0].first_us,
                last_us=max(one.last_us for one in episode),
                came_us=_newest([one.came_us for one in episode]),
            )
            joined |= {one.key: first.key for one in known[1:]}
            if not known or whole != first:
                changed.append(whole)
    return Folded(tuple(changed), joined)


def incident(key: str, one: Exceedance) -> Incident:
    """The incident that an exceedance opens."""
    return Incident(one.first_us, one.last_us, key, one.rule, one.subject, one.came_us, one)


def _span(watch: str, one: Exceedance) -> Incident:
    return incident(key_of(watch, one), one)


def _newest(came: list[int | None]) -> int | None:
    known = [one for one in came if one is not None]
    return max(known) if len(known) == len(came) else None


def _episodes(spans: list[Incident], quiet_us: int) -> list[list[Incident]]:
    """Those that no quiet time is between; they come in order."""
    found, end = list[list[Incident]](), 0
    for one in spans:
        if found and one.first_us - end <= quiet_us:
            found[-1].append(one)
            end = max(end, one.last_us)
        else:
            found.append([one])
            end = one.last_us
    return found
