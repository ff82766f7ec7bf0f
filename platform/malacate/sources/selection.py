"""Which objects of a store are drops, and why the others are not. What to list is elsewhere."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from functools import cached_property

from malacate.sources.completeness import Manifests, Marked, Passed, Promise, Rule
from malacate.stores.protocol import Entry, Store

MARKERS = ("_SUCCESS", "*.crc", "*_$folder$")
"""Names that say something of other objects."""

TEMPORARY = ("*.tmp", ".*", "*.part", "*~", "_temporary*", "*.filepart")
"""Names of objects and folders that producers use for work in progress."""

MANIFESTS = ("*manifest", "*manifest.json", "*.manifest")
"""Names of manifests, where a declaration says that there are some and not how they are called."""

TOLD = frozenset({"missing", "short", "manifest_unreadable"})
"""Reasons that somebody should hear of; the others are the daily business of a bucket."""


@dataclass(frozen=True)
class Picked:
    """Drops among the objects that were looked at, what manifests promise of them, and the rest."""

    drops: list[Entry]
    promises: dict[str, Promise]
    passed: list[Passed]


@dataclass(frozen=True)
class Selection:
    """Drops are objects of ``store`` whose name matches one of ``patterns`` (``*`` crosses ``/``).

    In a folder a file appears before it is whole: it counts once it has been still for
    ``settle_seconds`` by this machine's clock. A file whose time lies ahead, because another
    clock wrote it, waits for that time to come. Buckets show whole objects only.

    ``complete`` says what else has to stand: nothing, the folder's ``_SUCCESS``, or all that a
    manifest lists (names matching ``manifests``).
    """

    store: Store
    patterns: tuple[str, ...] = ("*",)
    settle_seconds: float = 0.0
    complete: Rule = "each"
    manifests: tuple[str, ...] = MANIFESTS
    _manifests: Manifests = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_manifests", Manifests(self.store))

    @cached_property
    def prefix(self) -> str:
        """What the name of every drop begins with, as far as the patterns say."""
        heads = [re.split(r"[*?\[]", pattern, maxsplit=1)[0] for pattern in self.patterns]
        return os.path.commonprefix(heads)  # noqa: RUF071

    def passed_over(self, name: str) -> str | None:
        """Why no object of this name is ever a drop; ``None`` if it is one."""
        if name.endswith("/") or _MARKER.search(name):
            return "marker"
        if _TEMPORARY.search(name):
            return "temporary"
        if self.is_manifest(name):
            return "marker"
        return None if self._wanted.match(name) else "pattern"

    def is_manifest(self, name: str) -> bool:
        """Whether the object would be read as a manifest."""
        return self.complete == "manifest" and self._manifest.match(name) is not None

    def pick(self, entries: Iterable[Entry], now: float) -> Picked:
        """Drops among ``entries``; ``now`` in seconds since 1970."""
        listed = list(entries)
        candidates: list[Entry] = []
        passed: list[Passed] = []
        for entry in listed:
            reason = self.passed_over(entry.name) or self._unsettled(entry, now)
            if reason is None:
                candidates.append(entry)
            elif not (self.is_manifest(entry.name) and self._unsettled(entry, now) is None):
                passed.append(Passed(entry.name, reason))
        if self.complete == "success":
            return self._marked(candidates, listed, passed)
        if self.complete == "manifest":
            return self._manifested(candidates, listed, passed, now)
        return Picked(candidates, {}, passed)

    def ignored(self, now: float) -> Iterator[Passed]:
        """All that stands now and is no drop, with the reason; lists the whole store."""
        yield from self.pick(self.store.list(), now).passed
        for name in self.store.others():
            yield Passed(name, "no_file")

    def _unsettled(self, entry: Entry, now: float) -> str | None:
        still = not self.settle_seconds or entry.modified_ns <= (now - self.settle_seconds) * 1e9
        return None if still else "unsettled"

    def _marked(
        self, candidates: Sequence[Entry], listed: Sequence[Entry], passed: list[Passed]
    ) -> Picked:
        marked = Marked(self.store, listed)
        whole = {entry.name for entry in candidates if marked.whole(entry.name)}
        late = [Passed(e.name, "unfinished", "no _SUCCESS beside it")
                for e in candidates if e.name not in whole]  # fmt: skip
        return Picked([e for e in candidates if e.name in whole], {}, passed + late)

    def _manifested(
        self,
        candidates: Sequence[Entry],
        listed: Sequence[Entry],
        passed: list[Passed],
        now: float,
    ) -> Picked:
        known = {entry.name: entry for entry in candidates}
        drops: dict[str, Entry] = {}
        promises: dict[str, Promise] = {}
        for manifest in listed:
            if self.is_manifest(manifest.name) and self._unsettled(manifest, now) is None:
                files, amiss = self._manifests.whole(manifest, known)
                passed += amiss or [Passed(manifest.name, "marker")]
                wanted = [pair for pair in files if self.passed_over(pair[0].name) is None]
                drops |= {entry.name: entry for entry, _ in wanted}
                promises |= {entry.name: promise for entry, promise in wanted}
        late = [Passed(n, "unfinished", "no manifest that holds lists it")
                for n in known if n not in drops]  # fmt: skip
        return Picked(list(drops.values()), promises, passed + late)

    @cached_property
    def _wanted(self) -> re.Pattern[str]:
        return _any_of(self.patterns)

    @cached_property
    def _manifest(self) -> re.Pattern[str]:
        return _any_of(self.manifests)


def _any_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """``**/`` may stand for no folder at all, as everywhere else."""
    each = (form for p in patterns for form in (p, re.sub(r"(^|/)\*\*/", r"\1", p)))
    return re.compile("|".join(translate(form) for form in each))


def _part_of(patterns: Sequence[str]) -> re.Pattern[str]:
    """Matches names of which a folder, or the last part, is like one of ``patterns``."""
    parts = "|".join(re.escape(pattern).replace(r"\*", "[^/]*") for pattern in patterns)
    return re.compile(rf"(?:^|/)(?:{parts})(?:/|$)")


_MARKER = _part_of(MARKERS)
_TEMPORARY = _part_of(TEMPORARY)
