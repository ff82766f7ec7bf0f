"""From readings to exceedances: pure functions of rows, limits, and when each sensor was heard.

What a text says: which limit was exceeded, when, and by what. It foretells nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from malacate.alarms.limits import Limits

SECOND = 1_000_000
"""Instants are in microseconds since 1970."""

SILENT = "silent"
"""The rule of sensors of which nothing comes."""

TAKEN_DOWN_AFTER = 7 * 24 * 3600 * SECOND
"""For so long a silence lasts, by the others' clocks: then the sensor has been taken down."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER_SET = 946_684_800 * SECOND
"""The year 2000: no clock that was set tells an instant before."""
_MOST_AHEAD = 300 * SECOND
"""By so much a clock may be ahead of who receives its readings."""


@dataclass(frozen=True)
class Columns:
    """Where readings have what the rules ask for. ``axes`` are velocities in mm/s.

    ``received`` says when a reading came, which may be long after its ``instant``; ``site`` is
    where its sensor is.
    """

    sensor: str = "sensor_id"
    instant: str = "measured_at"
    received: str = ""
    site: str = ""
    axes: tuple[str, ...] = ()
    frequency: str = ""
    battery: str = ""


@dataclass(frozen=True, order=True)
class Exceedance:
    """A rule was broken by a sensor, at a reading or from one instant to another.

    ``came_us`` is when that became known; ``None`` where nothing says.
    """

    rule: str
    subject: str
    first_us: int
    last_us: int
    value: float
    bound: float
    unit: str
    told: str
    site: str = ""
    came_us: int | None = field(default=None, compare=False)


class Heard(NamedTuple):
    """The newest instant of a sensor's readings, and when the newest of them came."""

    last_us: int
    came_us: int


def heard(rows: pa.RecordBatch, columns: Columns) -> dict[str, Heard]:
    """What was heard of each sensor. A clock that tells an instant before 2000, or one well after
    the reading was received, is not believed: then it is of when that was.
    """
    at = microseconds(rows, columns.instant)
    came = microseconds(rows, columns.received or columns.instant)
    is_wrong = pc.or_(pc.greater(at, pc.add(came, _MOST_AHEAD)), pc.less(at, _NEVER_SET))
    at = pc.if_else(pc.fill_null(is_wrong, False), came, at)
    sensors = rows.column(columns.sensor).cast(pa.string())
    readings = pa.table({"sensor": sensors, "at": at, "came": came})
    readings = readings.filter(pc.greater_equal(at, _NEVER_SET))
    newest = readings.group_by("sensor").aggregate([("at", "max"), ("came", "max")])
    told = (newest.column(name).to_pylist() for name in ("sensor", "at_max", "came_max"))
    return {
        sensor: Heard(at, came or 0)
        for sensor, at, came in zip(*told, strict=True)
        if sensor is not None and at is not None
    }


def latest(instants: Iterable[int], witnesses: int) -> int | None:
    """How late it is by the clocks of sensors: one that runs fast is not believed."""
    newest = sorted(instants, reverse=True)
    return newest[min(witnesses, len(newest)) - 1] if newest else None


def velocity(rows: pa.RecordBatch, columns: Columns, limits: Limits) -> list[Exceedance]:
    """Readings whose largest axis is above the limit of its frequency.

    Without a frequency, or at one that the standard says nothing of, a reading is not judged.
    """
    axes = [np.abs(numbers(rows, name)) for name in columns.axes]
    largest = np.fmax.reduce(axes)
    hz = numbers(rows, columns.frequency)
    bounds = limits.at(hz)
    rule, found = f"ppv_{limits.standard}", []
    for here in _known(rows, columns, largest > bounds):
        value, bound = float(largest[here.place]), float(bounds[here.place])
        told = (
            f"{here.sensor}: peak particle velocity {value:.2f} mm/s at {hz[here.place]:.1f} Hz is "
            f"above {bound:.2f} mm/s, the limit of {limits.standard} ({limits.protects}), at "
            f"{instant(here.at_us)}. The limit protects buildings; it says nothing of a slope."
        )
        found.append(here.breaks(rule, value, bound, "mm/s", told))
    return sorted(found)


def battery(rows: pa.RecordBatch, columns: Columns, below_v: float) -> list[Exceedance]:
    """Readings of a battery that is below ``below_v``."""
    volts, found = numbers(rows, columns.battery), []
    for here in _known(rows, columns, volts < below_v):
        value = float(volts[here.place])
        told = (
            f"{here.sensor}: battery at {value:.2f} V, below {below_v:.2f} V, at "
            f"{instant(here.at_us)}. Replace it before the sensor falls silent."
        )
        found.append(here.breaks("battery", value, below_v, "V", told))
    return sorted(found)


def silent(
    last: Mapping[str, int], seconds: float, witnesses: int, came_us: int | None = None
) -> list[Exceedance]:
    """Sensors of which nothing came for ``seconds``, by the clocks of the others.

    It is as late as ``witnesses`` of them say, so one clock that runs fast silences nobody. Too
    few sensors know of no silence, and that of one that has been taken down is over.
    ``came_us`` is when that became known.
    """
    now = latest(last.values(), witnesses)
    if now is None or len(last) <= witnesses:
        return []
    found = []
    for sensor, at in last.items():
        if now - at > seconds * SECOND:
            until = min(now, at + round(seconds * SECOND) + TAKEN_DOWN_AFTER)
            value = (now - at) / SECOND
            told = (
                f"{sensor}: no reading since {instant(at)}, for {value:.0f} s by the other "
                f"sensors' clocks; {seconds:.0f} s are allowed. Look at the sensor and its link."
            )
            one = Exceedance(SILENT, sensor, at, until, value, seconds, "s", told, "", came_us)
            found.append(one)
    return sorted(found)


def instant(us: int) -> str:
    """Microseconds since 1970 as text."""
    return (_EPOCH + timedelta(microseconds=us)).isoformat(timespec="milliseconds")


def microseconds(rows: pa.RecordBatch, name: str) -> pa.Array:
    """A column of instants, in microseconds since 1970."""
    return pc.cast(rows.column(name), pa.timestamp("us", "UTC"), safe=False).cast(pa.int64())


class _Reading(NamedTuple):
    """A row that says of whom it is and of when."""

    place: int
    sensor: str
    at_us: int
    came_us: int | None
    site: str

    def breaks(self, rule: str, value: float, bound: float, unit: str, told: str) -> Exceedance:
        at = self.at_us
        return Exceedance(
            rule, self.sensor, at, at, value, bound, unit, told, self.site, self.came_us
        )


def _known(
    rows: pa.RecordBatch, columns: Columns, broken: npt.NDArray[np.bool_]
) -> Iterator[_Reading]:
    """The rows that break a rule and say of whom they are."""
    places = np.flatnonzero(broken)
    some = rows.take(pa.array(places))
    told = zip(
        places.tolist(),
        names(some, columns.sensor),
        microseconds(some, columns.instant).to_pylist(),
        microseconds(some, columns.received or columns.instant).to_pylist(),
        names(some, columns.site) if columns.site else repeat(None, len(places)),
        strict=True,
    )
    for place, sensor, at, came, site in told:
        if sensor is not None and at is not None:
            yield _Reading(place, sensor, at, came, site or "")


def names(rows: pa.RecordBatch, name: str) -> list[str | None]:
    """A column as text."""
    return list(rows.column(name).cast(pa.string()).to_pylist())


def numbers(rows: pa.RecordBatch, name: str) -> npt.NDArray[np.float64]:
    """A column as numbers; what is null, NaN or infinite is NaN, and breaks no rule."""
    floats = rows.column(name).cast(pa.float64(), safe=False)
    found: npt.NDArray[np.float64] = floats.to_numpy(False)
    return np.where(np.isfinite(found), found, np.nan)
