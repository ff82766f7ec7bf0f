"""Where in a partitioned table rows stand: what prunes the statements that delete them.

BigQuery leaves partitions out by constants only, never by what a subquery returns. So the span of
a batch is computed from its staged rows before the transaction, kept with its marker, and written
into every statement that deletes the batch. A span is never too narrow; one that is not known
prunes nothing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.bigquery_types import literal

Range = tuple[Any, Any]
"""The least and the greatest value, in months that follow each other."""

_EDGES = ((0, 0), (59, 999_999))
"""Minute and second, and microsecond, of the first and of the last instant of an hour."""


@dataclass(frozen=True)
class Span:
    """The values that rows have in the column of the partitions: those in ``ranges``, and none at
    all (``nulls``). ``months`` is how many partitions hold them.
    """

    column: str
    kind: str
    ranges: tuple[Range, ...] = ()
    nulls: bool = False
    months: int = 0

    def to_json(self) -> str:
        """As its marker keeps it."""
        ranges = [[value.isoformat() for value in one] for one in self.ranges]
        kept = {"ranges": ranges, "nulls": self.nulls, "months": self.months}
        return json.dumps({"column": self.column, "kind": self.kind, **kept})


def of_marker(text: str | None) -> Span | None:
    """The span that a marker keeps, if it does."""
    if not text:
        return None
    kept = json.loads(text)
    ranges = [(_moment(lo), _moment(hi)) for lo, hi in kept.pop("ranges")]
    return Span(ranges=tuple(ranges), **kept)


def _moment(text: str) -> date | datetime:
    return datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)


def asked(table: Table, rows: Mapping[str, str]) -> str:
    """SELECT of what ``spans`` takes; ``rows`` are relations by the name that their span gets."""
    column = quote(table.partitioned_by, "bigquery")
    month = f"extract(year from {column}) * 12 + extract(month from {column})"
    return " union all ".join(
        f"select {literal(name)} as name, {month} as month, min({column}) as lo, "
        f"max({column}) as hi from {relation} group by 1, 2"
        for name, relation in rows.items()
    )


def spans(table: Table, names: Iterable[str], found: Iterable[Any]) -> dict[str, Span]:
    """The span of each of ``names``; one of which nothing was found has no rows."""
    column = table.partitioned_by
    kind = str(table.by_name[column].type)
    months: dict[str, list[Any]] = {name: [] for name in names}
    for row in found:
        months[row["name"]].append(row)
    return {
        name: Span(
            column, kind,
            _merged((row["lo"], row["hi"]) for row in some if row["month"] is not None),
            any(row["month"] is None for row in some),
            len(some),
        )
        for name, some in months.items()
    }  # fmt: skip


def of_hours(span: Span, column: str) -> Span | None:
    """The span of all hours that have rows in ``span``; ``None`` if that is of another column."""
    if span.column != column or not span.kind.startswith("timestamp"):
        return None
    begins, ends = ({"minute": n, "second": n, "microsecond": us} for n, us in _EDGES)
    ranges = tuple((lo.replace(**begins), hi.replace(**ends)) for lo, hi in span.ranges)
    return replace(span, ranges=ranges)


def pruned(table: Table, some: Sequence[Span | None]) -> str:
    """The condition, in constants, that all rows in ``some`` meet; empty if none is known, for
    no condition is never wrong.
    """
    known = [span for span in some if span is not None and _is_of(table, span)]
    if not table.partitioned_by or not some or len(known) < len(some):
        return ""
    column = quote(table.partitioned_by, "bigquery")
    ranges = _merged(one for span in known for one in span.ranges)
    inside = [f"{column} between {literal(lo)} and {literal(hi)}" for lo, hi in ranges]
    nulls = [f"{column} is null"] if any(span.nulls for span in known) else []
    return f" and ({' or '.join([*inside, *nulls]) or 'false'})"


def _is_of(table: Table, span: Span) -> bool:
    """Whether a span is about the column that the contract names today, of the same type."""
    column = table.by_name.get(table.partitioned_by)
    return column is not None and (column.name, str(column.type)) == (span.column, span.kind)


def _merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """Those of months that follow each other as one."""
    merged: list[Range] = []
    for lo, hi in sorted(ranges):
        if merged and _month(lo) <= _month(merged[-1][1]) + 1:
            merged[-1] = (merged[-1][0], max(hi, merged[-1][1]))
        else:
            merged.append((lo, hi))
    return tuple(merged)


def _month(value: date) -> int:
    return value.year * 12 + value.month
