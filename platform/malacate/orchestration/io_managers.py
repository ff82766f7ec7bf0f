"""IO managers for assets written in Python: tables in the warehouse, Parquet in the lake.

Both land Parquet first; the warehouse then publishes it as every raw table is published. Values
are Arrow tables or pandas frames; nothing is pickled.
"""

from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.contracts.types import unencoded
from malacate.errors import ConfigError, LakeError
from malacate.ingest import Ingest
from malacate.lake.lake import folder
from malacate.lake.landing import Landing
from malacate.ledger.work import Found
from malacate.names import TableName, legal
from malacate.orchestration.metadata import column_schema
from malacate.orchestration.resources import Platform
from malacate.warehouse.protocol import Partition, Publication

PARTITION_COLUMN = "partition_column"
"""Metadata that a partitioned asset must have: the column its partitions are ranges of."""


class WarehouseIOManager(dg.ConfigurableIOManager):
    """A table per asset; a partition is replaced in one transaction."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: pa.Table | pd.DataFrame) -> None:
        """Land the value, then publish it in place of the table or of its partition."""
        ingest = self.platform.ingest()
        rows = as_arrow(obj)
        table = _table(context.asset_key, rows.schema)
        partition = _partition(context) if context.has_asset_partitions else None
        landing = _land(ingest, context, table, rows)
        mode = WriteMode.SNAPSHOT if partition is None else WriteMode.PARTITION
        ingest.warehouse.publish([Publication(table, landing, mode, partition=partition)])
        context.add_output_metadata(
            {
                "dagster/partition_row_count" if partition else "dagster/row_count": rows.num_rows,
                "dagster/column_schema": column_schema(table),
                "dagster/table_name": str(table.name),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The table, or the partitions asked for, as the type that the asset names."""
        warehouse = self.platform.ingest().warehouse
        upstream = context.upstream_output
        name = TableName.of(context.asset_key.path)
        partition = None
        if context.has_asset_partitions and upstream is not None:
            partition = _range(context, (upstream.definition_metadata or {}).get(PARTITION_COLUMN))
        rows = warehouse.read(name, partition=partition)
        return rows.to_pandas() if context.dagster_type.typing_type is pd.DataFrame else rows


class LakeIOManager(dg.ConfigurableIOManager):
    """A Parquet landing per asset and partition; the newest one is read."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: pa.Table | pd.DataFrame) -> None:
        """Land the value; it is there whole or not at all."""
        rows = as_arrow(obj)
        table = _table(context.asset_key, rows.schema)
        ingest = self.platform.ingest()
        landing = _land(ingest, context, table, rows)
        context.add_output_metadata(
            {
                "dagster/row_count": rows.num_rows,
                "dagster/column_schema": column_schema(table),
                "dagster/uri": ingest.lake.uri(landing.parts[0].path),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The newest landing of the asset, or of its partition."""
        name = TableName.of(context.asset_key.path)
        lake = self.platform.ingest().lake
        wanted = _object(context)
        found = [x for x in lake.landings(name.schema, name.table) if x.object == wanted]
        if not found:
            raise LakeError(
                "an asset has not landed yet", "Materialize it first.",
                source=str(name), object=wanted, reason="not_landed",
            )  # fmt: skip
        rows = lake.read(max(found, key=lambda landing: landing.ordinal))
        return rows.to_pandas() if context.dagster_type.typing_type is pd.DataFrame else rows


def as_arrow(value: pa.Table | pd.DataFrame) -> pa.Table:
    """The value as Arrow with types that a contract can name; raise for anything else."""
    if isinstance(value, pd.DataFrame):
        value = pa.Table.from_pandas(value, preserve_index=False)
    if not isinstance(value, pa.Table):
        raise ConfigError(
            f"an asset returned {type(value).__name__}",
            "Return a pyarrow.Table or a pandas.DataFrame, or use another IO manager.",
            reason="not_a_table",
        )
    for name in value.schema.names:
        legal(name, "column")
    return value.cast(pa.schema([(f.name, _stored(f.type)) for f in value.schema]))


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    return unencoded(kind)


def _table(key: dg.AssetKey, schema: pa.Schema) -> Table:
    columns = tuple(Column(field.name, field.type) for field in schema)
    return Table(TableName.of(key.path), columns)


def _object(context: dg.OutputContext | dg.InputContext) -> str:
    return f"partition {context.asset_partition_key}" if context.has_asset_partitions else "table"


def _land(ingest: Ingest, context: dg.OutputContext, table: Table, rows: pa.Table) -> Landing:
    """One landing per run and output: a retried step of the same run lands once."""
    name = table.name
    standing = ingest.lake.landings(name.schema, name.table)
    ordinal = 1 + max((landing.ordinal for landing in standing), default=0)
    found = Found(name.schema, name.table, "object", _object(context), context.run_id, ordinal)
    schema = table.schema
    with ingest.lake.writing(folder(*_place(name), found.batch_id), "rows", schema) as part:
        for batch in rows.to_batches():
            part.write(batch)
    return ingest.lake.commit(
        Landing(
            **{**vars(found), "table": name.table},
            batch_id=found.batch_id,
            schema=name.schema,
            mode=WriteMode.APPEND.value,
            rows_read=rows.num_rows,
            rows=rows.num_rows,
            rows_quarantined=0,
            parts=(part.part,),
        )
    )


def _place(name: TableName) -> tuple[str, str]:
    return name.schema, name.table


def _partition(context: dg.OutputContext) -> Partition:
    return _required_range(context, (context.definition_metadata or {}).get(PARTITION_COLUMN))


def _required_range(context: dg.OutputContext | dg.InputContext, column: Any) -> Partition:
    found = _range(context, column)
    if found is None:
        raise ConfigError(
            "a partitioned asset does not say which column its partitions are of",
            f'Give it metadata={{"{PARTITION_COLUMN}": "<column>"}}.',
            object="/".join(context.asset_key.path),
            reason="no_partition_column",
        )
    return found


def _range(context: dg.OutputContext | dg.InputContext, column: Any) -> Partition | None:
    if column is None:
        return None
    definition = context.asset_partitions_def
    if isinstance(definition, dg.TimeWindowPartitionsDefinition):
        window = context.asset_partitions_time_window
        return Partition(str(column), window.start, window.end)
    return Partition(str(column), context.asset_partition_key)
