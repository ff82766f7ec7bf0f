"""From readings to exceedances: pure functions of rows, limits, and when each sensor was heard.

What a text says: which limit was exceeded, when, and by what. It foretells nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from malacate.alarms.limits import Limits

SECOND = 1_000_000
"""Instants are in microseconds since 1970."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Columns:
    """Where readings have what the rules ask for. ``axes`` are velocities in mm/s."""

    sensor: str = "sensor_id"
    instant: str = "measured_at"
    axes: tuple[str, ...] = ()
    frequency: str = ""
    battery: str = ""


@dataclass(frozen=True, order=True)
class Exceedance:
    """A rule was broken by a sensor, at a reading or from one instant to another."""

    rule: str
    subject: str
    first_us: int
    last_us: int
    value: float
    bound: float
    unit: str
    told: str


def heard(rows: pa.RecordBatch, columns: Columns) -> dict[str, int]:
    """The newest reading of each sensor."""
    found: dict[str, int] = {}
    for sensor, at in zip(_sensors(rows, columns), _instants(rows, columns), strict=True):
        if sensor is not None and at is not None:
            found[sensor] = max(at, found.get(sensor, at))
    return found


def velocity(rows: pa.RecordBatch, columns: Columns, limits: Limits) -> list[Exceedance]:
    """Readings whose largest axis is above the limit of its frequency.

    Without a frequency, or at one that the standard says nothing of, a reading is not judged.
    """
    axes = [np.abs(_numbers(rows, name)) for name in columns.axes]
    largest = np.fmax.reduce(axes)
    hz = _numbers(rows, columns.frequency)
    bounds = limits.at(hz)
    found = []
    for place, sensor, at in _known(rows, columns, largest > bounds):
        value, bound = float(largest[place]), float(bounds[place])
        told = (
            f"{sensor}: peak particle velocity {value:.2f} mm/s at {hz[place]:.1f} Hz is above "
            f"{bound:.2f} mm/s, the limit of {limits.standard} ({limits.protects}), at "
            f"{instant(at)}. The limit protects buildings; it says nothing of a slope."
        )
        rule = f"ppv_{limits.standard}"
        found.append(Exceedance(rule, sensor, at, at, value, bound, "mm/s", told))
    return sorted(found)


def battery(rows: pa.RecordBatch, columns: Columns, below_v: float) -> list[Exceedance]:
    """Readings of a battery that is below ``below_v``."""
    volts, found = _numbers(rows, columns.battery), []
    for place, sensor, at in _known(rows, columns, volts < below_v):
        value = float(volts[place])
        told = (
            f"{sensor}: battery at {value:.2f} V, below {below_v:.2f} V, at {instant(at)}. "
            "Replace it before the sensor falls silent."
        )
        found.append(Exceedance("battery", sensor, at, at, value, below_v, "V", told))
    return sorted(found)


def silent(last: Mapping[str, int], seconds: float, witnesses: int) -> list[Exceedance]:
    """Sensors of which nothing came for ``seconds``, by the clocks of the others.

    It is as late as ``witnesses`` of them say, so one clock that runs fast silences nobody. Too
    few sensors know of no silence.
    """
    newest = sorted(last.values(), reverse=True)
    if len(newest) <= witnesses:
        return []
    now, found = newest[witnesses - 1], []
    for sensor, at in last.items():
        if now - at > seconds * SECOND:
            value = (now - at) / SECOND
            told = (
                f"{sensor}: no reading since {instant(at)}, for {value:.0f} s by the other "
                f"sensors' clocks; {seconds:.0f} s are allowed. Look at the sensor and its link."
            )
            found.append(Exceedance("silent", sensor, at, now, value, seconds, "s", told))
    return sorted(found)


def instant(us: int) -> str:
    """Microseconds since 1970 as text."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="milliseconds")


def _known(
    rows: pa.RecordBatch, columns: Columns, broken: npt.NDArray[np.bool_]
) -> list[tuple[int, str, int]]:
    """Place, sensor and instant of the rows that break a rule and say of whom they are."""
    places = np.flatnonzero(broken)
    some = rows.take(pa.array(places))
    told = zip(places.tolist(), _sensors(some, columns), _instants(some, columns), strict=True)
    return [(place, s, at) for place, s, at in told if s is not None and at is not None]


def _sensors(rows: pa.RecordBatch, columns: Columns) -> list[str | None]:
    return list(rows.column(columns.sensor).cast(pa.string()).to_pylist())


def _instants(rows: pa.RecordBatch, columns: Columns) -> list[int | None]:
    instants = pc.cast(rows.column(columns.instant), pa.timestamp("us", "UTC"), safe=False)
    return list(instants.cast(pa.int64()).to_pylist())


def _numbers(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    """A column as numbers; what is null, NaN or infinite is NaN, and breaks no rule."""
    found: npt.NDArray[np.float64] = rows.column(name).cast(pa.float64()).to_numpy(False)
    return np.where(np.isfinite(found), found, np.nan)
