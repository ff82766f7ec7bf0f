"""The spectrum of an hour: the same bits in any order, and what scipy says of the same samples."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from malacate.hours.grid import HOUR_US, LEAST_POINTS, Spectrum, grid, spectrum

SEISMIC = Path(__file__).parents[1] / "data" / "seismic"
BANDS = {"low": (0.0, 2.0), "mid": (2.0, 20.0), "high": (20.0, 100.0), "all": (0.0, 1e9)}
TOLERANCE = 1e-10
"""Relative to the largest density: both sum floats, each in an order of its own."""
Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


def sines(hz: float, seconds: float, *parts: tuple[float, float]) -> tuple[Whole, Floats]:
    """Instants and three axes of sines, each an amplitude and a frequency, with some noise."""
    count = round(seconds * hz)
    at = np.arange(count) / hz
    noise = np.random.default_rng(1).normal(0, 0.01, (3, count))
    wave = sum(a * np.sin(2 * np.pi * f * at) for a, f in parts)
    return np.rint(at * 1e6).astype(np.int64), noise + np.outer((1.0, 0.5, 0.25), wave)


def made(samples: Floats, hz: float) -> Spectrum:
    found = spectrum(samples, hz, BANDS)
    assert found is not None
    return found


def trace(name: str) -> tuple[Whole, Floats, int, float]:
    """Instants, axes, first instant of the first hour and rate of a real trace."""
    read = pq.read_table(SEISMIC / f"{name}.parquet")
    read = read.set_column(1, "channel", read["channel"].cast(pa.string()))
    channels = sorted(set(read["channel"].to_pylist()))
    of = [read.filter(pa.array(read["channel"].to_numpy() == channel)) for channel in channels]
    at = of[0]["at"].cast(pa.int64()).to_numpy()
    values = np.array([one["counts"].to_numpy() for one in of])
    return at, values, int(at[0]) // HOUR_US * HOUR_US, float(read["sampling_hz"][0].as_py())


def in_first_hour(at: Whole, values: Floats, hour: int) -> tuple[Whole, Floats]:
    return at[at < hour + HOUR_US], values[:, at < hour + HOUR_US]


def assert_welch(found: Spectrum, samples: Floats, hz: float) -> None:
    frequencies, density = signal.welch(samples, hz, "hann", found.points, found.points // 2)
    np.testing.assert_allclose(found.frequencies, frequencies, rtol=1e-15)
    atol = TOLERANCE * density.max()
    np.testing.assert_allclose(found.density, density, rtol=TOLERANCE, atol=atol)


def test_a_spectrum_without_gaps_is_scipys() -> None:
    at, values = sines(100.0, 3600, (3.0, 7.0), (1.0, 31.0))
    samples = grid(at, values, 0, 100.0)
    found = made(samples, 100.0)
    assert (found.points, found.slots_filled, found.segments) == (4096, 360_000, 174)
    assert_welch(found, samples, 100.0)
    np.testing.assert_allclose(found.dominant_hz, 7.0, atol=100 / 4096 / 2)
    # A sine of amplitude a has a mean square of a^2 / 2, axis by axis a smaller one.
    axes = np.array([1.0, 0.25, 0.0625])
    np.testing.assert_allclose(found.energy["mid"], 4.5 * axes, rtol=0.01)
    np.testing.assert_allclose(found.energy["high"], 0.5 * axes, rtol=0.01)
    np.testing.assert_allclose(found.energy["all"], values.var(axis=1), rtol=0.01)


def test_a_real_earthquake_on_three_axes_has_the_spectrum_of_scipy() -> None:
    at, values, hour, hz = trace("CER_2005-07-23_150hz_3axes")
    samples = grid(at, values, hour, hz)
    filled = np.isfinite(samples[0])
    assert filled.sum() == values.shape[1] == 10_650
    found = made(samples, hz)
    assert (found.points, found.segments) == (4096, 4)
    assert_welch(found, samples[:, filled], hz)


def test_a_trace_off_the_grid_of_seconds_loses_no_sample() -> None:
    at, values, hour, hz = trace("ULN_2015-07-18_1hz_3hours")
    first = in_first_hour(at, values, hour)
    samples = grid(*first, hour, hz)
    found = made(samples, hz)
    assert found.slots_filled == len(first[0]) == 1947
    assert found.points == 1024
    assert_welch(found, samples[:, np.isfinite(samples[0])], hz)


def test_segments_end_at_real_gaps() -> None:
    at, values, hour, hz = trace("BGLD_2008-01-01_200hz_gaps")
    later = at >= hour + HOUR_US
    samples = grid(at[later], values[:, later], hour + HOUR_US, hz)
    found = made(samples, hz)
    steps = np.diff(at[later])
    breaks = np.flatnonzero(steps > 1.5e6 / hz)
    assert breaks.size
    runs = np.split(values[0, later], breaks + 1)
    whole = [run for run in runs if len(run) >= found.points]
    parts = [signal.welch(run, hz, "hann", found.points, found.points // 2)[1] for run in whole]
    counts = [(len(run) - found.points) // (found.points // 2) + 1 for run in whole]
    assert found.segments == sum(counts)
    mean = np.average(parts, axis=0, weights=counts)
    np.testing.assert_allclose(found.density[0], mean, rtol=TOLERANCE, atol=TOLERANCE * mean.max())


AT, VALUES = sines(2.0, 600, (1.0, 0.3))


@settings(max_examples=60)
@given(st.randoms(use_true_random=False), st.integers(0, 200), st.sets(st.integers(0, 1199)))
def test_no_order_and_no_duplicate_changes_a_bit(rng: object, again: int, gone: set[int]) -> None:
    kept = np.setdiff1d(np.arange(1200), [*gone])
    order = [*kept.tolist(), *kept[:again].tolist()]
    rng.shuffle(order)  # type: ignore[attr-defined]
    plain, mixed = (grid(AT[of], VALUES[:, of], 0, 2.0) for of in (kept, order))
    assert plain.tobytes() == mixed.tobytes()
    one, two = spectrum(plain, 2.0, BANDS), spectrum(mixed, 2.0, BANDS)
    assert (one is None) == (two is None)
    if one is not None and two is not None:
        assert one.density.tobytes() == two.density.tobytes()
        assert one.dominant_hz.tobytes() == two.dominant_hz.tobytes()
        assert one.slots_filled == two.slots_filled == len(kept)


def test_of_two_samples_on_a_slot_the_least_counts_in_any_order() -> None:
    at = np.array([1_000_000, 1_000_000, 2_000_000, 1_900_000])
    values = np.array([[5.0, 4.0, 1.0, 9.0]])
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        made_ = grid(at[order], values[:, order], 0, 1.0)
        assert made_[0, 1:3].tolist() == [4.0, 9.0]
        assert np.isnan(made_[0, [0, 3]]).all()


def test_a_sample_next_to_the_end_of_the_hour_stays_in_it() -> None:
    assert grid(np.array([HOUR_US - 1]), np.array([[3.0]]), 0, 1.0)[0, -1] == 3.0
    with pytest.raises(ValueError, match="not of this hour"):
        grid(np.array([HOUR_US + 1_000_000]), np.array([[3.0]]), 0, 1.0)


def test_too_few_samples_have_no_spectrum() -> None:
    samples = np.full((1, 3600), np.nan)
    assert spectrum(samples, 1.0, BANDS) is None
    samples[0, : LEAST_POINTS - 1] = 1.0
    assert spectrum(samples, 1.0, BANDS) is None
    samples[0, LEAST_POINTS - 1] = 2.0
    assert made(samples, 1.0).points == LEAST_POINTS


def test_a_signal_faster_than_half_the_rate_shows_at_its_alias() -> None:
    at, values = sines(100.0, 120, (1.0, 63.0))
    found = made(grid(at, values, 0, 100.0), 100.0)
    np.testing.assert_allclose(found.dominant_hz, 37.0, atol=100 / 4096)
