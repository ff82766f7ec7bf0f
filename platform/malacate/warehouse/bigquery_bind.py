"""Values of Python bound to a statement, each with its BigQuery type."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from google.cloud import bigquery


@dataclass(frozen=True)
class Records:
    """Bound rows: ``unnest(@name)`` has their columns, of these BigQuery types."""

    kinds: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]

    def parameter(self, name: str) -> Any:
        """The rows as an array of structs."""
        structs = [
            bigquery.StructQueryParameter(
                None,
                *(bigquery.ScalarQueryParameter(c, k, row[c]) for c, k in self.kinds.items()),
            )
            for row in self.rows
        ]
        return bigquery.ArrayQueryParameter(name, "STRUCT", structs)


def parameter(name: str, value: Any) -> Any:
    """A bound value, with the BigQuery type of what it is in Python."""
    if isinstance(value, Records):
        return value.parameter(name)
    if isinstance(value, list | tuple):
        kind = _kind(value[0]) if value else "STRING"
        return bigquery.ArrayQueryParameter(name, kind, list(value))
    return bigquery.ScalarQueryParameter(name, _kind(value), value)


def _kind(value: Any) -> str:
    if isinstance(value, datetime) and value.tzinfo is None:
        return "DATETIME"
    return next(kind for of, kind in _KINDS if isinstance(value, of))


_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "BOOL"),
    (int, "INT64"),
    (float, "FLOAT64"),
    (bytes, "BYTES"),
    (Decimal, "BIGNUMERIC"),
    (datetime, "TIMESTAMP"),
    (date, "DATE"),
    (time, "TIME"),
    (str, "STRING"),
    (type(None), "STRING"),
)
