"""IO managers for assets written in Python: tables in the warehouse, Parquet in the lake.

Both land Parquet first; the warehouse then publishes it as every raw table is published. Values
are Arrow tables, pandas frames or, where it is installed, Polars frames; an asset that names one of
these as its argument's type is given that. Nothing is pickled. Names of columns are never changed:
those that are not legal, capitals say, are refused.
"""

import sys
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
from malacate.orchestration.cost import Spender, of_run, within_budget
from malacate.orchestration.metadata import column_schema
from malacate.orchestration.resources import Platform
from malacate.warehouse.protocol import Partition, Publication

PARTITION_COLUMN = "partition_column"
"""Metadata that a partitioned asset must have: the column its partitions are ranges of."""


class WarehouseIOManager(dg.ConfigurableIOManager):
    """A table per asset; a partition is replaced in one transaction."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
        """Land the value, then publish it in place of the table or of its partition."""
        spender = Spender.of(context.asset_key, context.run_id)
        ingest = self.platform.ingest(spender=spender)
        rows = as_arrow(obj)
        table = _table(context.asset_key, rows.schema)
        partition = _partition(context, table) if context.has_asset_partitions else None
        landing = _land(ingest, context, table, rows)
        mode = WriteMode.SNAPSHOT if partition is None else WriteMode.PARTITION
        with within_budget():
            ingest.warehouse.publish([Publication(table, landing, mode, partition=partition)])
        context.add_output_metadata(
            {
                "dagster/partition_row_count" if partition else "dagster/row_count": rows.num_rows,
                "dagster/column_schema": column_schema(table),
                "dagster/table_name": str(table.name),
                **of_run(ingest.ledger, spender),
            }
        )

    def load_input(self, context: dg.InputContext) -> Any:
        """The table, or the partitions asked for, as the type that the asset names."""
        warehouse = self.platform.target.open_warehouse(_reader(context))
        upstream = context.upstream_output
        name = TableName.of(context.asset_key.path)
        column = (upstream.definition_metadata or {}).get(PARTITION_COLUMN) if upstream else None
        with within_budget():
            if context.has_asset_partitions and column is not None:
                asked = _ranges(context, str(column))
                rows = pa.concat_tables(warehouse.read(name, partition=one) for one in asked)
            else:
                rows = warehouse.read(name)
        return _as_named(context, rows)


class LakeIOManager(dg.ConfigurableIOManager):
    """A Parquet landing per asset and partition; the newest one is read."""

    platform: dg.ResourceDependency[Platform]

    def handle_output(self, context: dg.OutputContext, obj: Any) -> None:
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
        standing = sorted(lake.landings(name.schema, name.table), key=lambda x: x.ordinal)
        newest = {landing.object: landing for landing in standing}
        wanted = _objects(context)
        if missing := [one for one in wanted if one not in newest]:
            raise LakeError(
                "an asset has not landed yet", "Materialize it first.",
                source=str(name), object=", ".join(missing[:5]), reason="not_landed",
            )  # fmt: skip
        rows = pa.concat_tables(lake.read(newest[one]) for one in wanted)
        return _as_named(context, rows)


def as_arrow(value: Any) -> pa.Table:
    """The value as Arrow with types that a contract can name; raise for anything else."""
    if isinstance(value, pd.DataFrame):
        value = pa.Table.from_pandas(value, preserve_index=False)
    elif isinstance(value, _polars_frame()):
        value = value.to_arrow()
    if not isinstance(value, pa.Table):
        raise ConfigError(
            f"an asset returned {type(value).__name__}",
            "Return a pyarrow.Table or a pandas.DataFrame (or polars.DataFrame), or use another "
            "IO manager.",
            reason="not_a_table",
        )
    for name in value.schema.names:
        legal(name, "column")
    return value.cast(pa.schema([(f.name, _stored(f.type)) for f in value.schema]))


def _reader(context: dg.InputContext) -> Spender:
    """The asset that is made of what is read pays for it; outside of a step, who asks."""
    try:
        step = context.step_context
    except dg.DagsterInvariantViolationError:
        return Spender()
    made = step.job_def.asset_layer.get_selected_entity_keys_for_node(step.node_handle)
    keys = sorted(key for key in made if isinstance(key, dg.AssetKey))
    return Spender.of(keys[0], step.run_id) if keys else Spender()


def _as_named(context: dg.InputContext, rows: pa.Table) -> Any:
    kind = context.dagster_type.typing_type
    if kind is pd.DataFrame:
        return rows.to_pandas()
    if kind in _polars_frame():
        return sys.modules["polars"].from_arrow(rows)
    return rows


def _polars_frame() -> tuple[Any, ...]:
    """The type of a Polars frame, if one can be meant: then somebody has imported Polars."""
    polars = sys.modules.get("polars")
    return (polars.DataFrame,) if polars else ()


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    return unencoded(kind)


def _table(key: dg.AssetKey, schema: pa.Schema) -> Table:
    columns = tuple(Column(field.name, field.type) for field in schema)
    return Table(TableName.of(key.path), columns)


def _objects(context: dg.OutputContext | dg.InputContext) -> list[str]:
    if not context.has_asset_partitions:
        return ["table"]
    return [f"partition {key}" for key in context.asset_partition_keys]


def _land(ingest: Ingest, context: dg.OutputContext, table: Table, rows: pa.Table) -> Landing:
    """One landing per run and output: a retried step of the same run lands once."""
    name = table.name
    standing = ingest.lake.landings(name.schema, name.table)
    ordinal = 1 + max((landing.ordinal for landing in standing), default=0)
    found = Found(name.schema, name.table, "object", _one(context), context.run_id, ordinal)
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


def _one(context: dg.OutputContext) -> str:
    first, *more = _objects(context)
    return f"{first} to {more[-1]}" if more else first


def _partition(context: dg.OutputContext, table: Table) -> Partition:
    column = str((context.definition_metadata or {}).get(PARTITION_COLUMN))
    if column not in table.by_name:
        raise ConfigError(
            "a partitioned asset does not say which of its columns its partitions are of",
            f'Give it metadata={{"{PARTITION_COLUMN}": "<column>"}}, and the column to each row.',
            object="/".join(context.asset_key.path),
            actual=f"column {column!r} of {table.schema.names}",
            reason="no_partition_column",
        )
    first, *more = _ranges(context, column)
    if more:
        raise ConfigError(
            "a run writes several partitions that are no stretch of time",
            "Give the asset no single-run backfill policy: a run for each partition.",
            object="/".join(context.asset_key.path),
            reason="many_partitions",
        )
    return first


def _ranges(context: dg.OutputContext | dg.InputContext, column: str) -> list[Partition]:
    if isinstance(context.asset_partitions_def, dg.TimeWindowPartitionsDefinition):
        window = context.asset_partitions_time_window
        return [Partition(column, window.start, window.end)]
    return [Partition(column, key) for key in context.asset_partition_keys]
