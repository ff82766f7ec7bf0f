"""Planted bugs around objects: how they are found, read, sent, skipped and removed."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from malacate import transfer as transfers
from malacate.batch import Claim
from malacate.errors import SourceUnreachable
from malacate.ingest import Ingest
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.work import Found
from malacate.policies import Policies
from malacate.route import Report, Route
from malacate.sources import discovery, notices
from malacate.sources.completeness import Promise
from malacate.sources.discovery import Discovery, Rising
from malacate.sources.files import stage
from malacate.stores import folder
from malacate.stores.folder import FolderStore
from malacate.stores.protocol import Entry
from malacate.transfer import Transfer

PAGES: Any = discovery._Pages


def found_by_name_only() -> None:
    """Whatever stands under a name is its one version."""
    original = Discovery.found

    def found(self: Discovery, entry: Entry, promise: str | None = None) -> Found:
        return replace(original(self, entry, promise), version="1")

    Discovery.found = found  # type: ignore[method-assign]
    version_not_checked()


def version_not_checked() -> None:
    """What is read is what stands now, whichever version was asked for."""
    opened, checked = FolderStore.open, folder._require

    @contextmanager
    def loose(self: FolderStore, name: str, version: str) -> Iterator[Any]:
        folder._require = lambda *_: None
        with opened(self, name, version) as drop:
            yield drop
        folder._require = checked

    FolderStore.open = loose  # type: ignore[assignment,method-assign]


def event_believed() -> None:
    """What an event tells is noted without asking the store."""

    def look(listener: Any, name: str, handled: Any, now: float) -> list[Found]:
        return [listener.discovery.found(Entry(name, 0, "told", 0, 0))]

    notices._look = look


def cursor_before_the_note() -> None:
    """Where to look on from is kept first, by a transaction of its own."""
    look, opened = Discovery.tick, list[Ledger]()

    def tick(self: Discovery, cursor: str | None, now: float, budget: int = 20) -> Any:
        seen = look(self, cursor, now, budget)
        for ledger in opened:
            ledger.look_on_from(self.source, self.table, seen.cursor)
        return seen

    made = Ledger.__init__

    def init(self: Ledger, *asked: Any, **more: Any) -> None:
        made(self, *asked, **more)
        opened.append(self)

    Discovery.tick = tick  # type: ignore[method-assign]
    Ledger.__init__ = init  # type: ignore[method-assign]


def page_skipped() -> None:
    """Each look goes on a page too far."""
    listed = PAGES.list

    def list_(self: Any, prefix: str, after: str) -> str | None:
        last: str | None = listed(self, prefix, after)
        if last is None:
            return None
        page = [e.name for e, _ in zip(self._store.list(prefix, last), range(10), strict=False)]
        return page[-1] if page else last

    PAGES.list = list_


def walk_never_ends() -> None:
    """Each look begins the walk again."""
    walk = Discovery._walk

    def again(self: Discovery, at: Any, now: float, pages: Any) -> Any:
        return walk(self, replace(at, began=0.0, at="", walked=0.0), now, pages)

    Discovery._walk = again  # type: ignore[method-assign]


def walk_ends_with_its_budget() -> None:
    """A look that spent its requests takes the rest for seen."""
    listed = PAGES.list

    def list_(self: Any, prefix: str, after: str) -> None:
        listed(self, prefix, after)
        self.is_done = True

    PAGES.list = list_


def last_listed_is_safe() -> None:
    """What is listed is complete up to its last name: nothing appears late."""
    Rising.__init__ = _without_overlap(Rising.__init__)  # type: ignore[method-assign]


def _without_overlap(made: Any) -> Any:
    def init(self: Rising, overlap_seconds: float = 0.0) -> None:
        made(self, 0.0)

    return init


def create_overwrites() -> None:
    """A put that replaces what stands there."""

    def create(self: FolderStore, name: str, data: BinaryIO) -> Entry:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        working = path.with_name(f".{secrets.token_hex(4)}.tmp")
        data.seek(0)
        with working.open("wb") as copy:
            shutil.copyfileobj(data, copy)
        os.replace(working, path)  # noqa: PTH105
        return self.head(name)

    FolderStore.create = create  # type: ignore[method-assign]


def cleaned_after_unknown() -> None:
    """A publication without an answer is taken for one that failed."""
    publish = Ingest._publish

    def tidy(self: Ingest, route: Route, landed: Any) -> None:
        try:
            publish(self, route, landed)
        except Exception:
            for claim, landing in landed:
                self.lake.withdraw(landing)
                self.lake.discard_input(claim.batch_id)
            raise

    Ingest._publish = tidy  # type: ignore[method-assign]


def removed_after_unknown() -> None:
    """A put without an answer is undone."""
    put = Transfer._put

    def tidy(self: Transfer, name: str, *more: Any) -> Entry:
        try:
            return put(self, name, *more)
        except SourceUnreachable:
            self.target.remove(name, self.target.head(name).version)
            raise

    Transfer._put = tidy  # type: ignore[assignment,method-assign]


def drop_removed_once_landed() -> None:
    """The drop goes as its rows are in the lake, before any marker."""
    read = Ingest._read

    def eager(self: Ingest, route: Route, claim: Claim, *more: Any) -> Any:
        landing = read(self, route, claim, *more)
        if route.after_load == "remove":
            route.source.release(claim.found)  # type: ignore[attr-defined]
        return landing

    Ingest._read = eager  # type: ignore[method-assign]


def twins_by_name() -> None:
    """Files of the same name in different folders are the same."""
    repeated = Policies.repeated

    def alike(self: Policies, route: Route, claim: Claim, sha256: str) -> Any:
        return repeated(self, route, claim, PurePosixPath(claim.found.object).name)

    Policies.repeated = alike  # type: ignore[method-assign]


def nothing_held() -> None:
    """Who loads what only one may load is not written down."""
    Ledger.hold = lambda self, *_, **__: None  # type: ignore[method-assign]


def copy_not_read_back() -> None:
    """A put that was answered is a copy."""

    def copy(self: Transfer, ledger: Ledger, lake: Lake, claim: Claim) -> Outcome:
        found = claim.found
        staged = stage(self.discovery.selection.store, found, lake)
        ours = ledger.batches(*self.batches, transfers._LOADED)
        mine = [str(row["landing"]) for row in ours if row["object"] == found.object]
        entry = self._put(found.object, staged, mine)
        return Outcome("loaded", landing=entry.version, sha256=staged.sha256)

    Transfer._copy = copy  # type: ignore[method-assign]


def promise_ignored() -> None:
    """What a manifest says of a file is not looked at."""
    Promise.hold = lambda self, *_, **__: None  # type: ignore[method-assign]


def skipped_bytes_dropped() -> None:
    """The bytes of what is put aside are removed, and not kept."""

    def discarded(self: Lake, batch_id: str) -> str:
        self.discard_input(batch_id)
        return f"quarantine/{batch_id}"

    Lake.quarantine_file = discarded  # type: ignore[method-assign]


def removed_once_noted() -> None:
    """Drops are removed whether or not a marker was read back."""
    remove = Policies.remove_drops

    def both(self: Policies, route: Route, report: Report) -> None:
        if route.after_load == "remove":
            for found in self.ledger.waiting(*route.batches):
                route.source.release(found)  # type: ignore[attr-defined]
        remove(self, route, report)

    Policies.remove_drops = both  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    planted.__name__: planted
    for planted in (
        found_by_name_only, version_not_checked, event_believed, cursor_before_the_note,
        page_skipped, walk_never_ends, walk_ends_with_its_budget, last_listed_is_safe,
        create_overwrites, cleaned_after_unknown, removed_after_unknown,
        drop_removed_once_landed, twins_by_name, nothing_held, copy_not_read_back,
        promise_ignored, skipped_bytes_dropped, removed_once_noted,
    )
}  # fmt: skip
