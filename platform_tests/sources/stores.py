"""Stores that exist in memory: one that can be written to, one of a million objects that is not.

Both count what they are asked.
"""

import io
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

from malacate.errors import SourceUnreachable, Superseded
from malacate.stores.names import raw
from malacate.stores.protocol import Entry

START = datetime(2026, 1, 1, tzinfo=UTC)


class Bytes(io.BytesIO):
    def verify(self) -> None:
        pass


class MemoryStore:
    """Objects by name; ``hidden`` ones stand and are not listed yet, as a late listing has it."""

    def __init__(self, uri: str = "s3://drops", now: float = 0.0) -> None:
        self.uri = uri
        self.now = now
        self.objects: dict[str, tuple[Entry, bytes]] = {}
        self.hidden: set[str] = set()
        self.is_down = False
        self.asked: Counter[str] = Counter()
        self.listings: list[tuple[str, str]] = []
        self._writes = 0

    def put(self, name: str, data: bytes = b"x", at: float | None = None) -> Entry:
        self._writes += 1
        modified = int((self.now if at is None else at) * 1e9)
        entry = Entry(name, len(data), f"v{self._writes}", self._writes, modified)
        self.objects[name] = (entry, data)
        return entry

    def delete(self, name: str) -> None:
        self.objects.pop(name, None)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        self._ask("list")
        self.listings.append((prefix, after))
        for name in sorted(self.objects, key=raw):
            if raw(name).startswith(raw(prefix)) and raw(name) > raw(after):
                self.asked["listed"] += 1
                if name not in self.hidden:
                    yield self.objects[name][0]

    def head(self, name: str) -> Entry:
        self._ask("head")
        if name not in self.objects:
            raise FileNotFoundError(name)
        return self.objects[name][0]

    @contextmanager
    def open(self, name: str, version: str) -> Iterator[Bytes]:
        self._ask("open")
        if name not in self.objects:
            raise FileNotFoundError(name)
        entry, data = self.objects[name]
        if entry.version != version:
            raise Superseded("written again", "", object=name, reason="superseded")
        yield Bytes(data)

    def create(self, name: str, data: BinaryIO) -> Entry:
        if name in self.objects:
            raise FileExistsError(name)
        data.seek(0)
        return self.put(name, data.read())

    def replace(self, name: str, data: BinaryIO) -> None:
        data.seek(0)
        self.put(name, data.read())

    def remove(self, name: str, version: str) -> bool:
        is_same = name in self.objects and self.objects[name][0].version == version
        if is_same:
            self.delete(name)
        return is_same

    def others(self) -> Iterator[str]:
        return iter(())

    def _ask(self, what: str) -> None:
        self.asked[what] += 1
        if self.is_down:
            raise SourceUnreachable("it does not answer", "", object=self.uri, reason="unreachable")


def name_of(number: int, an_hour: int) -> str:
    """The name of the object with this number, ``an_hour`` of them in each hour."""
    hour = START + timedelta(hours=number // an_hour)
    return f"rock/{hour:%Y/%m/%d/%H}/{number % an_hour:06}.avro"


def end_of(count: int, an_hour: int) -> float:
    """When the last hour of ``count`` objects is half over."""
    return (START + timedelta(hours=(count - 1) // an_hour + 0.5)).timestamp()


def numbers(count: int, an_hour: int, prefix: str, after: str) -> range:
    """Which of ``count`` objects have ``prefix`` and come after ``after``; nothing is made."""

    def name(number: int) -> str:
        return name_of(number, an_hour)

    lo = max(
        bisect_left(range(count), prefix, key=name), bisect_right(range(count), after, key=name)
    )
    return range(lo, bisect_left(range(count), prefix + "\U0010ffff", key=name))


class LazyStore(MemoryStore):
    """``count`` objects in hour folders that are made as they are listed."""

    def __init__(self, count: int, an_hour: int) -> None:
        super().__init__()
        self.count, self.an_hour = count, an_hour

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        self._ask("list")
        for number in numbers(self.count, self.an_hour, prefix, after):
            self.asked["listed"] += 1
            written = (START + timedelta(hours=number // self.an_hour)).timestamp()
            name = name_of(number, self.an_hour)
            yield Entry(name, 100, f"v{number}", number, int(written * 1e9))
