"""Statistics and spectra of samples: any history of deliveries ends in the same bytes of the hours,
and the engine of this process has the rows of the warehouse's.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.hours.due import Slope
from platform_tests.length import IS_LONG
from platform_tests.warehouse.hours import AXES, EPOCH, HOURS, READING, STATS, reading
from scipy import signal

from acme.simulator import traces
from acme.simulator.world import World
from malacate.components.declared import promised
from malacate.contracts.table import Column, Table
from malacate.errors import ContractError
from malacate.hours.files import content
from malacate.hours.grid import HOUR_US
from malacate.hours.in_process import InProcess
from malacate.hours.job import Job
from malacate.orchestration.hours_numpy import Numpy
from malacate.sources.hours import measured
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.hourly_rules import Spectrum

SEISMIC = Path(__file__).parents[1] / "data" / "seismic"
TRACES = Path(__file__).parents[2] / "platform" / "acme" / "defs" / "traces"
HISTORIES = 500 if IS_LONG else 50
HZ, BANDS = 100.0, {"low": (1.0, 10.0), "high": (10.0, 50.0)}
OF_AXIS = ("dominant_hz", "low_energy_mm2_s2", "high_energy_mm2_s2")
WITH_SPECTRUM = replace(
    STATS,
    table=HOURS.having(*(Column(f"{axis}_{of}", pa.float64()) for axis in AXES for of in OF_AXIS)),
    spectrum=Spectrum(HZ, BANDS),
)
SECONDS, SENSORS = 8, ("g1", "g2")


def samples() -> pa.Table:
    """Two sensors, across the end of an hour; one sample is told with two values."""
    count, chance = round(SECONDS * HZ), np.random.default_rng(4)
    start = EPOCH + timedelta(hours=1) - timedelta(seconds=SECONDS * 0.6)
    at = pa.array([start + timedelta(microseconds=round(n * 1e6 / HZ)) for n in range(count)])
    parts = []
    for number, sensor in enumerate(SENSORS):
        wave = np.sin(2 * np.pi * (6.25 + number) * np.arange(count) / HZ)
        axes = {
            column: np.round(wave + chance.normal(0, 0.1, count), 3) for column in AXES.values()
        }
        own = dict.fromkeys(("rms_mm_s", "pvs_mm_s", "battery_v"), np.ones(count))
        rows = {"sensor_id": [sensor] * count, "sector_id": ["north"] * count,
                "seq": np.arange(count), "measured_at": at, **axes, **own}  # fmt: skip
        parts.append(pa.table({name: rows[name] for name in READING.schema.names}))
    told = pa.concat_tables(parts).cast(READING.schema)
    odd = told.slice(50, 1).set_column(4, READING.schema.field(4), pa.array([99.0]))
    return pa.concat_tables([told, odd])


SAMPLES = samples()


def hours_of(
    files: Mapping[str, bytes],
    stats: HourlyStats = WITH_SPECTRUM,
    readings: Table = READING,
    hours: Sequence[int] | None = None,
) -> pa.Table:
    """The hours of the readings in Parquet files."""
    what = measured(stats, readings)
    made = pa.schema([(name, stats.table.by_name[name].type) for name in what.columns])
    read = pa.schema([(name, readings.by_name[name].type) for name in what.read])
    job = Job.from_json(Job(what, list(files), hours, read, made, "").to_json())
    return pa.concat_tables(InProcess(job, lambda name: pa.BufferReader(files[name])).rows())


def hours_after(deliveries: Sequence[pa.Table], hours: Sequence[int] | None = None) -> bytes:
    """The bytes of all hours, of a file for each delivery."""
    files = {}
    for number, rows in enumerate(deliveries):
        pq.write_table(rows, sink := io.BytesIO(), row_group_size=97)
        files[f"{number}"] = sink.getvalue()
    return content(hours_of(files, hours=hours), HOURS.key)


@settings(max_examples=HISTORIES)
@given(st.integers(0, 1 << 32), st.integers(1, 5), st.integers(0, 300))
def test_any_history_of_deliveries_ends_in_the_same_bytes(
    seed: int, files: int, again: int
) -> None:
    order = np.random.default_rng(seed).permutation(SAMPLES.num_rows).tolist()
    order += order[:again]
    parts = [SAMPLES.take(pa.array(order[n::files])) for n in range(files)]
    assert hours_after(parts) == hours_after([SAMPLES])


def test_an_hour_alone_is_the_same_as_among_others() -> None:
    whole = pq.read_table(io.BytesIO(hours_after([SAMPLES])))
    firsts = [int(EPOCH.timestamp() * 1e6) + n * HOUR_US for n in (0, 1)]
    alone = [pq.read_table(io.BytesIO(hours_after([SAMPLES], [hour]))) for hour in firsts]
    together = pa.concat_tables(alone)
    assert together.sort_by([(name, "ascending") for name in HOURS.key]) == whole
    assert [round(one) for one in whole["tran_dominant_hz"].to_pylist()] == [6, 6, 7, 7]


def test_statistics_are_those_of_the_warehouse(tmp_path: Path) -> None:
    slope = Slope(tmp_path)
    rows = [reading(n, 1 + n / 7, 3 - n / 9, f"g{n % 3}") for n in range(40)]
    slope.deliver("a", rows[:25])
    slope.deliver("b", [*rows[20:], {**rows[3], "ppv_vert_mm_s": 9.0}])
    slope.load()
    told: list[dict[str, int]] = []
    launch = Numpy().launch(None, slope.computed.lake, told)  # type: ignore[arg-type]
    slope.compute(launch)
    slope.assert_same()
    slope.deliver("late", [reading(2, peak=7.0, sensor="g9"), reading(30, peak=-3.0, sensor="g1")])
    slope.deliver("a", rows[:23])
    slope.load()
    slope.compute(launch)
    slope.assert_same()
    assert told[0]["readings_read"] == 46
    assert 0 < told[1]["hours_computed"] < told[0]["hours_computed"]


@pytest.mark.parametrize("name", ["CER_2005-07-23_150hz_3axes"])
def test_the_spectrum_of_a_real_earthquake_is_scipys(name: str) -> None:
    read = pq.read_table(SEISMIC / f"{name}.parquet")
    hz = float(read["sampling_hz"][0].as_py())
    channels = read["channel"].cast(pa.string())
    of = [
        read.filter(pa.array(channels.to_numpy(False) == c))
        for c in sorted(set(channels.to_pylist()))
    ]
    counts = np.array([one["counts"].to_numpy() for one in of], float) / 1000
    rows = pa.table({
        "sensor_id": ["g1"] * of[0].num_rows, "sector_id": ["north"] * of[0].num_rows,
        "seq": np.arange(of[0].num_rows), "measured_at": of[0]["at"],
        **dict(zip(AXES.values(), counts, strict=True)),
        **dict.fromkeys(("rms_mm_s", "pvs_mm_s", "battery_v"), np.ones(of[0].num_rows)),
    }).select(READING.schema.names)  # fmt: skip
    stats = replace(WITH_SPECTRUM, spectrum=Spectrum(hz, BANDS))
    pq.write_table(rows, sink := io.BytesIO())
    (hour,) = hours_of({"a": sink.getvalue()}, stats).to_pylist()
    frequencies, density = signal.welch(counts, hz, "hann", 4096, 2048)
    for axis, mine in zip(AXES, density, strict=True):
        assert hour[f"{axis}_dominant_hz"] == frequencies[1:][mine[1:].argmax()]
        for band, (low, high) in BANDS.items():
            within = (frequencies >= low) & (frequencies < high)
            energy = mine[within].sum() * hz / 4096
            assert hour[f"{axis}_{band}_energy_mm2_s2"] == pytest.approx(energy, rel=1e-9)


@pytest.mark.parametrize("band", [(-1.0, 5.0), (5.0, 5.0), (20.0, 50.1)])
def test_a_band_that_samples_cannot_tell_is_refused(band: tuple[float, float]) -> None:
    stats = replace(WITH_SPECTRUM, spectrum=Spectrum(HZ, {"low": band, "high": (1.0, 2.0)}))
    with pytest.raises(ContractError, match="the band 'low'"):
        stats.require_sound(READING)


def test_the_mines_raw_trace_has_the_hour_that_is_known(tmp_path: Path) -> None:
    drops = traces.deliver_hour(World(), tmp_path / "drops", tmp_path / "truth", 0)
    tables = promised(TRACES, "traces", ["trace", "trace_hour"])
    axes = {axis: f"v_{axis}_mm_s" for axis in AXES}
    bands = {"low": (1.0, 5.0), "mid": (5.0, 15.0), "high": (15.0, 50.0)}
    stats = HourlyStats(
        tables["trace_hour"], 60_000, axes, traces.RESOLUTION, spectrum=Spectrum(100.0, bands)
    )
    files = {path.name: path.read_bytes() for path in drops}
    (hour,) = hours_of(files, stats, tables["trace"]).to_pylist()
    (truth,) = (tmp_path / "truth" / "traces").iterdir()
    (known,) = pq.read_table(truth).to_pylist()
    told = {name: hour[name] for name in known}
    numbers = {name: value for name, value in known.items() if isinstance(value, float)}
    assert {name: told.pop(name) for name in numbers} == pytest.approx(numbers, rel=1e-12)
    assert told == {name: value for name, value in known.items() if name not in numbers}
