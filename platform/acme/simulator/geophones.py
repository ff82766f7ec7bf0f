"""The geophones' gateway: a Parquet file of vibration features for each minute.

A minute is a function of the world and its number; the truth of an hour is computed beside it. Of
the sensors one falls silent, one is frozen, and the clock of one runs fast for an hour of six. One
sector lies at a road that trucks pass; the slope of another creeps, more each hour.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from acme.simulator import columns
from acme.simulator.drops import as_json, deliver, parquet
from acme.simulator.geophones_truth import AXES, hour_truth
from acme.simulator.tables import AT, TEXT
from acme.simulator.world import HOUR, SECTORS, Seconds, World, instant

Floats = npt.NDArray[np.float64]
SENSORS, READINGS_PER_MINUTE, MINUTES = 120, 6, 60
READINGS_PER_HOUR = READINGS_PER_MINUTE * MINUTES
HISTORY_HOURS, LATE_MINUTE = 2, 41
SENTINEL = -9999.0
_MISSING, _BLAST_HOUR, _BLAST_MINUTES = 0.02, 18, (5, 6)
SILENT, SILENT_FROM = 98, 2
FROZEN = 41
FAST, AHEAD_S = 16, 1020
ROAD, _TRUCKS_A_MINUTE, _TRUCK_S, _TRUCK = 0, 0.3, 10, 3.0
CREEPING, CREEPS_FROM = 1, 24
_GROWTH, _MOST_GROWN = 1.06, 2.2
_FULL_SCALE = 254.0
IDS = tuple(f"GEO-{i + 1:03d}" for i in range(SENSORS))
_FROZEN_AT = {
    "ppv_tran_mm_s": 0.214, "ppv_vert_mm_s": 0.198, "ppv_long_mm_s": 0.305, "pvs_mm_s": 0.42,
    "dom_freq_hz": 50.0, "rms_mm_s": 0.0611, "events": 0, "energy": 0.037332,
}  # fmt: skip

SCHEMA = pa.schema(
    {
        "sensor_id": TEXT, "seq": pa.int64(), "measured_at": AT, "sector_id": TEXT,
        **dict.fromkeys(AXES, pa.float64()), "pvs_mm_s": pa.float64(),
        "dom_freq_hz": pa.float64(), "rms_mm_s": pa.float64(), "events": pa.int32(),
        "energy": pa.float64(), "battery_v": pa.float64(), "temp_c": pa.float64(), "fw": TEXT,
    }
)  # fmt: skip


@dataclass(frozen=True)
class Minute:
    """The readings of one minute, with what is wrong with some of them."""

    rows: pa.Table
    sensor: npt.NDArray[np.int64]
    is_counted: npt.NDArray[np.bool_]
    bad_rows: tuple[dict[str, object], ...]


def hours_of_history(world: World) -> list[int]:
    """Numbers of the hours before the first tick's; the first tick's hour is 0."""
    return list(range(-max(1, round(HISTORY_HOURS * world.scale)), 0))


def deliver_hour(world: World, folder: Path, truth: Path, hour: int) -> list[Path]:
    """Write the files of an hour, and what an hourly table must say of it so far.

    Of every second hour one minute is held back for ``deliver_late``.
    """
    withheld = {LATE_MINUTE} if is_late(hour) else set()
    minutes = {m: minute(world, hour, m) for m in range(MINUTES) if m not in withheld}
    paths = [_write(world, folder, truth, hour, m, made) for m, made in minutes.items()]
    _write_truth(world, truth, hour, list(minutes.values()), revision=1)
    return paths


def deliver_late(world: World, folder: Path, truth: Path, hour: int) -> list[Path]:
    """Write the minute that ``hour`` still lacked; its truth is revised."""
    if not is_late(hour):
        return []
    minutes = [minute(world, hour, m) for m in range(MINUTES)]
    _write_truth(world, truth, hour, minutes, revision=2)
    return [_write(world, folder, truth, hour, LATE_MINUTE, minutes[LATE_MINUTE])]


def is_late(hour: int) -> bool:
    """Whether a minute of ``hour`` arrives an hour late."""
    return hour >= 0 and hour % 2 == 0


def is_fast(hour: int) -> bool:
    """Whether the clock of ``FAST`` runs fast in ``hour``: none of its readings is sound."""
    return hour % 6 == 5


def minute(world: World, hour: int, number: int, per_minute: int = READINGS_PER_MINUTE) -> Minute:
    """The readings of one minute: some are missing, some come twice, a few are wrong."""
    rng = world.rng("vibration", hour, number)
    sensor = np.repeat(np.arange(SENSORS), per_minute)
    slot = np.tile(np.arange(per_minute), SENSORS)
    is_silent = (sensor == SILENT) & (hour >= SILENT_FROM)
    kept = (rng.random(len(sensor)) >= _MISSING) & ~is_silent
    sensor, slot = sensor[kept], slot[kept]
    grown = _grown(sensor, hour)
    near = _trucks(world, hour, number, sensor, slot * 60 // per_minute)
    values = _features(rng, sensor, _blast(hour, number) * grown * near, grown, hour)
    for name, value in _FROZEN_AT.items():
        values[name][sensor == FROZEN] = value
    is_ahead = (sensor == FAST) & is_fast(hour)
    bad = _spoil(rng, values, number, np.flatnonzero(~is_ahead))
    order = np.concatenate([np.arange(len(sensor)), _told_twice(rng, len(sensor), number)])
    period_s = 60 // per_minute
    seconds = (world.end_s + hour * HOUR + number * 60 + slot * period_s)[order]
    rows = {
        "sensor_id": columns.picked(IDS, sensor[order]),
        "seq": (seconds - world.start_s) // period_s,
        "measured_at": seconds + AHEAD_S * is_ahead[order],
        "sector_id": columns.picked(SECTORS, sensor[order] % len(SECTORS)),
        **{name: column[order] for name, column in values.items()},
        "fw": columns.picked(("4.1.0", "4.2.1"), (sensor[order] % 7 == 0).astype(int)),
    }
    table = columns.table(SCHEMA, rows)
    why = {**bad, **dict.fromkeys(np.flatnonzero(is_ahead[order]).tolist(), "clock_skew")}
    counted = (np.arange(len(order)) < len(sensor)) & ~np.isin(np.arange(len(order)), list(why))
    return Minute(table, sensor[order], counted, _named(table, why))


def _named(table: pa.Table, why: dict[int, str]) -> tuple[dict[str, object], ...]:
    places = sorted(why)
    keys = table.select(["sensor_id", "seq"]).take(pa.array(places, pa.int64())).to_pylist()
    told = zip(places, keys, strict=True)
    return tuple({"row": place, **key, "reason": why[place]} for place, key in told)


def _told_twice(rng: np.random.Generator, count: int, number: int) -> npt.NDArray[np.int64]:
    # Never in a minute with a planted value: a wrong reading is wrong once.
    return rng.choice(count, 2 if number % 10 == 4 else 0, replace=False)


def _blast(hour: int, number: int) -> float:
    return 60.0 if hour % 24 == _BLAST_HOUR and number in _BLAST_MINUTES else 1.0


def _trucks(
    world: World, hour: int, number: int, sensor: npt.NDArray[np.int64], second: Seconds
) -> Floats:
    """How much more is felt of the trucks that pass, at the road."""
    rng = world.rng("trucks", hour, number)
    passing = rng.integers(60 // _TRUCK_S, size=rng.poisson(_TRUCKS_A_MINUTE))
    is_near = (sensor % len(SECTORS) == ROAD) & np.isin(second // _TRUCK_S, passing)
    return np.where(is_near, _TRUCK, 1.0)


def _grown(sensor: npt.NDArray[np.int64], hour: int) -> Floats:
    """How much more is felt where the slope creeps."""
    grown = min(_GROWTH ** min(max(0, hour - CREEPS_FROM), 24), _MOST_GROWN)
    return np.where(sensor % len(SECTORS) == CREEPING, grown, 1.0)


def _features(
    rng: np.random.Generator,
    sensor: npt.NDArray[np.int64],
    felt: Floats,
    grown: Floats,
    hour: int,
) -> dict[str, Floats]:
    count = len(sensor)
    level = (0.15 + 0.02 * (sensor % len(SECTORS))) * felt
    axes = np.round(np.minimum(rng.gamma(2.0, 1.0, (3, count)) * level, _FULL_SCALE), 3)
    largest, whole = axes.max(axis=0), np.sqrt((axes**2).sum(axis=0))
    pvs = np.floor((largest + rng.random(count) * (whole - largest)) * 1000) / 1000
    rms = np.round(largest * rng.uniform(0.1, 0.3, count), 4)
    return {
        **dict(zip(AXES, axes, strict=True)),
        "pvs_mm_s": np.maximum(pvs, largest),
        "dom_freq_hz": np.round(rng.uniform(4, 120, count), 1),
        "rms_mm_s": rms,
        "events": rng.poisson(0.4 * grown),
        "energy": np.round(rms**2 * 10, 6),
        "battery_v": np.round(13.1 - 0.01 * (sensor % 40) + rng.normal(0, 0.02, count), 2),
        "temp_c": np.round(14 + 6 * np.sin(hour / 24 * 2 * np.pi) + rng.normal(0, 0.5, count), 1),
    }


def _spoil(
    rng: np.random.Generator,
    values: dict[str, Floats],
    number: int,
    of: npt.NDArray[np.int64],
) -> dict[int, str]:
    """Plant a sentinel in one minute of twenty and a value that is no number in another."""
    places = {7: (AXES[0], SENTINEL, "below_minimum"), 13: ("rms_mm_s", np.nan, "not_finite")}
    if number % 20 not in places:
        return {}
    column, value, reason = places[number % 20]
    place = int(rng.choice(of))
    values[column][place] = value
    return {place: reason}


def _write(world: World, folder: Path, truth: Path, hour: int, number: int, made: Minute) -> Path:
    at = instant(world.end_s + hour * HOUR + number * 60)
    place = Path(f"{at:%Y-%m-%d}/{at:%H}/vibration_{at:%Y%m%dT%H%M}.parquet")
    if made.bad_rows:
        known = {
            "file": f"vibration/{place}",
            "rows": made.rows.num_rows,
            "bad_rows": made.bad_rows,
        }
        deliver(truth / "geophones" / f"{place.stem}.json", as_json(known))
    path = folder / "vibration" / place
    deliver(path, parquet(made.rows))
    return path


def _write_truth(
    world: World, truth: Path, hour: int, minutes: list[Minute], revision: int
) -> None:
    at = instant(world.end_s + hour * HOUR)
    rows = pa.concat_tables([made.rows for made in minutes])
    counted = rows.filter(pa.array(np.concatenate([made.is_counted for made in minutes])))
    table = hour_truth(counted, revision, READINGS_PER_HOUR)
    deliver(truth / "geophones" / f"vibration_hour_{at:%Y%m%dT%H}.parquet", parquet(table))
