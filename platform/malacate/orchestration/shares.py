"""A view for readers as a Dagster asset: made again after its table, told with what it shows."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dagster as dg

from malacate.contracts.table import Column, Table
from malacate.orchestration.metadata import column_schema
from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.resources import Platform
from malacate.warehouse.protocol import Warehouse
from malacate.warehouse.views import Reader, View


def shared(view: View, known: Mapping[str, Column], description: str) -> dg.AssetsDefinition:
    """The asset ``share/<name>``; ``known`` tells of the columns of its table."""
    upstream = dg.AssetKey(list(view.table.key))

    @dg.asset(
        key=dg.AssetKey(list(view.name.key)),
        deps=[upstream],
        group_name=view.name.schema,
        kinds={"view"},
        description=description,
        tags={"layer": view.name.schema},
        metadata={"dagster/table_name": str(view.name)},
        pool=POOL,
        automation_condition=dg.AutomationCondition.eager(),
    )
    def made(platform: Platform) -> dg.MaterializeResult[None]:
        warehouse = platform.target.open_warehouse()
        warehouse.share(view)
        return dg.MaterializeResult(metadata=_told(warehouse, view, known, upstream))

    return made


def _told(
    warehouse: Warehouse, view: View, known: Mapping[str, Column], upstream: dg.AssetKey
) -> dict[str, Any]:
    """What all readers together may see; none of them may be who runs this."""
    (counted,) = warehouse.query(view.count()).to_pylist()
    kinds = warehouse.query(view.empty()).schema
    columns = tuple(
        replace(known[column], name=name, type=kinds.field(name).type, required=False)
        for name, column in view.columns.items()
    )
    lineage = {name: [dg.TableColumnDep(upstream, column)] for name, column in view.columns.items()}
    return {
        "dagster/row_count": counted["n"],
        "dagster/column_schema": column_schema(Table(view.name, columns)),
        "dagster/column_lineage": dg.TableColumnLineage(lineage),
        "dagster/table_name": str(view.name),
        "readers": dg.MetadataValue.table([_record(one, view) for one in view.readers]),
    }


def _record(reader: Reader, view: View) -> dg.TableRecord:
    conditions = [one for one in (view.rows, reader.rows) if one]
    return dg.TableRecord(
        {
            "reader": reader.name,
            "members": ", ".join(reader.members),
            "rows": " and ".join(conditions) or "all",
        }
    )
