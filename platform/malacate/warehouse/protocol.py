"""What every warehouse offers. An engine is done when the shared suite is green for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.lake.landing import Landing
from malacate.names import TableName
from malacate.warehouse.views import View

BATCH_COLUMN = "_batch_id"
"""Every raw table has it: the batch that its row came with."""


@dataclass(frozen=True)
class IfAny:
    """Statements that are run only if a temporary table has rows."""

    table: str
    statements: Sequence[str]


class Derivation(Protocol):
    """A table that is a pure function of a published one, renewed in the same transaction."""

    @property
    def target(self) -> Table:
        """The derived table."""

    @property
    def by_hour(self) -> tuple[str, str] | None:
        """The published column whose hour says which rows of ``target`` a row feeds, and the column
        that has that hour there; so of other hours nothing need be read. ``None`` if any may be.
        """

    def touched(self, published: Table) -> str:
        """DuckDB SELECT of the keys of ``target`` that rows of the batches in ``touching`` feed."""

    def statements(self, published: Table) -> Sequence[str | IfAny]:
        """DuckDB SQL that renews ``target``; ``$batch_id`` may be used.

        ``touching`` has the batches that came, ``gone`` the keys that replaced versions fed.
        """

    def lineage(self) -> Mapping[str, Sequence[str]]:
        """Columns of ``target`` with the published columns they are computed of."""


@dataclass(frozen=True)
class Partition:
    """The rows with ``lo <= column < hi``; with ``hi`` absent, those with ``column = lo``."""

    column: str
    lo: Any
    hi: Any = None


@dataclass(frozen=True)
class Publication:
    """A landing on its way into its table."""

    table: Table
    landing: Landing
    mode: WriteMode
    epoch: int = 0
    replaces_older: bool = True
    partition: Partition | None = None
    derives: Derivation | None = None


@dataclass(frozen=True)
class Published:
    """What a publication did. ``outcome`` is ``published``, ``already`` or ``superseded``."""

    batch_id: str
    outcome: str
    rows: int = 0


@dataclass(frozen=True)
class Marker:
    """Proof that a batch is in its table: written by the transaction that wrote its rows."""

    batch_id: str
    object: str
    version: str
    ordinal: int
    rows: int
    rows_quarantined: int
    landing: str
    is_current: bool


def follows(lo: str | None, position: str | None) -> bool:
    """Whether a window from ``lo`` leaves nothing out after ``position``. Overlap is harmless."""
    if lo is None:
        return True
    return position is not None and int(lo) <= int(position)


class Warehouse(Protocol):
    """Tables, and the markers that say which batches they hold."""

    dialect: str

    @property
    def location(self) -> str:
        """Where another engine, dbt say, finds it."""

    def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Make landings visible, all in one transaction; a batch that has its marker is skipped.
        What is more than an engine takes at once is done in several, in their order.

        A lower ordinal never replaces a higher one of the same object. Raises ``WarehouseBusy``,
        ``SchemaDrift``, ``SourceGap``; then nothing of it is visible.
        """

    def pause(self, table: TableName) -> float:
        """Seconds until the table should be published to again, so that no quota is passed."""

    def markers(
        self, table: TableName, batch_ids: Sequence[str] | None = None
    ) -> dict[str, Marker]:
        """Markers of a table by batch, all or those asked for."""

    def position(self, table: TableName) -> str | None:
        """Where reading of the table's source stands, as of the last commit."""

    def read(
        self, table: TableName, columns: Sequence[str] = (), partition: Partition | None = None
    ) -> pa.Table:
        """Rows of a table as of one moment: all columns but the batch's, or those named."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """Run one reading statement in DuckDB's words; values are bound, never pasted."""

    def columns(self, table: TableName) -> Mapping[str, pa.DataType]:
        """The columns that the contract gave the table when it was last followed."""

    def ensure(self, tables: Sequence[Table]) -> None:
        """Create tables that are not there yet, empty; follow contracts that grew."""

    def exists(self, table: TableName) -> bool:
        """Whether the table has been published."""

    def share(self, view: View) -> None:
        """Make a view that its readers see, or put it in place of itself.

        Raises ``WarehouseError`` if its table is not there or lacks a column.
        """

    def put_aside(self, tables: Sequence[Sequence[TableName]], stamp: str) -> str:
        """Keep what these tables and their markers hold under a name with ``stamp``, and leave
        them empty, those that belong together at once; tell where it is kept.
        """
