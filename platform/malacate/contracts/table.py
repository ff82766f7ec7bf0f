"""One table as its contract declares it: the model that schema, DDL, checks and docs come from."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Literal

import pyarrow as pa

from malacate.contracts.types import sql_type
from malacate.names import TableName


@dataclass(frozen=True)
class Column:
    """A promised column. ``name`` is the warehouse's, ``delivered_as`` the source's.

    ``aliases`` are names under which earlier deliveries carried it; ``since`` is the version of
    the contract that added it, so older deliveries may lack it. Bounds are inclusive. One that is
    ``immutable`` never changes for a key: its source promises that.
    """

    name: str
    type: pa.DataType
    required: bool = False
    description: str = ""
    unit: str = ""
    classification: str = ""
    physical_name: str = ""
    aliases: tuple[str, ...] = ()
    since: str = ""
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ""
    max_length: int | None = None
    allowed: tuple[str, ...] = ()
    format: str = ""
    immutable: bool = False

    @property
    def delivered_as(self) -> str:
        """The column's name at the source."""
        return self.physical_name or self.name

    @property
    def sql_type(self) -> str:
        """Its type in DuckDB's words."""
        return sql_type(self.type)


@dataclass(frozen=True)
class Table:
    """A table of a source and the raw table it becomes."""

    name: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ()
    description: str = ""
    physical_name: str = ""
    extra_columns: Literal["reject", "ignore"] = "reject"
    owner: str = ""
    fresh_within: timedelta | None = None
    quarantine_limit: float = 0.05
    version: str = ""
    partitioned_by: str = ""
    origin: str = field(default="", compare=False)

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of its good rows, columns in contract order."""
        return pa.schema([pa.field(c.name, c.type, nullable=not c.required) for c in self.columns])

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Its columns by warehouse name."""
        return {column.name: column for column in self.columns}

    @property
    def source(self) -> str:
        """The source it belongs to: ``raw_crm.account`` is of ``crm``."""
        return self.name.schema.partition("_")[2]

    @property
    def keeps_partition(self) -> bool:
        """Whether all versions of a row are in one partition: so a key tells where it stands."""
        column = self.by_name.get(self.partitioned_by)
        return column is not None and (column.immutable or column.name in self.key)

    def having(self, *extra: Column, name: str | None = None) -> "Table":
        """The same table with more columns, perhaps under another name."""
        target = TableName(self.name.schema, name or self.name.table)
        return replace(self, name=target, columns=self.columns + extra)

    def optional(self, keep: tuple[str, ...]) -> "Table":
        """The same table with only the columns ``keep`` required."""
        columns = tuple(replace(c, required=c.name in keep) for c in self.columns)
        return replace(self, columns=columns)
