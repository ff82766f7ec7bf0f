"""What must stand in the warehouse: worked out from the model alone, by other code."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from platform_tests.faults.world import HEADERS, World

Row = tuple[str, ...]


@dataclass
class Expected:
    """Rows by table, as text; rejected rows and files with their reasons."""

    tables: dict[str, Counter[Row]] = field(default_factory=dict)
    rejects: Counter[tuple[str, str]] = field(default_factory=Counter)
    files: dict[str, str] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)


def expected_of(world: World, tables: set[str]) -> Expected:
    """The one end that every history of kills must reach, for the raw ``tables``."""
    this = Expected()
    for table in tables:
        kind = table.partition(".")[2].removesuffix("_changes")
        if kind in ("purchase", "stock"):
            this.tables[table] = Counter(map(_text, world.model[kind]))
            continue
        this.kinds.append(kind)
        if kind == "weighing":
            this.tables[table] = _weighing(world, this)
        elif kind == "truck":
            this.tables[table] = Counter(_truck(row) for row in _rows(world, kind))
        else:
            this.tables[table] = Counter(_text(row) for row in _rows(world, kind))
            this.tables["raw_log.part"] = Counter(_state(_rows(world, kind)))
    for path, drop in world.model["files"].items():
        this.files[path] = "quarantined" if drop["rows"] is None else "loaded"
    return this


def _rows(world: World, kind: str) -> list[list[Any]]:
    files = world.model["files"].items()
    return [r for path, drop in files if path.startswith(f"{kind}/") for r in drop["rows"] or []]


def _weighing(world: World, this: Expected) -> Counter[Row]:
    good: Counter[Row] = Counter()
    for row in _rows(world, "weighing"):
        if 0 <= row[2] <= 400:
            good[_text(row)] += 1
        else:
            reason = "below_minimum" if row[2] < 0 else "above_maximum"
            this.rejects[(reason, str(row[0]))] += 1
    return good


def _truck(row: list[Any]) -> Row:
    number, *middle, name = row
    return _text([number, middle[0] if middle else None, name])


def _state(log: list[list[Any]]) -> list[Row]:
    """The last change wins by position; a change from the log wins over a snapshot's row."""
    at = {name: index for index, name in enumerate(HEADERS["part"])}
    last: dict[int, list[Any]] = {}
    for row in sorted(log, key=lambda r: (not r[at["_is_snapshot"]], r[at["_position_hi"]])):
        last[row[0]] = row
    hi = at["_position_hi"]
    return [_text([r[0], r[1], r[2], r[hi], r[2] == "D"]) for r in last.values()]


def _text(row: Any) -> Row:
    return tuple(cell(value) for value in row)


def cell(value: Any) -> str:
    """One spelling for a value, whoever holds it."""
    if hasattr(value, "strftime"):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return repr(float(value)) if isinstance(value, float) else str(value)
