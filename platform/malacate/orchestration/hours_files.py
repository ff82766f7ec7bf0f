"""The asset ``ml/<name>``: hours of sensors as Parquet files in the lake, one for each hour."""

import dagster as dg
import pyarrow as pa

from malacate.contracts.table import Table
from malacate.hours.files import Hour, HourFiles, content
from malacate.orchestration.hours_shown import of_hours
from malacate.orchestration.resources import Platform
from malacate.warehouse.hour_states import hours_standing
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import REVISION
from malacate.warehouse.protocol import Partition, Warehouse


def hours_files(name: str, stats: HourlyStats, readings: Table, pool: str) -> dg.AssetsDefinition:
    """The asset, which follows the table of hours; ``readings`` are what that is derived of."""
    table = stats.table
    key = dg.AssetKey(["ml", name])

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(list(table.name.key))],
        group_name=table.source,
        owners=[f"team:{table.owner}"] if table.owner else None,
        kinds={"python", "parquet"},
        pool=pool,
        automation_condition=dg.AutomationCondition.eager(),
        description=f"{table.name} as files, one per hour: the same rows are the same bytes.",
    )
    def files(platform: Platform) -> dg.MaterializeResult[None]:
        ingest = platform.ingest()
        standing = hours_standing(ingest.warehouse, stats)
        hours = [Hour(one.hour_at, one.revision, one.seen) for one in standing]
        at = HourFiles(ingest.lake, "/".join(key.path))
        done = at.bring_up(hours, lambda hour: _bytes(ingest.warehouse, table, hour))
        return dg.MaterializeResult(
            metadata={
                "folder": ingest.lake.uri(at.folder),
                "hours": len(standing),
                "hours_written": len(done.written),
                "hours_unchanged": done.unchanged,
                "files_removed": len(done.removed),
                **of_hours(ingest.warehouse, stats, readings, standing),
            }
        )

    return files


def _bytes(warehouse: Warehouse, table: Table, hour: Hour) -> bytes:
    fields = [field for field in table.schema if field.name != REVISION]
    names = [field.name for field in fields]
    rows = warehouse.read(table.name, names, Partition("hour_at", hour.at))
    return content(rows.select(names).cast(pa.schema(fields)), table.key)
