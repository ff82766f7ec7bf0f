"""The spectrum of an hour of one sensor: samples on a grid of slots, gaps kept, Welch's mean.

Plain numpy. Any order of the rows and any number of copies of them gives the same bits: each slot
takes one sample by a rule that looks at values alone, and all that follows is done in slot order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from malacate.hours.powers import whole

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

HOUR_US = 3_600_000_000
MOST_POINTS, LEAST_POINTS = 4096, 64
"""Points of a segment at most, and at least: both powers of two."""


@dataclass(frozen=True)
class Spectrum:
    """What an hour says of frequencies; the arrays have an entry for each axis.

    ``dominant_hz`` is where the density is highest, 0 Hz left out; of equal ones the lowest.
    ``energy`` is for each band the mean square of the velocity within it, in mm2/s2: the integral
    of the density from its low frequency up to, and without, its high one. ``density`` is in
    mm2/s2/Hz at ``frequencies``. Signals faster than half the sample rate show at their alias.
    """

    dominant_hz: Floats
    energy: Mapping[str, Floats]
    slots_filled: int
    points: int
    segments: int
    frequencies: Floats
    density: Floats


def grid(instants_us: Whole, values: Floats, hour_us: int, hz: float) -> Floats:
    """Samples ``values[axis, row]`` on the slots of the hour that begins at ``hour_us``.

    A sample goes to the slot nearest to its instant, within the hour; a slot without one is NaN. Of
    several on a slot the least counts, by instant, then by the values of the axes in turn.
    """
    slots = round(HOUR_US * hz / 1e6)
    place = whole((instants_us - hour_us) * (hz / 1e6)).astype(np.int64)
    if place.size and not 0 <= place.min() <= place.max() <= slots:
        raise ValueError("a sample is not of this hour")
    place = np.minimum(place, slots - 1)
    values = values + 0.0  # of a zero that is negative, the one that is not
    made = np.full((len(values), slots), np.nan)
    if (np.bincount(place, minlength=1) > 1).any():
        order = np.lexsort((*values[::-1], instants_us, place))
        place, first = np.unique(place[order], return_index=True)
        values = values[:, order[first]]
    made[:, place] = values
    return made


def spectrum(
    samples: Floats, hz: float, bands: Mapping[str, tuple[float, float]]
) -> Spectrum | None:
    """The spectrum of a grid by Welch's method, over segments that no gap cuts.

    A slot counts if each axis has a value there. Each run of slots without a gap is cut, from its
    first slot on, into segments that overlap by half; what is left at its end is not used. Segments
    have ``MOST_POINTS``, or the next lower power of two of which the longest run has as many; their
    mean is taken off, they are weighted by the periodic Hann window, and their densities are
    averaged, each alike. ``None`` if no run has ``LEAST_POINTS``.
    """
    is_filled = np.asarray(np.isfinite(samples).all(axis=0))
    runs = _runs(is_filled)
    longest = max((end - begin for begin, end in runs), default=0)
    if longest < LEAST_POINTS:
        return None
    points = min(MOST_POINTS, 1 << (longest.bit_length() - 1))
    starts = [s for begin, end in runs for s in range(begin, end - points + 1, points // 2)]
    density = _density(samples, starts, points, hz)
    frequencies = np.fft.rfftfreq(points, 1 / hz)
    width = hz / points
    within = {
        name: (frequencies >= low) & (frequencies < high) for name, (low, high) in bands.items()
    }
    return Spectrum(
        frequencies[1:][density[:, 1:].argmax(axis=1)],
        {name: density[:, of].sum(axis=1) * width for name, of in within.items()},
        int(is_filled.sum()),
        points,
        len(starts),
        np.asarray(frequencies, np.float64),
        density,
    )


def _runs(is_filled: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each run of filled slots."""
    edges = np.flatnonzero(np.diff(is_filled.astype(np.int8), prepend=0, append=0))
    return list(pairwise(edges.tolist()))[::2]


def _density(samples: Floats, starts: list[int], points: int, hz: float) -> Floats:
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(points) / points)
    power = np.zeros((len(samples), points // 2 + 1))
    for start in starts:
        cut = samples[:, start : start + points]
        found = np.fft.rfft((cut - cut.mean(axis=1, keepdims=True)) * window, axis=1)
        power += found.real**2 + found.imag**2
    power /= len(starts) * hz * (window**2).sum()
    power[:, 1:-1] *= 2  # the negative frequencies; 0 and the highest have none
    return power
