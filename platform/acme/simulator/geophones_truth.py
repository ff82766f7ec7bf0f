"""What an hourly table must say of readings: plain numpy, from the definitions."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from acme.simulator import columns
from acme.simulator.tables import AT
from acme.simulator.world import HOUR

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]
AXES = ("ppv_tran_mm_s", "ppv_vert_mm_s", "ppv_long_mm_s")
NAMES = {axis: axis.split("_")[1] for axis in AXES}


def hour_truth(sound: pa.Table, revision: int, expected: int) -> pa.Table:
    """The hour of each sensor that has one, of its sound readings, each given once."""
    sensors, of = np.unique(sound["sensor_id"].to_pylist(), return_inverse=True)
    first = np.unique(of, return_index=True)[1]
    value = {n: sound[n].to_numpy() for n in (*AXES, "pvs_mm_s", "rms_mm_s", "battery_v")}
    seconds = sound["measured_at"].cast(pa.int64()).to_numpy() // 1_000_000
    readings = np.bincount(of)
    last = _most(of, seconds)
    made: dict[str, Any] = {
        "sensor_id": pa.array(sensors.tolist(), pa.string()),
        "sector_id": sound["sector_id"].take(pa.array(first)).combine_chunks(),
        "hour_at": columns.column(last // HOUR * HOUR, AT),
        "readings": pa.array(readings, pa.int64()),
        "expected_readings": pa.array(np.full(len(sensors), expected), pa.int64()),
        "completeness": readings / expected,
        "rms_mm_s": np.sqrt(np.bincount(of, value["rms_mm_s"] ** 2) / readings),
        "ppv_mm_s": _most(of, np.maximum.reduce([np.abs(value[axis]) for axis in AXES])),
        "peak_pvs_mm_s": _most(of, value["pvs_mm_s"]),
    }
    for axis, name in NAMES.items():
        made |= {f"{name}_{what}": told for what, told in _of_axis(of, value[axis]).items()}
    made["battery_min_v"] = -_most(of, -value["battery_v"])
    made["last_reading_at"] = columns.column(last, AT)
    made["revision"] = pa.array([revision] * len(sensors), pa.int32())
    return pa.table(made)


def _of_axis(of: Groups, values: Floats) -> dict[str, Any]:
    count, peak = np.bincount(of), _most(of, np.abs(values))
    rms = np.sqrt(np.bincount(of, values**2) / count)
    span = _most(of, values) + _most(of, -values)
    away = values - (np.bincount(of, values) / count)[of]
    m2, m4 = (np.bincount(of, away**power) / count for power in (2, 4))
    still, mute = span == 0, rms == 0
    return {
        "rms_mm_s": rms,
        "peak_mm_s": peak,
        "peak_to_peak_mm_s": span,
        "crest_factor": pa.array(peak / np.where(mute, 1, rms), mask=mute),
        "kurtosis": pa.array(m4 / np.where(still, 1, m2) ** 2, mask=still),
    }


def _most(of: Groups, values: Any) -> Any:
    """The largest of each group."""
    order = np.lexsort((values, of))
    ends = np.flatnonzero(np.diff(of[order], append=-1))
    return values[order][ends]
