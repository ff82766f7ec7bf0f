"""The asset ``ops/warehouse_cost``: what the warehouse billed for each asset, day by day."""

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from xml.sax.saxutils import escape

import dagster as dg
import pyarrow as pa

from malacate.ledger import costs
from malacate.orchestration.control import markdown
from malacate.orchestration.resources import Platform
from malacate.orchestration.schedule import by_cron
from malacate.warehouse.cost import size

KEY = dg.AssetKey(["ops", "warehouse_cost"])
SHOWN = 30
"""Rows of the table, and days of the plot, that the UI shows."""

_SCHEMA = pa.schema(
    [
        ("day_on", pa.date32()),
        ("asset", pa.string()),
        ("statements", pa.int64()),
        ("bytes_estimated", pa.int64()),
        ("bytes_billed", pa.int64()),
        ("cost_usd", pa.float64()),
    ]
)
_NOTHING = "Nothing was billed: the warehouse of this target costs nothing, or was not asked yet."


def warehouse_cost(
    after: Sequence[str], pool: str, engine: str, cron: str = "40 3 * * *"
) -> dg.AssetsDefinition:
    """The asset, due by ``cron`` (UTC); a run that makes ``after`` too makes them first."""

    @dg.asset(
        key=KEY,
        deps=[dg.AssetKey(key.split("/")) for key in after],
        group_name="ops",
        kinds={"python", engine},
        io_manager_key="warehouse",
        pool=pool,
        automation_condition=by_cron(cron),
        description="Statements, bytes and USD that the warehouse billed, by asset and day (UTC).",
    )
    def cost(platform: Platform) -> dg.MaterializeResult[pa.Table]:
        rows = costs.by_day(platform.target.open_ledger())
        days = [{**row, "day_on": date.fromisoformat(row["day_on"])} for row in rows]
        return dg.MaterializeResult(
            value=pa.Table.from_pylist(days, _SCHEMA), metadata=_shown(rows)
        )

    return cost


def _shown(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not rows:
        return {"total_usd": 0.0, "billed": dg.MetadataValue.md(_NOTHING)}
    days: dict[str, float] = defaultdict(float)
    assets: dict[str, float] = defaultdict(float)
    for row in rows:
        days[row["day_on"]] += row["cost_usd"]
        assets[row["asset"]] += row["cost_usd"]
    dearest = sorted(assets.items(), key=lambda one: -one[1])[:SHOWN]
    plots = [
        _image("USD by asset", plot(dearest)),
        _image("USD by day", plot(sorted(days.items())[-SHOWN:])),
    ]
    newest = sorted(rows, key=lambda row: (row["day_on"], row["cost_usd"]), reverse=True)[:SHOWN]
    return {
        "total_usd": round(sum(days.values()), 6),
        "billed": dg.MetadataValue.md("\n\n".join([*plots, markdown([_row(r) for r in newest])])),
    }


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in ("day_on", "asset", "statements")},
        "estimated": size(row["bytes_estimated"]),
        "billed": size(row["bytes_billed"]),
        "USD": f"{row['cost_usd']:.6f}",
    }


def plot(bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars with their names and numbers, as SVG."""
    most = max(number for _, number in bars) or 1.0
    lines = []
    for line, (name, number) in enumerate(bars):
        y, width = 20 * line + 4, 240 * number / most
        lines += [
            f'<text x="236" y="{y + 11}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="244" y="{y}" width="{width:.1f}" height="14" fill="#4f6bed"/>',
            f'<text x="{250 + width:.1f}" y="{y + 11}">{number:.6f}</text>',
        ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="580" height="{20 * len(bars) + 8}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(lines)}</svg>"
    )


def _image(title: str, svg: str) -> str:
    data = base64.b64encode(svg.encode()).decode()
    return f"**{title}**\n\n![{title}](data:image/svg+xml;base64,{data})"
