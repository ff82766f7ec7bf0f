"""The recorders' raw traces: velocity of three axes a hundred times a second, a file of minutes.

One sensor of the slope is recorded for ten minutes of an hour, to spare its battery; or as many as
are asked for, for as long. A trace is a function of the world, the hour and the sensor; its truth
is computed beside it, from the definitions.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from acme.simulator import columns
from acme.simulator.drops import deliver, parquet
from acme.simulator.tables import AT, TEXT
from acme.simulator.world import HOUR, SECTORS, World, instant

Floats = npt.NDArray[np.float64]
HZ, MINUTES, OF_FILE = 100, 10, 5
"""Samples of a second, minutes that are recorded of an hour, and those of a file."""
AXES = ("v_tran_mm_s", "v_vert_mm_s", "v_long_mm_s")
RESOLUTION = 0.002
_TWICE, _MISSING = 250, 0.0002
_HUM_HZ = (6.25, 12.5, 25.0)
"""What each axis hums with: a crusher, a truck, a fan."""

SCHEMA = pa.schema(
    {
        "sensor_id": TEXT, "seq": pa.int64(), "measured_at": AT, "sector_id": TEXT,
        **dict.fromkeys(AXES, pa.float64()),
    }
)  # fmt: skip


def deliver_hour(
    world: World, folder: Path, truth: Path, hour: int, sensors: int = 1, minutes: int = MINUTES
) -> list[Path]:
    """Write the files of an hour of the first ``sensors``, and what is true of it."""
    begin = world.end_s + hour * HOUR
    traces = [trace(world, hour, sensor, minutes) for sensor in range(sensors)]
    paths = []
    for minute in range(0, minutes, OF_FILE):
        at = instant(begin + minute * 60)
        rows = [_rows(world, begin, n, minute, one) for n, one in enumerate(traces)]
        path = folder / "trace" / f"{at:%Y-%m-%d/%H}" / f"trace_{at:%Y%m%dT%H%M}.parquet"
        deliver(path, parquet(pa.concat_tables(rows)))
        paths.append(path)
    told = [_truth(begin, n, one) for n, one in enumerate(traces)]
    at = instant(begin)
    deliver(truth / "traces" / f"trace_hour_{at:%Y%m%dT%H}.parquet", parquet(pa.table(
        {name: [row[name] for row in told] for name in told[0]}
    )))  # fmt: skip
    return paths


def trace(world: World, hour: int, sensor: int, minutes: int = MINUTES) -> Floats:
    """Samples of three axes from an hour's first on, NaN where one is missing: a hum, noise, and a
    truck every few minutes.
    """
    rng, samples = world.rng("trace", hour, sensor), minutes * 60 * HZ
    seconds = np.arange(samples) / HZ
    made = rng.normal(0, 0.15, (3, samples))
    for axis, hz in enumerate(_HUM_HZ):
        made[axis] += 0.4 * np.sin(2 * np.pi * hz * seconds + rng.uniform(0, 6))
    for at in rng.integers(0, samples, max(1, minutes // 8)):
        near = slice(max(0, at - 20 * HZ), at + 20 * HZ)
        away = (seconds[near] - seconds[at]) / 6
        made[:, near] += 2.5 * np.exp(-(away**2)) * np.sin(rng.uniform(20, 110) * seconds[near])
    made[:, rng.random(samples) < _MISSING] = np.nan
    return np.asarray(np.round(np.round(made / RESOLUTION) * RESOLUTION, 3))


def _rows(world: World, begin: int, sensor: int, minute: int, trace: Floats) -> pa.Table:
    first, count = minute * 60 * HZ, OF_FILE * 60 * HZ
    place = first + np.flatnonzero(np.isfinite(trace[0, first : first + count]))
    place = np.concatenate([place, place[:_TWICE]])
    rows = {
        "sensor_id": [f"GEO-{sensor + 1:03d}"] * len(place),
        "seq": (begin - world.start_s) * HZ + place,
        "measured_at": pa.array(begin * 1_000_000 + place * (1_000_000 // HZ)).cast(AT),
        "sector_id": [SECTORS[sensor % len(SECTORS)]] * len(place),
        **{name: trace[axis, place] for axis, name in enumerate(AXES)},
    }
    return columns.table(SCHEMA, rows)


def _truth(begin: int, sensor: int, trace: Floats) -> dict[str, Any]:
    """From the definitions; which frequency an axis hums with is known."""
    sound = trace[:, np.isfinite(trace[0])]
    told: dict[str, Any] = {
        "sensor_id": f"GEO-{sensor + 1:03d}",
        "hour_at": instant(begin),
        "readings": sound.shape[1],
        "ppv_mm_s": float(np.abs(sound).max()),
    }
    for values, name, hz in zip(sound, AXES, _HUM_HZ, strict=True):
        axis, away = name.split("_")[1], values - values.mean()
        told |= {
            f"{axis}_rms_mm_s": float(np.sqrt(np.mean(values**2))),
            f"{axis}_kurtosis": float(np.mean(away**4) / np.mean(away**2) ** 2),
            f"{axis}_dominant_hz": hz,
        }
    return told
