"""The row of a sensor and hour, of its readings: to the last bit what ``HourlyStats`` has SQL do.

Numpy and Python's integers; it runs where neither the platform nor a warehouse is installed.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from malacate.hours.grid import grid, spectrum
from malacate.hours.powers import power_sums, whole

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Steps = tuple[Floats, npt.NDArray[np.bool_]]
"""Whole numbers, and which of them are there."""

HOUR_US = 3_600_000_000
_IN_CACHE = 1 << 15
"""Values that are computed with at once."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Measured:
    """How ``HourlyStats`` computes an hour, in words that need nothing of it; ``columns`` are those
    of the hours but for their revision.
    """

    columns: tuple[str, ...]
    axes: Mapping[str, str]
    steps: int
    per_hour: int
    sensor: str
    sequence: str
    instant: str
    rms: str = ""
    vector_sum: str = ""
    battery: str = ""
    hz: float = 0.0
    bands: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def told(self) -> tuple[str, ...]:
        """Columns that are computed; all others are carried over."""
        own = [("rms_mm_s", self.rms), ("battery_min_v", self.battery)]
        of_axes = [f"{axis}_{of}" for axis in self.axes for of in _of_axis(_NONE, 1.0)]
        of_all = ("hour_at", "readings", "expected_readings", "completeness", "last_reading_at")
        return (
            self.sensor, *of_all, "ppv_mm_s", "peak_pvs_mm_s",
            *(name for name, column in own if column), *of_axes, *self.of_spectrum,
        )  # fmt: skip

    @property
    def of_spectrum(self) -> tuple[str, ...]:
        """Columns that the samples of an hour tell together; none without a sample rate."""
        names = ["dominant_hz", *(f"{band}_energy_mm2_s2" for band in self.bands)]
        return tuple(f"{axis}_{name}" for axis in self.axes for name in names if self.hz)

    @property
    def carried(self) -> tuple[str, ...]:
        """Columns of the readings that the hours have too."""
        return tuple(name for name in self.columns if name not in self.told)

    @property
    def values(self) -> tuple[str, ...]:
        """Columns that are computed with."""
        own = (self.rms, self.vector_sum, self.battery)
        return (*self.axes.values(), *(column for column in own if column))

    @property
    def read(self) -> tuple[str, ...]:
        """Columns of the readings that are needed."""
        names = (self.sensor, self.sequence, self.instant, *self.carried, *self.values)
        return tuple(dict.fromkeys(names))


def hour_of(what: Measured, sensor: Any, hour: int, readings: pa.Table) -> dict[str, Any]:
    """The row of one sensor and hour, but for its revision."""
    once = counted_once(what, readings)
    steps = float(what.steps)
    values = {name: in_steps(once[name], what.steps) for name in what.values}
    axes = {axis: _Sums(_there(*values[column])) for axis, column in what.axes.items()}
    of_axes = {
        f"{axis}_{of}": told for axis in axes for of, told in _of_axis(axes[axis], steps).items()
    }
    row = {
        what.sensor: sensor,
        "hour_at": _EPOCH + timedelta(microseconds=hour),
        "readings": once.num_rows,
        "expected_readings": what.per_hour,
        "completeness": float(once.num_rows) / float(what.per_hour),
        "last_reading_at": pc.max(once[what.instant]).as_py(),
        "ppv_mm_s": _highest(of_axes[f"{axis}_peak_mm_s"] for axis in axes),
        "peak_pvs_mm_s": _peak_pvs(what, values),
        **of_axes,
        **_of_own(what, values),
        **_of_spectrum(what, hour, once, values),
        **{name: pc.max(once[name]).as_py() for name in what.carried},
    }
    return {name: row[name] for name in what.columns}


def _of_own(what: Measured, values: Mapping[str, Steps]) -> dict[str, float | None]:
    told, steps = dict[str, float | None](), float(what.steps)
    if what.rms:
        told["rms_mm_s"] = _Sums(_there(*values[what.rms])).rms(steps)
    if what.battery:
        x = _there(*values[what.battery])
        told["battery_min_v"] = float(x.min()) / steps if x.size else None
    return told


def _of_spectrum(
    what: Measured, hour: int, once: pa.Table, values: Mapping[str, Steps]
) -> dict[str, float | None]:
    if not what.hz:
        return {}
    samples = np.stack([
        np.where(is_there, x, np.nan) / what.steps
        for x, is_there in (values[column] for column in what.axes.values())
    ])  # fmt: skip
    found = spectrum(grid(in_us(once[what.instant]), samples, hour, what.hz), what.hz, what.bands)
    if found is None:
        return dict.fromkeys(what.of_spectrum)
    told = dict[str, float | None]()
    for n, axis in enumerate(what.axes):
        told[f"{axis}_dominant_hz"] = float(found.dominant_hz[n])
        told |= {f"{axis}_{of}_energy_mm2_s2": float(e[n]) for of, e in found.energy.items()}
    return told


def counted_once(what: Measured, readings: pa.Table) -> pa.Table:
    """Of readings with one number the least, by instant and then by every value used."""
    code = _codes(readings[what.sequence].combine_chunks())
    order = np.argsort(code, kind="stable")
    ranked = code[order]
    is_again = ranked[1:] == ranked[:-1]
    if not is_again.any():
        return readings
    repeated = np.zeros(code.size, bool)
    repeated[order[1:][is_again]] = repeated[order[:-1][is_again]] = True
    twins = readings.filter(pa.array(repeated)).append_column("", pa.array(code[repeated]))
    names = dict.fromkeys((what.instant, *what.carried, *what.values))
    by = [(name, "ascending", "at_end") for name in ("", *names)]
    twins = twins.take(pc.sort_indices(twins, sort_keys=by))
    first = np.diff(twins[""].to_numpy(), prepend=twins[""][0].as_py() - 1) != 0
    kept = twins.filter(pa.array(first)).drop_columns([""])
    return pa.concat_tables([readings.filter(pa.array(~repeated)), kept])


def _codes(numbers: pa.Array) -> Whole:
    """The same for the same number, another for another; most often they are in order as they come,
    so that sorting them is cheap.
    """
    kind = numbers.type
    is_plain = not numbers.null_count and (pa.types.is_integer(kind) or pa.types.is_timestamp(kind))
    found = numbers.cast(pa.int64(), safe=False) if is_plain else encoded(numbers).indices
    return np.asarray(found.to_numpy()).astype(np.int64, copy=False)


def encoded(values: pa.Array) -> pa.DictionaryArray:
    """Values as codes, and what each code stands for; null is one of them."""
    if pa.types.is_dictionary(values.type):
        return values
    return values.dictionary_encode("encode")


def in_steps(values: pa.ChunkedArray, steps: int) -> Steps:
    """Values in steps, to the nearest and halves away from zero."""
    is_there = np.ones(len(values), bool)
    if values.null_count:
        is_there = np.asarray(pc.is_valid(values).to_numpy())
    if pa.types.is_decimal(values.type):
        values = pa.chunked_array([[None if v is None else float(v) for v in values.to_pylist()]])
    floats = values.cast(pa.float64())
    x = (pc.fill_null(floats, 0.0) if floats.null_count else floats).to_numpy()
    near = np.empty(x.size)
    for start in range(0, x.size, _IN_CACHE):
        some = x[start : start + _IN_CACHE] * float(steps)
        rounded = whole(some)
        halves = np.abs(some - rounded) == 0.5
        if halves.any():
            rounded[halves] = np.trunc(some[halves]) + np.copysign(1.0, some[halves])
        rounded += 0.0  # of a zero that is negative, the one that is not
        near[start : start + _IN_CACHE] = rounded
    return near, is_there


class _Sums:
    """Of whole numbers: how many, the least and the largest, exact sums of their powers."""

    def __init__(self, x: Floats) -> None:
        self.n = int(x.size)
        self.low, self.high = (int(x.min()), int(x.max())) if self.n else (0, 0)
        self.s = power_sums(x)

    def rms(self, steps: float) -> float | None:
        """See ``Moments.rms``."""
        if not self.n:
            return None
        return math.sqrt(float(self.s[1]) / (float(self.n) * steps * steps))

    def kurtosis(self) -> float | None:
        """See ``Moments``: about a whole number next to the mean, then about the mean."""
        if not self.n:
            return None
        n, (s1, s2, s3, s4) = self.n, self.s
        c = _rounded(float(s1) / float(n))
        shifted = (
            s1 - n * c,
            s2 + c * (n * c - 2 * s1),
            s3 + c * (-3 * s2 + c * (3 * s1 - n * c)),
            s4 + c * (-4 * s3 + c * (6 * s2 + c * (n * c - 4 * s1))),
        )
        d, p2, p3, p4 = (float(t) / float(n) for t in shifted)
        m2 = p2 - d * d
        m4 = p4 - 4 * d * p3 + 6 * d * d * p2 - 3 * d * d * d * d
        return m4 / (m2 * m2) if m2 * m2 else None


_NONE = _Sums(np.empty(0))


def _of_axis(sums: _Sums, steps: float) -> dict[str, float | None]:
    rms = sums.rms(steps)
    peak = float(max(abs(sums.low), abs(sums.high))) / steps if sums.n else None
    return {
        "rms_mm_s": rms,
        "peak_mm_s": peak,
        "peak_to_peak_mm_s": float(sums.high - sums.low) / steps if sums.n else None,
        "crest_factor": peak / rms if peak is not None and rms else None,
        "kurtosis": sums.kurtosis(),
    }


def _peak_pvs(what: Measured, values: Mapping[str, Steps]) -> float | None:
    steps = float(what.steps)
    if what.vector_sum:
        x = _there(*values[what.vector_sum])
        return float(x.max()) / steps if x.size else None
    of = [values[column] for column in what.axes.values()]
    squares, complete = np.zeros(of[0][0].size), np.ones(of[0][0].size, bool)
    for x, is_there in of:
        squares += x * x
        complete &= is_there
    squares = squares[complete]
    return math.sqrt(float(squares.max())) / steps if squares.size else None


def _there(x: Floats, is_there: npt.NDArray[np.bool_]) -> Floats:
    return x if is_there.all() else x[is_there]


def _highest(peaks: Iterator[float | None]) -> float | None:
    return max((peak for peak in peaks if peak is not None), default=None)


def _rounded(value: float) -> int:
    whole = math.trunc(value)
    return whole + int(math.copysign(1, value)) if abs(value - whole) >= 0.5 else whole


def in_us(instants: pa.ChunkedArray) -> Whole:
    """Instants in microseconds since 1970."""
    kind = pa.timestamp("us", instants.type.tz)
    return np.asarray(instants.cast(kind, safe=False).cast(pa.int64()).to_numpy())
