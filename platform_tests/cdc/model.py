"""The life of a table as its source sees it, and what four kinds of source tell of it.

A large text lies outside of its row: an update that leaves it as it was does not send it.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa
from platform_tests.sources.test_pgoutput import UNCHANGED, Log

from malacate.contracts.table import Column, Table
from malacate.names import TableName
from malacate.sources.cdc.pgoutput import Relation, RelationColumn

TABLE = Table(
    TableName("raw_lab", "truck"),
    (
        Column("life", pa.int64(), True),
        Column("id", pa.int64(), True),
        Column("value", pa.int64()),
        Column("big", pa.string()),
    ),
    ("life", "id"),
    physical_name="lab.truck",
)
BARE = Table(TABLE.name, tuple(TABLE.optional(keep=()).columns), (), physical_name="lab.truck")
"""The same without a key."""

MARK = "__debezium_unavailable_value"
LARGE = 9000
"""Characters of a large text, at a server that keeps it outside of its row."""

Key = tuple[int, int]
Values = tuple[int | None, str | None]
Op = Literal["I", "U", "M", "D", "T"]
Told = tuple[str, Key | None, Values, bool, str | None]
"""Operation, key, values, whether it is half of a key change, and what was not sent."""


@dataclass(frozen=True)
class Step:
    """One statement on one row, or a truncate; ``sent``: the large text is in the log."""

    op: Op
    key: Key | None
    old: Values
    new: Values
    to: Key | None = None

    @property
    def is_sent(self) -> bool:
        return self.op == "I" or self.old[1] is None or self.old[1] != self.new[1]

    def told(self) -> list[Told]:
        """The events of the log."""
        none: Values = (None, None)
        if self.op in ("D", "T"):
            return [(self.op, self.key, none, False, None)]
        missing = None if self.is_sent else "big"
        values = (self.new[0], self.new[1] if self.is_sent else None)
        if self.op == "M":
            return [("D", self.key, none, True, None), ("I", self.to, values, True, missing)]
        return [(self.op, self.key, values, False, missing)]


@dataclass
class Life:
    """Steps in their order, the rows they leave, and every key that ever was."""

    number: int
    seed: int
    length: int
    truncates: bool = False
    moves: float = 0.35
    rows: dict[Key, Values] = field(default_factory=dict)
    seen: set[Key] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        choose = random.Random(self.seed)
        for at in range(self.length):
            self.steps.append(self._step(choose, at))
            self.seen |= self.rows.keys()

    def _step(self, choose: random.Random, at: int) -> Step:
        key = (self.number, choose.randrange(3))
        old = self.rows.get(key)
        big = f"{self.number}-{at}-"
        if old is None:
            self.rows[key] = new = (choose.randrange(9), choose.choice([big, big, None]))
            return Step("I", key, (None, None), new)
        if self.truncates and choose.random() < 0.1:
            self.rows.clear()
            return Step("T", None, (None, None), (None, None))
        if choose.random() < 0.2:
            del self.rows[key]
            return Step("D", key, old, (None, None))
        new = (choose.randrange(9), choose.choice([old[1], old[1], old[1], big, None]))
        free = [k for k in ((self.number, n) for n in range(3)) if k not in self.rows]
        if free and choose.random() < self.moves:
            to = choose.choice(free)
            del self.rows[key]
            self.rows[to] = new
            return Step("M", key, old, new, to)
        self.rows[key] = new
        return Step("U", key, old, new)

    def expected(self) -> dict[Key, Values | None]:
        """Values by key; ``None`` for one that is gone."""
        return {key: self.rows.get(key) for key in self.seen}


def side_by_side(drawn: Sequence[tuple[int, int]], **how: Any) -> list[Life]:
    return [Life(number, seed, length, **how) for number, (seed, length) in enumerate(drawn)]


def expected(found: Sequence[Life]) -> dict[Key, Values | None]:
    return {key: values for life in found for key, values in life.expected().items()}


_COLUMNS = (("life", 20, True), ("id", 20, True), ("value", 20, False), ("big", 25, False))


def relation(identity: str = "d") -> Relation:
    """What the server announces of the table; with identity ``f`` all of the old row is told."""
    columns = tuple(
        RelationColumn(name, kind, -1, is_key or identity == "f") for name, kind, is_key in _COLUMNS
    )
    return Relation(77, "lab", "truck", identity, columns)


def of_slot(found: Sequence[Life], identity: str = "d", at_once: int = 1) -> Log:
    """The messages of a slot; ``at_once`` steps make a transaction."""
    log, table = Log(), relation(identity)
    steps = [step for life in found for step in life.steps]
    for first in range(0, len(steps), at_once):
        actions = [_message(step, table) for step in steps[first : first + at_once]]
        log.transaction([*([("announce", table)] if not first else []), *actions])
    return log


def _message(step: Step, table: Relation) -> tuple[Any, ...]:
    full = table.identity == "f"
    if step.op == "T":
        return ("T", table, None, None, False)
    key = step.key or (0, 0)
    whole = _row(key, step.old)
    if step.op == "D":
        return ("D", table, None, whole if full else _row(key, (None, None)), full)
    new = _row(step.to or key, step.new)
    if not step.is_sent:
        new = (*new[:3], UNCHANGED)
    if step.op == "I":
        return ("I", table, new, None, False)
    old = whole if full else (_row(key, (None, None)) if step.to else None)
    return ("U", table, new, old, full)


def _row(key: Key, values: Values) -> tuple[bytes | None, ...]:
    return tuple(None if one is None else str(one).encode() for one in (*key, *values))


def statements(life: Life) -> Iterator[str]:
    """The same in SQL; a text of the model becomes a large one that begins with it."""
    for step in life.steps:
        if step.op == "T":
            yield "truncate lab.truck"
            continue
        number, key = step.key or (0, 0)
        where = f"where life = {number} and id = {key}"
        value, big = _literal(step.new[0]), large(step.new[1])
        if step.op == "I":
            yield f"insert into lab.truck values ({number}, {key}, {value}, {big})"
        elif step.op == "D":
            yield f"delete from lab.truck {where}"
        else:
            named = [f"value = {value}"]
            named += [f"id = {step.to[1]}"] if step.to else []
            named += [f"big = {big}"] if step.is_sent else []
            yield f"update lab.truck set {', '.join(named)} {where}"


def _literal(value: Any) -> str:
    return "null" if value is None else str(value)


def large(text: str | None) -> str:
    return "null" if text is None else f"rpad('{text}', {LARGE}, 'x')"


def in_debezium(found: Sequence[Life], splits: bool = True) -> list[dict[str, Any]]:
    """Debezium's events; a key change is a deletion and a creation, or ``splits`` it not."""
    events, lsn = [], 0xFFFF_FF00
    for step in (step for life in found for step in life.steps):
        lsn += 40
        row = {"value": step.new[0], "big": step.new[1] if step.is_sent else MARK}
        gone = _debezium_row(step.key, {"value": None, "big": None})
        made = _debezium_row(step.to or step.key, row)
        if step.op == "M" and splits:
            events += [_debezium("d", gone, None, lsn), _debezium("c", None, made, lsn)]
        elif step.op == "D":
            events.append(_debezium("d", gone, None, lsn))
        else:
            op = {"I": "c", "T": "t"}.get(step.op, "u")
            before = {k: gone[k] for k in ("life", "id")} if step.op == "M" else None
            events.append(_debezium(op, before, None if op == "t" else made, lsn))
    return events


def _debezium_row(key: Key | None, values: dict[str, Any]) -> dict[str, Any]:
    number, one = key or (None, None)
    return {"life": number, "id": one, **values}


def _debezium(op: str, before: Any, after: Any, lsn: int) -> dict[str, Any]:
    source = {"connector": "postgresql", "name": "s", "ts_ms": 1_700_000_000_000, "db": "d",
              "schema": "lab", "table": "truck", "lsn": lsn, "snapshot": "false"}  # fmt: skip
    return {"op": op, "before": before, "after": after, "source": source, "ts_ms": 0}
