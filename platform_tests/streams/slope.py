"""A company that collects the mine's 120 geophones, and what of their readings it must have."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from platform_tests.company import Company, at_home
from platform_tests.faults.verdict import Verdict

from acme.definitions import DEFS
from acme.simulator.stream import Live
from acme.simulator.world import World

DECLARED = """
type: malacate.components.EventStream
attributes:
  source: slope
  folder: ${SLOPE_DROPS}
  most_messages: 5000
  most_seconds: 0.5
  interval_seconds: 1
  tables:
    - name: vibration
      url: mqtt://${SLOPE_BROKER}/mine/+/+/vibration
      hourly:
        hours: vibration_hour
        per_hour: 3600
        axes: {tran: ppv_tran_mm_s, vert: ppv_vert_mm_s, long: ppv_long_mm_s}
        resolution: 0.0001
        rms: rms_mm_s
        vector_sum: pvs_mm_s
        battery: battery_v
        horizon: {came_at: sent_at, future_seconds: 300, late_hours: 72}
"""
TABLES = ("raw/slope/vibration", "raw/slope/vibration_hour")
WORLD, HOUR = World(7), 5
"""In this hour one sensor's clock is fast, one is silent, one is frozen."""

TOLERANCE = 1e-9
"""Relative; the truth sums floats, the hours are of whole numbers."""

Key = tuple[str, int]


@contextmanager
def slope(folder: Path, port: int) -> Iterator[Company]:
    """It, at home in ``folder``, with its broker on loopback."""
    company = Company(folder.resolve())
    company.write("defs/slope/defs.yaml", DECLARED)
    company.write("defs/slope/contract.odcs.yaml", _contract())
    with at_home(company, SLOPE_DROPS=str(company.drops), SLOPE_BROKER=f"127.0.0.1:{port}"):
        yield company


def _contract() -> str:
    """The geophones', and the instant at which the gateway had a reading."""
    contract: dict[str, Any] = yaml.safe_load(
        (DEFS / "geophones" / "contract.odcs.yaml").read_text()
    )
    sent = {"name": "sent_at", "logicalType": "timestamp", "physicalType": "timestamptz"}
    contract["schema"][0]["properties"].append({**sent, "required": True})
    return yaml.safe_dump(contract)


def collected(company: Company) -> set[Key]:
    """Sensor and number of each reading that stands in a file."""
    files = company.drops.rglob("*.parquet")
    data = (one for file in files for one in pq.read_table(file)["data"].to_pylist())
    return {_key(one) for one in data}


def told(live: Live) -> set[Key]:
    """What was sent, good or bad."""
    return {_key(message) for second in live.told() for _, message in second}


def judge(company: Company, live: Live) -> tuple[Verdict, int]:
    """The raw table, its quarantine and its hours against the truth; rows that are copies."""
    verdict, warehouse = Verdict(), company.ingest.warehouse
    raw = warehouse.query("select * exclude (_batch_id) from raw_slope.vibration")
    aside = warehouse.query("select raw from malacate.quarantine")["raw"].to_pylist()
    hours = warehouse.query(
        "select * exclude (_batch_id) from raw_slope.vibration_hour order by hour_at, sensor_id"
    )
    known = list(live.truth())
    true, true_hours = (pa.concat_tables([one[place] for one in known]) for place in (1, 2))
    copies = _compare(verdict, raw, true)
    if (bad := {_key(one) for one in aside}) != told(live) - _keys(true):
        verdict.problems.append(f"{len(bad)} readings are put aside, others than the bad ones")
    _compare_hours(verdict, hours, true_hours)
    if verdict.lost or verdict.twice or verdict.wrong:
        what = f"lost {verdict.lost}, twice {verdict.twice}, wrong {verdict.wrong}"
        verdict.problems.insert(0, what)
    return verdict, copies


def _compare(verdict: Verdict, raw: pa.Table, true: pa.Table) -> int:
    """Each reading is there, as it was told, and no other."""
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("raw", raw.select(true.column_names))
    connection.register("known", true)
    key = "select distinct sensor_id, seq from"
    rows, lost, other = connection.execute(
        "select (select count(*) from (select distinct * from raw)), "
        f"(select count(*) from ({key} known except {key} raw)), "
        "(select count(*) from (from raw except from known))"
    ).fetchone() or (0, 0, 0)
    verdict.lost += lost
    verdict.wrong += other
    return raw.num_rows - rows


def _compare_hours(verdict: Verdict, hours: pa.Table, true: pa.Table) -> None:
    names = [name for name in true.column_names if name != "revision"]
    there = dict(zip(_places(hours), hours["readings"].to_pylist(), strict=True))
    missing = 0
    for place, readings in zip(_places(true), true["readings"].to_pylist(), strict=True):
        found = there.pop(place, 0)
        missing += max(readings - found, 0)
        verdict.twice += max(found - readings, 0)
    verdict.lost = max(verdict.lost, missing)
    verdict.wrong += len(there)
    if verdict.is_good:
        ordered = true.sort_by([("hour_at", "ascending"), ("sensor_id", "ascending")])
        verdict.problems += [n for n in names if not _is_close(hours[n], ordered[n])]


def _is_close(found: pa.ChunkedArray, true: pa.ChunkedArray) -> bool:
    if not pa.types.is_floating(true.type):
        return bool(found.to_pylist() == true.to_pylist())
    one, other = (np.array(values.to_pylist(), float) for values in (found, true))
    return bool(np.allclose(one, other, rtol=TOLERANCE, atol=0, equal_nan=True))


def _places(hours: pa.Table) -> list[tuple[Any, ...]]:
    columns = (hours[name].to_pylist() for name in ("sensor_id", "hour_at"))
    return list(zip(*columns, strict=True))


def _keys(rows: pa.Table) -> set[Key]:
    return set(zip(rows["sensor_id"].to_pylist(), rows["seq"].to_pylist(), strict=True))


def _key(message: bytes) -> Key:
    reading = json.loads(message)
    return reading["sensor_id"], reading["seq"]
