"""What is published into BigQuery, and what must come of it by other code than the product's."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import count

import pyarrow as pa
from platform_tests.faults.expected import Row
from platform_tests.warehouse.batches import Batches, table

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.lake.lake import Lake
from malacate.ledger.work import Found
from malacate.warehouse.protocol import Publication

MODES = {
    "drops": WriteMode.APPEND,
    "files": WriteMode.APPEND,
    "windows": WriteMode.UPSERT,
    "whole": WriteMode.SNAPSHOT,
}
"""The tables: of ``drops`` the newest version stands, of ``files`` all of them add up."""


DAYS = (None, date(2026, 1, 31), date(2026, 2, 1), date(2026, 9, 9))
"""Of one a row has, anew with each version: so rows move from partition to partition."""


def _of(name: str) -> Table:
    day = Column("day", pa.date32())
    return replace(table(name=name).having(day), partitioned_by="day")


@dataclass(frozen=True)
class Sent:
    """A publication with the rows, keys and rejects that went into its landing."""

    this: Publication
    rows: tuple[tuple[int, str], ...]
    keys: tuple[int, ...] | None
    rejects: int

    @property
    def table(self) -> str:
        return self.this.table.name.table

    @property
    def batch_id(self) -> str:
        return self.this.landing.batch_id

    @property
    def rejected(self) -> list[Row]:
        return [(f"{self.batch_id}:{place}", self.table) for place in range(self.rejects)]


@dataclass
class Feeds:
    """Makes landings in a lake; ids of rows tell which object they came with."""

    lake: Lake
    choice: random.Random
    objects: dict[str, int] = field(default_factory=dict)

    def drop(self, name: str, version: int, table: str = "drops") -> Sent:
        """A version of an object: other rows than in the versions before it, same ids."""
        first = self.objects.setdefault(f"{table} {name}", len(self.objects)) * 100
        first += 10 * version if table == "files" else 0
        ids = range(first, first + self.choice.randrange(1, 5))
        found = Found("lab", table, "object", name, str(version), version, 1)
        return self._sent(found, ids, self.choice.randrange(3))

    def file(self, name: str, version: int) -> Sent:
        """As a drop; earlier versions of it stay."""
        return self.drop(name, version, "files")

    def window(self, lo: int | None, hi: int, sweeps: bool = False) -> Sent:
        """Changed rows of a small table, and all keys that are left if it ``sweeps``."""
        ids = self.choice.sample(range(12), 4)
        found = Found(
            "lab", "windows", "window", "window", f"{lo}..{hi}", hi, None,
            None if lo is None else str(lo), str(hi),
        )  # fmt: skip
        kept = tuple({*ids, *self.choice.sample(range(12), 4)}) if sweeps else None
        return self._sent(found, ids, self.choice.randrange(2), kept)

    def whole(self, lsn: int) -> Sent:
        """All rows of a small table."""
        found = Found("lab", "whole", "snapshot", "snapshot", str(lsn), lsn)
        return self._sent(found, self.choice.sample(range(12), 3), self.choice.randrange(2))

    def _sent(
        self,
        found: Found,
        ids: range | list[int],
        rejects: int,
        keys: tuple[int, ...] | None = None,
    ) -> Sent:
        batches = Batches(self.lake, _of(found.table), MODES[found.table])
        rows = tuple((number, f"{found.object} {found.version}") for number in ids)
        reject = {"reason": "too_long", "detail": "", "raw": b"\xff"}
        this = batches.of(
            found,
            [
                {"id": number, "name": name, "day": self.choice.choice(DAYS)}
                for number, name in rows
            ],
            keys=None if keys is None else [{"id": number} for number in keys],
            rejects=[{**reject, "position": place} for place in range(rejects)],
            replaces_older=found.table != "files",
        )
        return Sent(this, rows, keys, rejects)


@dataclass
class Model:
    """What BigQuery must hold once all of it is published, call after call."""

    marked: list[Sent] = field(default_factory=list)

    def take(self, one: Sent) -> None:
        """Publish one, unless it or a newer version of its object is there."""
        same = [had for had in self.marked if _object(had) == _object(one)]
        newer = any(_at(had) > _at(one) for had in same) and one.table != "files"
        if one not in same and not newer:
            self.marked.append(one)

    @property
    def rows(self) -> dict[str, Counter[Row]]:
        """By table: id, name and batch of each row."""
        found = {name: Counter[Row]() for name in MODES}
        for one in self._standing():
            found[one.table].update((str(n), name, one.batch_id) for n, name in one.rows)
        found["windows"] = self._upserted()
        return found

    @property
    def rejects(self) -> Counter[Row]:
        return Counter(row for one in self._standing() for row in one.rejected)

    @property
    def markers(self) -> Counter[Row]:
        """Batch, table and object; whether it is the current one; its rows and rejects."""
        newest = {_object(one): _at(one) for one in sorted(self.marked, key=_at)}
        return Counter(
            (
                one.batch_id, one.table, one.this.landing.object,
                str(one.table == "files" or newest[_object(one)] == _at(one)),
                str(len(one.rows)), str(one.rejects),
            )
            for one in self.marked
        )  # fmt: skip

    @property
    def positions(self) -> Counter[Row]:
        ends = [_at(one) for one in self.marked if one.table == "windows"]
        return Counter([("windows", str(max(ends)))] if ends else [])

    def _standing(self) -> Iterator[Sent]:
        """Those whose rows were not replaced; of windows all, for their rejects add up."""
        newest = {_object(one): _at(one) for one in sorted(self.marked, key=_at)}
        for one in self.marked:
            if one.table in ("files", "windows") or newest[_object(one)] == _at(one):
                yield one

    def _upserted(self) -> Counter[Row]:
        state: dict[int, Row] = {}
        for one in sorted((o for o in self.marked if o.table == "windows"), key=_at):
            state |= {number: (str(number), name, one.batch_id) for number, name in one.rows}
            if one.keys is not None:
                state = {number: row for number, row in state.items() if number in one.keys}
        return Counter(state.values())


def _object(one: Sent) -> tuple[str, str]:
    return one.table, one.this.landing.object


def _at(one: Sent) -> int:
    return one.this.landing.ordinal


def history(feeds: Feeds) -> list[list[Sent]]:
    """Calls of publish over all tables: versions and snapshots in any order, windows in theirs."""
    choice, pairs = feeds.choice, [(name, version) for name in "abc" for version in (1, 2, 3)]
    windows = [(None, 5), (5, 9), (7, 12), (12, 20)]
    todo = [
        _shuffled(choice, [feeds.drop(*pair) for pair in pairs]),
        _shuffled(choice, [feeds.file(name, v) for name, v in (*pairs[::3], ("a", 2), ("a", 3))]),
        [feeds.window(*window, sweeps=number % 2 == 1) for number, window in enumerate(windows)],
        _shuffled(choice, [feeds.whole(lsn) for lsn in range(1, 5)]),
    ]
    calls = []
    for number in count():
        if not any(todo):
            return [call for call in calls if call]
        chosen = sorted({number % 4, *choice.sample(range(4), 2)})
        calls.append([one for at in chosen for one in _some(choice, todo[at])])
    return calls


def _some(choice: random.Random, queue: list[Sent]) -> list[Sent]:
    return [queue.pop(0) for _ in range(min(len(queue), choice.choice((1, 1, 2))))]


def _shuffled(choice: random.Random, some: list[Sent]) -> list[Sent]:
    return choice.sample(some, len(some))
