"""Trends: the recent hours of a sensor against those before them. Pure functions of hours.

What rises is worth a look. Vibration tells of no displacement: no text says when a slope fails.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from malacate.alarms.rules import SECOND, Columns, Exceedance, instant, microseconds, names, numbers

HOUR = 3600 * SECOND
COMPLETENESS = "completeness"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trend:
    """The median of ``column`` over ``recent_hours`` is above ``times`` that of ``before_hours``.

    Of two in the middle the lower one counts, so one loud hour is no trend even where another is
    missing. Hours that are less complete than ``least_completeness`` do not count. Nothing is
    judged where fewer than half of either count, where the newest does not, or where the median of
    those before is 0.
    """

    column: str
    times: float
    recent_hours: int = 3
    before_hours: int = 24
    least_completeness: float = 0.8

    @property
    def rule(self) -> str:
        """Its name in incidents."""
        return f"trend_{self.column}"

    @property
    def span(self) -> int:
        """Hours that are looked at to judge one."""
        return self.recent_hours + self.before_hours


def rising(hours: pa.RecordBatch, columns: Columns, trend: Trend, unit: str) -> list[Exceedance]:
    """The hours, rows of any order, up to which a sensor's values have risen so much."""
    numbered = microseconds(hours, columns.instant).to_numpy(False) // HOUR
    is_complete = numbers(hours, COMPLETENESS) >= trend.least_completeness
    values = np.where(is_complete, numbers(hours, trend.column), np.nan)
    sites = names(hours, columns.site) if columns.site else [None] * hours.num_rows
    found = []
    for sensor, rows in _by_sensor(names(hours, columns.sensor)):
        row_of = dict(zip(numbered[rows].tolist(), rows.tolist(), strict=True))
        for hour, recent, bound in _exceeded(numbered[rows], values[rows], trend):
            at, site = hour * HOUR, sites[row_of[hour]] or ""
            told = _told(sensor, at, recent, bound, trend, unit)
            found.append(
                Exceedance(
                    trend.rule, sensor, at, at + HOUR, recent, bound, unit, told, site, at
                )
            )  # fmt: skip
    return found


def _by_sensor(sensors: list[str | None]) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """Each sensor, in order, with its rows."""
    known, of = np.unique(np.array([one or "" for one in sensors], dtype=object), False, True)
    order = np.argsort(of, kind="stable")
    *rows, _ = np.split(order, np.cumsum(np.bincount(of, minlength=len(known))))
    yield from zip(known.tolist(), rows, strict=True)


def _exceeded(
    hours: npt.NDArray[np.int64], values: Floats, trend: Trend
) -> Iterator[tuple[int, float, float]]:
    """Hours of a sensor, the median up to each, and the bound that it is above."""
    first, before = int(hours.min()) - trend.span + 1, trend.before_hours
    grid = np.full(int(hours.max()) - first + 1, np.nan)
    grid[hours - first] = values
    windows = np.lib.stride_tricks.sliding_window_view(grid, trend.span)
    known = np.isfinite(windows)
    is_judged = (
        known[:, -1]
        & (2 * known[:, :before].sum(axis=1) >= before)
        & (2 * known[:, before:].sum(axis=1) >= trend.recent_hours)
    )
    places = np.flatnonzero(is_judged)
    bounds = trend.times * _median(windows[places, :before])
    recent = _median(windows[places, before:])
    for place, value, bound in zip(places.tolist(), recent.tolist(), bounds.tolist(), strict=True):
        if value > bound > 0:
            yield first + trend.span - 1 + place, value, bound


def _median(windows: Floats) -> Floats:
    found: Floats = np.nanquantile(windows, 0.5, axis=1, method="lower")
    return found


def _told(sensor: str, at: int, recent: float, bound: float, trend: Trend, unit: str) -> str:
    return (
        f"{sensor}: {trend.column} of {trend.recent_hours} hours up to {instant(at + HOUR)} is "
        f"{recent:.3g} {unit}, {recent / bound * trend.times:.1f} times that of the "
        f"{trend.before_hours} hours before (medians); {trend.times:g} times are allowed. It is "
        "worth a look, and says nothing of when, or whether, a slope fails."
    )
