"""BigQuery's tables: those of markers and claims, and those that follow their contract.

No DDL can be part of a transaction, so all of it may be repeated and leaves rows as they are.
"""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from google.api_core import exceptions as refusals
from google.cloud import bigquery

from malacate.contracts.table import Table
from malacate.contracts.types import arrow_type
from malacate.names import TableName, quote
from malacate.warehouse.bigquery_bind import Records
from malacate.warehouse.bigquery_jobs import STAGED_FOR, Jobs
from malacate.warehouse.bigquery_types import ddl, fields, literal
from malacate.warehouse.evolution import changes
from malacate.warehouse.protocol import BATCH_COLUMN

STAGING = "malacate_staging"
"""Loads go here first; what a dead worker leaves expires by itself."""

_MS_STAGED = int(STAGED_FOR.total_seconds() * 1000)
_TEXT, _LONG, _FLAG = "STRING", "INT64", "BOOL"
_BATCH = {"batch_id": _TEXT, "schema_name": _TEXT, "table_name": _TEXT}
_MARKER = {
    **_BATCH, "object": _TEXT, "version": _TEXT, "ordinal": _LONG, "mode": _TEXT, "rows": _LONG,
    "rows_quarantined": _LONG, "landing": _TEXT, "epoch": _LONG, "is_current": _FLAG,
    "span": _TEXT,
}  # fmt: skip
SYSTEM = {
    "loads": {**_MARKER, "published_at": "TIMESTAMP"},
    "claims": {**_MARKER, "position": _TEXT, "claim": _TEXT, "state": _TEXT},
    "positions": {"schema_name": _TEXT, "table_name": _TEXT, "position": _TEXT, "batch_id": _TEXT},
    "quarantine": {
        **_BATCH, "position": _LONG, "reason": _TEXT, "detail": _TEXT, "raw": "BYTES",
    },
    "columns": {
        "schema_name": _TEXT, "table_name": _TEXT, "column_name": _TEXT, "type": _TEXT,
        "noted_at": "TIMESTAMP",
    },
}  # fmt: skip
"""The dataset ``malacate``. ``claims`` holds what is about to be published: its rows are updated
first in each transaction, and only statements that change rows of one table conflict. Those that
were overtaken expire. ``span`` is where the rows of a batch are, see ``bigquery_spans``.
"""
MARKER_COLUMNS = tuple(_MARKER)


class Tables:
    """Tables of one project, in one ``location``."""

    def __init__(self, jobs: Jobs, location: str | None, key: str | None) -> None:
        self._jobs = jobs
        self._client = jobs.client
        self._location = location
        self._encrypted = bigquery.EncryptionConfiguration(key) if key else None
        self._made: set[str] = set()

    def prepare(self) -> None:
        """Create what markers, claims, positions and quarantine are kept in."""
        if "malacate" in self._made:
            return
        self.dataset(STAGING, _MS_STAGED)
        self.dataset("malacate")
        for name, columns in SYSTEM.items():
            schema = [bigquery.SchemaField(column, kind) for column, kind in columns.items()]
            table = bigquery.Table(self.reference("malacate", name), schema)
            table.clustering_fields = ["table_name"]
            if name == "claims":
                table.time_partitioning = bigquery.TimePartitioning(expiration_ms=_MS_STAGED)
            here = {field.name for field in self._create(table).schema}
            for newer in (field for field in schema if field.name not in here):
                self._alter(TableName("malacate", name), _adding(newer))

    def dataset(self, name: str, expires_ms: int | None = None) -> None:
        """Create a dataset, unless it is there; its tables go when they are that old."""
        if name in self._made:
            return
        dataset = bigquery.Dataset(f"{self._client.project}.{name}")
        dataset.labels = labels("" if name in (STAGING, "malacate") else name)
        if expires_ms:
            dataset.default_table_expiration_ms = expires_ms
        if self._location:
            dataset.location = self._location
        if self._encrypted:
            dataset.default_encryption_configuration = self._encrypted
        self._client.create_dataset(dataset, exists_ok=True, timeout=60)
        self._made.add(name)

    def reference(self, dataset: str, table: str) -> bigquery.TableReference:
        """A table of this project."""
        return bigquery.DatasetReference(self._client.project, dataset).table(table)

    def standing(self, name: TableName) -> Any | None:
        """The table as BigQuery has it; ``None`` if there is none."""
        try:
            return self._client.get_table(self.reference(name.schema, name.table), timeout=60)
        except refusals.NotFound:
            return None

    def follow(self, table: Table) -> None:
        """Create the table, or change its columns until it holds what its contract says.

        Raises ``SchemaDrift`` for a change that would lose values, ``ContractError`` for types
        that BigQuery does not have.
        """
        wanted = {field.name: field for field in fields(table)}
        here = self.standing(table.name)
        noted = self.noted(table.name) if here else {}
        changed = changes(table, noted)
        if here is None:
            self._make(table, list(wanted.values()))
        standing = {field.name: field for field in here.schema} if here else wanted
        for field in (wanted[column.name] for column in changed):
            if field.name not in standing:
                self._alter(table.name, _adding(field))
            elif not _same(standing[field.name], field):
                name = quote(field.name, "bigquery")
                self._alter(table.name, f"alter column {name} set data type {ddl(field)}")
        self._note(table, {column.name: column.sql_type for column in changed})

    def _alter(self, name: TableName, change: str) -> None:
        self._jobs.query(f"alter table {name.sql('bigquery')} {change}")

    def _make(self, table: Table, schema: list[bigquery.SchemaField]) -> None:
        """Create it, clustered by its batches: BigQuery leaves blocks out for constants alone, as
        it does partitions, and batches are all that statements compare with constants. Keys are
        compared with those that are staged, so to cluster by them would spare no merge a block.
        """
        self.dataset(table.name.schema)
        batch = bigquery.SchemaField(BATCH_COLUMN, "STRING")
        made = bigquery.Table(self.reference(table.name.schema, table.name.table), [*schema, batch])
        made.description = table.description
        made.labels = labels(table.name.schema)
        if table.partitioned_by:
            # A table has 10,000 partitions at most, and a script changes 4,000 at most.
            made.time_partitioning = bigquery.TimePartitioning("MONTH", table.partitioned_by)
        made.clustering_fields = [BATCH_COLUMN]
        self._create(made)

    def _create(self, table: bigquery.Table) -> Any:
        """The table as it stands then, new or not."""
        if self._encrypted:
            table.encryption_configuration = self._encrypted
        return self._client.create_table(table, exists_ok=True, timeout=60)

    def noted(self, name: TableName) -> dict[str, pa.DataType]:
        """What the contract called the columns when it was last followed."""
        found = self._jobs.query(
            "select column_name, type from malacate.columns where schema_name = @schema and "
            "table_name = @table order by noted_at",
            {"schema": name.schema, "table": name.table},
        ).result()
        return {row["column_name"]: arrow_type(row["type"]) for row in found}

    def _note(self, table: Table, columns: dict[str, str]) -> None:
        if not columns:
            return
        name = table.name
        rows = [
            {"schema_name": name.schema, "table_name": name.table, "column_name": c, "type": kind}
            for c, kind in columns.items()
        ]
        kinds = {column: kind for column, kind in SYSTEM["columns"].items() if kind == _TEXT}
        self.insert("columns", Records(kinds, rows), {"noted_at": "current_timestamp()"})

    def insert(self, name: str, records: Records, more: Mapping[str, str]) -> None:
        """Add rows to a table of ``SYSTEM``; ``more`` are further columns as expressions."""
        quoted = [quote(column, "bigquery") for column in records.kinds]
        columns = ", ".join([*quoted, *more])
        chosen = ", ".join([*(f"r.{column}" for column in quoted), *more.values()])
        self._jobs.query(
            f"insert into malacate.{name} ({columns}) select {chosen} from unnest(@rows) as r",
            {"rows": records},
        )


def labels(schema: str) -> dict[str, str]:
    """What is on tables, datasets and jobs: the layer and the source that ``schema`` is of."""
    layer, _, source = schema.partition("_")
    told = {"app": "malacate", "layer": layer, "source": source}
    return {name: value for name, value in told.items() if value}


def _adding(field: bigquery.SchemaField) -> str:
    said = f" options (description={literal(field.description)})" if field.description else ""
    return f"add column if not exists {quote(field.name, 'bigquery')} {ddl(field)}{said}"


def _same(here: bigquery.SchemaField, wanted: bigquery.SchemaField) -> bool:
    return _STANDARD.get(here.field_type, here.field_type) == wanted.field_type


_STANDARD = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "STRUCT": "RECORD"}
