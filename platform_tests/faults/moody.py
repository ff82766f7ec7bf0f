"""A store that commits and loses the reply, answers late, cuts bodies, and lists what was."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from malacate.errors import SourceUnreachable
from malacate.stores.protocol import Entry, Opened, Store
from malacate.transfer import MANIFESTS

CUT_AFTER = 7
LATE_LISTINGS = 3


class Moody:
    """``store`` with faults at seeded places; ``proof`` is asked before anything is removed.

    What was garbled can be read back and removed: a wrong copy that nobody could take away is
    taken for a stranger's, which stays and is told.
    """

    def __init__(
        self,
        store: Store,
        choice: random.Random,
        rate: float = 0.25,
        proof: Callable[[str, str], bool] = lambda name, version: True,
        is_late: bool = False,
    ) -> None:
        self.store, self.uri = store, store.uri
        self.injected: Counter[str] = Counter()
        self.unproven: list[str] = []
        self.is_calm = False
        self._choice, self._rate, self._proof = choice, rate, proof
        self._is_late = is_late
        self._garbled = set[str]()
        self._listings: Counter[tuple[str, str]] = Counter()

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        fault = self._fault("list 503", "list cut")
        if fault == "list 503":
            raise self._silent("503")
        for entry in self.store.list(prefix, after):
            if self._is_hidden(entry):
                continue
            yield entry
            if fault == "list cut":
                raise self._silent("the connection was closed")

    def head(self, name: str) -> Entry:
        if self._fault("head 503"):
            raise self._silent("503")
        return self.store.head(name)

    @contextmanager
    def open(self, name: str, version: str) -> Iterator[Opened]:
        fault = "" if name in self._garbled else self._fault("open 429", "body cut")
        if fault == "open 429":
            raise self._silent("429")
        with self.store.open(name, version) as opened:
            yield _Cut(opened, self._silent("the body was cut")) if fault else opened

    def create(self, name: str, data: BinaryIO) -> Entry:
        kinds = ("put 503", "put lost its reply", "put garbled")
        fault = self._fault(*kinds[: 2 if name.startswith(MANIFESTS) else 3])
        if fault == "put 503":
            raise self._silent("503")
        if fault == "put garbled":
            data.seek(0)
            self._garbled.add(name)
            return self.store.create(name, BytesIO(data.read()[::-1] + b"?"))
        entry = self.store.create(name, data)
        if fault:
            raise self._silent("no reply came")
        return entry

    def remove(self, name: str, version: str) -> bool:
        if not self._proof(name, version):
            self.unproven.append(name)
        kinds = ("remove 503", "remove lost its reply")
        fault = "" if name in self._garbled else self._fault(*kinds)
        self._garbled.discard(name)
        if fault == "remove 503":
            raise self._silent("503")
        was_there = self.store.remove(name, version)
        if fault:
            raise self._silent("no reply came")
        return was_there

    def others(self) -> Iterator[str]:
        return self.store.others()

    def _fault(self, *kinds: str) -> str:
        if self.is_calm or self._choice.random() > self._rate:
            return ""
        kind = self._choice.choice(kinds)
        self.injected[kind] += 1
        return kind

    def _is_hidden(self, entry: Entry) -> bool:
        """Half of the versions are listed a few listings late, as those of some stores are."""
        if not self._is_late or self.is_calm:
            return False
        version = (entry.name, entry.version)
        if version not in self._listings:
            is_late = self._choice.random() < 0.5
            self._listings[version] = LATE_LISTINGS if is_late else 0
            self.injected["listed late"] += is_late
        self._listings[version] -= 1
        return self._listings[version] >= 0

    def _silent(self, said: str) -> SourceUnreachable:
        advice = "Nothing was lost, the next attempt goes on."
        return SourceUnreachable(
            "a bucket does not answer", advice, object=self.uri, actual=said, reason="unreachable"
        )


class _Cut:
    def __init__(self, opened: Opened, error: SourceUnreachable) -> None:
        self._opened, self._error, self._has_begun = opened, error, False

    def read(self, size: int = -1, /) -> bytes:
        if self._has_begun:
            raise self._error
        self._has_begun = True
        return self._opened.read(CUT_AFTER)

    def verify(self) -> None:
        raise self._error
