"""What to list at a tick, so that its cost does not grow with the bucket. Lists, never reads rows.

Two hands look for drops. The *plan* lists where new ones should be: windows of time in the names,
or names after the last one. The *walk* lists everything on a schedule, some pages a tick, and
finds what the plan missed: files later than the overlap, and overwrites in windows long past,
which only the walk or a notification can find. Both are bounded by the budget.

The cursor is an optimisation: losing it costs listings and loses nothing. It may be stored only
once what its tick found is in the ledger.
"""

import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from malacate.errors import ConfigError
from malacate.ledger.work import Found
from malacate.sources.completeness import Passed
from malacate.sources.selection import TOLD, Selection
from malacate.stores.protocol import Entry, Store

PAGE = 1000
"""Entries that one request lists."""

EVERYTHING = 1 << 40
"""A budget that no store exhausts."""

_STEPS = {"%M": 60, "%H": 3600, "%d": 86400, "%j": 86400, "%m": 86400, "%Y": 86400}


@dataclass(frozen=True)
class Windows:
    """Names begin with their time, as in ``rock/%Y/%m/%d/%H/``, told in ``zone``.

    Every tick lists again the windows that ended up to ``overlap_seconds`` ago: how late an
    upload may come and still be found at once.
    """

    template: str
    overlap_seconds: float = 7200.0
    zone: str = "UTC"

    def __post_init__(self) -> None:
        if not any(sign in self.template for sign in _STEPS):
            raise _impossible("windows", self.template, "a prefix with %Y, %m, %d, %j, %H or %M")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise _impossible("zone", self.zone, "a name such as UTC or America/Lima") from error

    def prefixes(self, lo: float, now: float) -> Iterator[tuple[float, str]]:
        """Windows from ``lo`` to ``now``, each with a moment in it; half steps, so that no hour
        or day of a changing clock falls between two.
        """
        step = min(seconds for sign, seconds in _STEPS.items() if sign in self.template) / 2
        zone, last = ZoneInfo(self.zone), None
        for at in (*_steps(lo, now, step), now):
            prefix = datetime.fromtimestamp(at, zone).strftime(self.template)
            if prefix != last:
                yield at, prefix
            last = prefix


@dataclass(frozen=True)
class Rising:
    """Names rise with time: only those after the last safe one are listed.

    A name is safe once it is ``overlap_seconds`` old: uploads that began before it have ended
    then, or are for the walk to find.
    """

    overlap_seconds: float = 900.0


@dataclass(frozen=True)
class Tick:
    """What one look found; ``complete`` if nothing was left over for the next.

    ``requests`` are listings in pages of ``PAGE``.
    ``passed`` counts what was passed over by reason, ``told`` is what somebody should hear of.
    """

    found: list[Found]
    cursor: str
    listed: int
    requests: int
    complete: bool
    passed: dict[str, int]
    told: list[Passed]

    @property
    def warnings(self) -> list[str]:
        """What is told, one line each."""
        return [f"{one.name}: {one.reason}: {one.detail}" for one in self.told]


@dataclass(frozen=True)
class _Cursor:
    """Where plan and walk stand. Times in seconds since 1970, 0 for never; names as listed.

    ``lo`` is the first window to list, ``after`` the last name seen in it, or after ``mark``;
    ``mark`` the last safe name. ``began`` is when the walk under way began, ``at`` the last name
    that it saw, ``walked`` when the last complete one began.
    """

    lo: float = 0.0
    after: str = ""
    mark: str = ""
    began: float = 0.0
    at: str = ""
    walked: float = 0.0


@dataclass(frozen=True)
class Discovery:
    """Drops of one table. Without a ``plan`` the walk alone looks, begun again as it ends."""

    selection: Selection
    source: str
    table: str
    plan: Windows | Rising | None = None
    reconcile_seconds: float = 86400.0

    def tick(self, cursor: str | None, now: float, budget: int = 20) -> Tick:
        """Spend up to ``budget`` requests on the plan and as many on the walk.

        What is asked for beside listings, a marker or a file that a manifest lists, is not
        counted. Raises ``SourceUnreachable``; the old cursor stays right then.
        """
        at = self._parse(cursor)
        new, old = _Pages(self.selection.store, budget), _Pages(self.selection.store, budget)
        if isinstance(self.plan, Windows):
            at = self._windows(self.plan, at, now, new)
        elif self.plan:
            at = self._rising(self.plan, at, now, new)
        at = self._walk(at, now, old)
        seen = {entry.name: entry for entry in (*new.entries, *old.entries)}
        picked = self.selection.pick(seen.values(), now)
        promised = {name: promise.to_json() for name, promise in picked.promises.items()}
        found = {e.name: self.found(e, promised.get(e.name)) for e in picked.drops}
        return Tick(
            list(found.values()),
            json.dumps({"plan": self._digest, **asdict(at)}),
            len(new.entries) + len(old.entries),
            new.spent + old.spent,
            new.is_done and old.is_done,
            dict(Counter(passed.reason for passed in picked.passed)),
            [passed for passed in picked.passed if passed.reason in TOLD],
        )

    def everything(self) -> list[Found]:
        """All drops that stand now, listed without a bound."""
        return self.tick(None, time.time(), EVERYTHING).found

    def found(self, entry: Entry, promise: str | None = None) -> Found:
        """A version of an object, as work, with what a manifest says of it."""
        return Found(
            source=self.source,
            table=self.table,
            kind="object",
            object=entry.name,
            version=entry.version,
            ordinal=entry.ordinal,
            size=entry.size,
            modified_ns=entry.modified_ns,
            promise=promise,
        )

    def _windows(self, plan: Windows, at: _Cursor, now: float, pages: "_Pages") -> _Cursor:
        """From where the last tick stopped, but not from further back than the walk looks."""
        fresh = now - plan.overlap_seconds
        oldest = min(fresh, now - self.reconcile_seconds)
        lo, after = (at.lo, at.after) if at.lo >= oldest else (oldest if at.lo else fresh, "")
        for when, prefix in plan.prefixes(lo, now):
            last = pages.list(prefix, after)
            if last is not None:
                return replace(at, lo=when, after=last)
            after = ""
        return replace(at, lo=fresh, after="")

    def _rising(self, plan: Rising, at: _Cursor, now: float, pages: "_Pages") -> _Cursor:
        last = pages.list(self.selection.prefix, at.after)
        mark = at.mark
        for entry in pages.entries if at.after == at.mark else ():
            if abs(now - entry.modified_ns / 1e9) < plan.overlap_seconds:
                break
            mark = entry.name
        return replace(at, mark=mark, after=mark if last is None else last)

    def _walk(self, at: _Cursor, now: float, pages: "_Pages") -> _Cursor:
        if not at.began:
            if self.plan and 0 <= now - at.walked < self.reconcile_seconds:
                return at
            at = replace(at, began=now, at="")
        last = pages.list(self.selection.prefix, at.at)
        if last is None:
            return replace(at, walked=at.began, began=0.0, at="")
        return replace(at, at=last)

    def _parse(self, cursor: str | None) -> _Cursor:
        """What is not a cursor of this declaration is a lost one."""
        try:
            facts = json.loads(cursor or "")
            if facts.pop("plan") != self._digest:
                return _Cursor()
            at = _Cursor(**facts)
            moments = (at.lo, at.began, at.walked)
            names = (at.after, at.mark, at.at)
            is_sound = all(type(m) in (int, float) and 0 <= m < 1 << 33 for m in moments)
            return at if is_sound and all(type(n) is str for n in names) else _Cursor()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return _Cursor()

    @property
    def _digest(self) -> str:
        chosen = self.selection
        what = (1, chosen.store.uri, chosen.patterns, chosen.complete, chosen.manifests, self.plan)
        return hashlib.sha256(repr(what).encode("utf-8", "surrogatepass")).hexdigest()[:16]


class _Pages:
    """Listings of one tick, no more than it may spend."""

    def __init__(self, store: Store, budget: int) -> None:
        self._store = store
        self._left = budget
        self.spent = 0
        self.entries: list[Entry] = []
        self.is_done = True

    def list(self, prefix: str, after: str) -> str | None:
        """List on from ``after``; ``None`` at the end, else the name to go on from.

        Names are never compared: only the store knows its order.
        """
        limit = self._left * PAGE
        found = list(islice(self._store.list(prefix, after), limit)) if limit else []
        pages = max(1, math.ceil(len(found) / PAGE)) if limit else 0
        self._left -= pages
        self.spent += pages
        self.entries += found
        if len(found) < limit:
            return None
        self.is_done = False
        return found[-1].name if found else after


def _steps(lo: float, now: float, step: float) -> Iterator[float]:
    while lo < now:
        yield lo
        lo += step


def _impossible(key: str, actual: str, expected: str) -> ConfigError:
    return ConfigError(
        f"{key} of a drop cannot be used",
        "Correct it in the declaration.",
        expected=expected,
        actual=actual,
        reason="config",
    )
