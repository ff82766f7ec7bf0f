"""Which part of a table is compared: ranges of its key, and whose turn it is.

A range begins at a key whose checksum is small. So it stays where it is while other rows come and
go, and runs that know nothing of each other cut the same ranges.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.protocol import Warehouse

ROWS = 100_000
"""How many rows a range has, on average."""

ROUND = 30
"""In how many runs every range has its turn."""

AT_ONCE = 50
"""How many ranges a run looks at, at most; then a round takes longer."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Range:
    """Keys from ``lo`` on and before ``hi``; ``None`` is no bound."""

    lo: Key | None = None
    hi: Key | None = None


def ranges(warehouse: Warehouse, state: Table, rows: int = ROWS) -> list[Range]:
    """The whole key space, cut; in one piece if the key is not ordered alike everywhere."""
    if not all(_is_ordered(state.by_name[name].type) for name in state.key):
        return [Range()]
    key = [quote(name, "duckdb") for name in state.key]
    text = ", '|', ".join(f"cast({name} as varchar)" for name in key)
    found = warehouse.query(
        f"select {', '.join(key)} from {state.name.sql('duckdb')} where not is_deleted "  # noqa: S608
        f"and substr(md5(concat({text}, '')), 1, 8) < $least",
        {"least": f"{2**32 // rows:08x}"},
    )
    edges = sorted({tuple(row[name] for name in state.key) for row in found.to_pylist()})
    starts: list[Key | None] = [None, *edges]
    return [Range(lo, hi) for lo, hi in zip(starts, [*edges, None], strict=True)]


def whose_turn(every: Sequence[Range], turn: int) -> list[Range]:
    """Some of the ranges: another part each turn, all of them in a round.

    While the table grows, one may have to wait for the next round.
    """
    mixed = sorted(every, key=lambda one: hashlib.sha256(repr(one.lo).encode()).digest())
    turns = min(len(mixed), max(ROUND, -(-len(mixed) // AT_ONCE)))
    return mixed[turn % turns :: turns]


def within(columns: Sequence[str], some: Sequence[Range], bound: Callable[[Any], str]) -> str:
    """The condition that a key is in one of the ranges.

    ``columns`` are those of the key as a statement names them; ``bound`` says how a value stands
    there, and is called in the order of the text.
    """
    return " or ".join(f"({_inside(columns, one, bound)})" for one in some) or "1 = 0"


def _inside(columns: Sequence[str], one: Range, bound: Callable[[Any], str]) -> str:
    sides = []
    if one.lo is not None:
        sides.append(_edge(columns, one.lo, (">=", ">", ">="), bound))
    if one.hi is not None:
        sides.append(_edge(columns, one.hi, ("<=", "<", "<"), bound))
    return " and ".join(sides) or "1 = 1"


def _edge(
    columns: Sequence[str], key: Key, signs: tuple[str, str, str], bound: Callable[[Any], str]
) -> str:
    """One column after the other; the first alone is enough for an index to help."""
    roughly, surely, at_last = signs
    column, value = columns[0], key[0]
    if len(columns) == 1:
        return f"{column} {at_last} {bound(value)}"
    first = f"{column} {roughly} {bound(value)} and ({column} {surely} {bound(value)}"
    return f"({first} or {_edge(columns[1:], key[1:], signs, bound)}))"


def _is_ordered(kind: pa.DataType) -> bool:
    """Whether engines agree on the order; text is asked for in the order of its bytes."""
    tests = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_date, pa.types.is_timestamp)
    return pa.types.is_string(kind) or any(test(kind) for test in tests)
