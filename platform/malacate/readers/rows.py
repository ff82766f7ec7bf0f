"""Rows that were read, in the form that is wanted, and what they are made of."""

import hashlib
import importlib
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from malacate.errors import ConfigError

_WHOLE = {
    pa.int8(): pd.Int8Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
}
"""pandas would make whole numbers with nulls floats, which hold them to 2**53 only."""


@dataclass(frozen=True)
class Rows:
    """Rows of ``table`` as of one moment; they are in memory, as Arrow, in no promised order.

    ``batches`` are the ids of the batches whose rows the whole table held at that moment, in the
    order they were published; a table that is computed, by dbt say, has none. Of a change table
    as of an instant they are those of its log that brought a change by then, the last of which
    the source committed at ``changed_at``.
    """

    table: str
    held: pa.Table = field(repr=False)
    batches: tuple[str, ...] = field(default=(), repr=False)
    as_of: datetime | None = None
    changed_at: datetime | None = None

    def __len__(self) -> int:
        return int(self.held.num_rows)

    def arrow(self) -> pa.Table:
        """The rows as Arrow, without a copy."""
        return self.held

    def pandas(self) -> pd.DataFrame:
        """The rows as pandas; whole numbers are its nullable integers, so that none is rounded."""
        return self.held.to_pandas(types_mapper=_WHOLE.get)

    def polars(self) -> Any:
        """The rows as a ``polars.DataFrame``, if polars is installed."""
        try:
            polars = importlib.import_module("polars")
        except ImportError as error:
            raise ConfigError(
                "polars is not installed",
                "Install it (pip install polars), or use arrow() or pandas().",
                reason="missing_extra",
            ) from error
        return polars.from_arrow(self.held)

    def lazy(self) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation over the rows, on every target: filters and joins run when asked for.

        What ``read`` was told to leave out was left out by the warehouse, before it came here.
        """
        connection = duckdb.connect()
        connection.execute("set timezone = 'UTC'")
        return connection.from_arrow(self.held)

    @cached_property
    def fingerprint(self) -> str:
        """Equal for equal batches; for a table that has none, for equal rows in any order.

        Of a table with batches it tells the whole table, whatever columns and partition were read;
        of a change table as of an instant, up to which change it goes, too.
        """
        if self.batches:
            upto = [self.changed_at.isoformat()] if self.changed_at else []
            return hashlib.sha256("\n".join([*sorted(self.batches), *upto]).encode()).hexdigest()
        row = "r" * (1 + max(map(len, self.held.schema.names), default=0))  # no column's name
        sums = ", ".join(f"sum(md5_number_{half}(to_json({row})))" for half in ("lower", "upper"))
        found = self.lazy().set_alias(row).aggregate(f"count(*), {sums}").fetchall()
        return hashlib.sha256(repr((self.held.schema.names, found)).encode()).hexdigest()
