"""The asset ``ml/<name>``: hours of sensors as Parquet files in the lake, one for each hour."""

import base64
from collections.abc import Sequence
from typing import Any

import dagster as dg
import pyarrow as pa

from malacate.contracts.table import Table
from malacate.hours.files import Hour, HourFiles, Written, content
from malacate.orchestration.control import markdown
from malacate.orchestration.resources import Platform
from malacate.warehouse.hour_states import (
    HourStands,
    hours_standing,
    put_aside,
    sensors_by_state,
)
from malacate.warehouse.hourly import REVISION, HourlyStats
from malacate.warehouse.protocol import Partition, Warehouse

SHOWN = 48
"""Hours in the plot, the newest, and names of sensors of one state."""


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
        states = sensors_by_state(ingest.warehouse, stats, readings)
        return dg.MaterializeResult(
            metadata={
                "folder": ingest.lake.uri(at.folder),
                **_counts(standing, done),
                **{f"rows_{why}": n for why, n in put_aside(ingest.warehouse, readings).items()},
                **{f"sensors_{state}": len(names) for state, names in states.items()},
                "sensors_by_state": dg.MetadataValue.md(_states(states)),
                "by_hour": dg.MetadataValue.md(_picture(standing[-SHOWN:])),
            }
        )

    return files


def _bytes(warehouse: Warehouse, table: Table, hour: Hour) -> bytes:
    fields = [field for field in table.schema if field.name != REVISION]
    names = [field.name for field in fields]
    rows = warehouse.read(table.name, names, Partition("hour_at", hour.at))
    return content(rows.select(names).cast(pa.schema(fields)), table.key)


def _counts(standing: Sequence[HourStands], done: Written) -> dict[str, Any]:
    expected = sum(one.expected_readings for one in standing)
    readings = sum(one.readings for one in standing)
    return {
        "hours": len(standing),
        "hours_written": len(done.written),
        "hours_unchanged": done.unchanged,
        "files_removed": len(done.removed),
        "revision": max((one.revision for one in standing), default=0),
        "hours_revised": sum(one.revision > 1 for one in standing),
        "completeness": readings / expected if expected else 0.0,
    }


def _states(states: dict[str, list[str]]) -> str:
    rows = [
        {"state": state, "sensors": len(names), "names": ", ".join(names[:SHOWN])}
        for state, names in states.items()
    ]
    return markdown(rows)


def _picture(hours: Sequence[HourStands]) -> str:
    if not hours:
        return "There is no hour yet."
    svg = base64.b64encode(plot(hours).encode()).decode()
    return (
        f"Completeness (bars, full is 1) and PPV (line, highest is {_highest(hours):.3f} mm/s), "
        f"{hours[0].hour_at:%Y-%m-%d %H:%M}Z to {hours[-1].hour_at:%Y-%m-%d %H:%M}Z\n\n"
        f"![by hour](data:image/svg+xml;base64,{svg})"
    )


def plot(hours: Sequence[HourStands]) -> str:
    """A bar for the completeness of each hour, and a line of its PPV, as SVG."""
    wide, tall, most = 12, 120, _highest(hours) or 1.0
    bars, line = [], []
    for place, one in enumerate(hours):
        x, share = wide * place, min(1.0, one.readings / max(1, one.expected_readings))
        bars.append(
            f'<rect x="{x}" y="{tall * (1 - share):.1f}" width="{wide - 2}" '
            f'height="{tall * share:.1f}" fill="#b9c4f5"/>'
        )
        line.append(f"{x + wide / 2 - 1:.1f},{tall * (1 - (one.ppv_mm_s or 0.0) / most):.1f}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide * len(hours)}" height="{tall}">'
        f'<rect width="100%" height="100%" fill="#fff"/>{"".join(bars)}'
        f'<polyline points="{" ".join(line)}" fill="none" stroke="#c0392b" stroke-width="2"/></svg>'
    )


def _highest(hours: Sequence[HourStands]) -> float:
    return max((one.ppv_mm_s or 0.0 for one in hours), default=0.0)
