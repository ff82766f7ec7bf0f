"""What BigQuery reads for DML, by its documented rule: the emulator estimates nothing.

DELETE reads all columns of the partitions that constants in its WHERE do not leave out; the rows of
a partition count as wide as their types. cloud.google.com/bigquery/docs: "on-demand query size
calculation", "querying partitioned tables".
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import sqlglot
from sqlglot import exp

Rows = Sequence[Mapping[str, Any]]


def deletes(script: str, table: str) -> list[exp.Delete]:
    """The statements of a script that delete from ``table``."""
    found = (one for one in sqlglot.parse(script, read="bigquery") if isinstance(one, exp.Delete))
    return [one for one in found if ".".join(part.name for part in one.this.parts) == table]


def constant(delete: exp.Delete, column: str) -> exp.Expression | None:
    """What a DELETE requires of ``column`` by constants alone, if anything."""
    condition = delete.args["where"].this
    terms = list(condition.flatten()) if isinstance(condition, exp.And) else [condition]
    return next((term for term in terms if _is_constant(term, column)), None)


def _is_constant(term: exp.Expression, column: str) -> bool:
    names = {one.name for one in term.find_all(exp.Column)}
    return names <= {column} and not term.find(exp.Select)


def scanned(script: str, table: str, column: str, held: Rows) -> int:
    """Bytes that the deleting statements of a script read, while ``table`` holds ``held``."""
    partitions: dict[tuple[int, int] | None, list[Mapping[str, Any]]] = defaultdict(list)
    for row in held:
        at = row[column]
        partitions[at and (at.year, at.month)].append(row)
    return sum(
        sum(_width(value) for row in rows for value in row.values())
        for delete in deletes(script, table)
        for month, rows in partitions.items()
        if _may_hold(constant(delete, column), month)
    )


def _width(value: Any) -> int:
    return 0 if value is None else 2 + len(value.encode()) if isinstance(value, str) else 8


def _may_hold(term: exp.Expression | None, month: tuple[int, int] | None) -> bool:
    """Whether the partition of a month (of nulls) may have rows that meet a term."""
    match term:
        case None:
            return True
        case exp.Paren():
            return _may_hold(term.this, month)
        case exp.Or():
            return _may_hold(term.left, month) or _may_hold(term.right, month)
        case exp.Boolean():
            return bool(term.this)
        case exp.Is():
            return month is None
        case exp.Between():
            lo, hi = (_month(term.args[name]) for name in ("low", "high"))
            return month is not None and lo <= month <= hi
    raise AssertionError(term.sql())


def _month(constant: exp.Expression) -> tuple[int, int]:
    text = constant.find(exp.Literal)
    assert text
    day = date.fromisoformat(text.name[:10])
    return day.year, day.month
