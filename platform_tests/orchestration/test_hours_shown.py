"""What the page of a table of hours shows, wherever they are computed, and what that asks."""

import base64
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from platform_tests.company import Company, Ran, at_home, instance, run_to_end
from platform_tests.streams import slope
from platform_tests.streams.test_fleet import collect
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.engines import on_duckdb
from platform_tests.warehouse.hours import EPOCH, READING, STATS, Row, reading

from acme.definitions import DEFS
from acme.simulator import geophones, traces
from acme.simulator.stream import Live
from acme.simulator.world import World
from malacate.components.declared import load_declared
from malacate.errors import ConfigError
from malacate.ingest import Report
from malacate.orchestration.hours_plots import plot, plot_spectra
from malacate.orchestration.hours_shown import SHOWN, of_load
from malacate.sources.streams.message import Message
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.hour_states import HourStands, SpectrumStands

__all__ = ["instance"]

WORLD = World(7, 1.0)
GEOPHONES = ("raw/geophones/vibration", "raw/geophones/vibration_hour")
TRACES = ("raw/traces/trace", "raw/traces/trace_hour")
SVG = "{http://www.w3.org/2000/svg}"
KB = 1000


@pytest.fixture
def mine() -> Iterator[Company]:
    """Its geophones and its recorders."""
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        for source in ("geophones", "traces"):
            declared = (DEFS / source / "defs.yaml").read_text().partition("  alarms:")[0]
            company.write(f"defs/{source}/defs.yaml", declared)
            contract = (DEFS / source / "contract.odcs.yaml").read_text()
            company.write(f"defs/{source}/contract.odcs.yaml", contract)
            (company.drops / source).mkdir()
        with at_home(company, ACME_DROPS=str(company.drops)):
            yield company


def told(ran: Ran, key: str) -> dict[str, Any]:
    """The metadata of one of the assets that a step made."""
    (event,) = (
        event
        for event in ran.result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(key.split("/"))
    )
    made = event.step_materialization_data.materialization.metadata
    return {name: value.value for name, value in made.items()}


def pictures(text: str) -> list[ElementTree.Element]:
    """The SVG in a markdown, as the UI shows it."""
    found = re.findall(r"!\[[^]]*\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", text)
    return [ElementTree.fromstring(base64.b64decode(one)) for one in found]


def bars(text: str) -> int:
    (picture,) = pictures(text)
    return len(picture.findall(f"{SVG}rect")) - 1


def test_hours_that_the_warehouse_derives_are_shown_by_the_run_that_loaded_their_readings(
    mine: Company, instance: dg.DagsterInstance
) -> None:
    places = (mine.drops / "geophones", mine.folder / "truth")
    for hour in (1, 4, 5):
        geophones.deliver_hour(WORLD, *places, hour)
    first = told(run_to_end(mine, GEOPHONES, instance), GEOPHONES[1])
    assert (first["hours"], first["hours_told"], first["hours_renewed"]) == (3, 3, 3)
    assert (first["sensors_silent"], first["sensors_frozen"], first["sensors_clock_skewed"]) == (
        1, 1, 1,
    )  # fmt: skip
    assert geophones.IDS[geophones.FAST] in first["sensors_by_state"].replace("\\", "")
    assert (first["rows_too_late"], first["rows_clock_skew"]) == (0, pytest.approx(360, rel=0.1))
    assert 0.5 < first["completeness"] < 1
    assert bars(first["by_hour"]) == 3
    assert "spectrum_by_hour" not in first

    geophones.deliver_late(WORLD, *places, 4)
    second = told(run_to_end(mine, GEOPHONES, instance), GEOPHONES[1])
    assert (second["hours"], second["hours_renewed"]) == (3, 1)
    assert second["revision"] == first["revision"] + 1
    assert second["hours_revised"] >= 1
    assert second["oldest_hour_renewed"] == f"{WORLD.after(4):%Y-%m-%d %H:%M}Z"
    over = WORLD.after(5).timestamp()
    assert second["lateness_seconds"] == pytest.approx(max(0.0, time.time() - over), abs=600)

    nothing = told(run_to_end(mine, GEOPHONES, instance), GEOPHONES[1])
    assert nothing["dagster/row_count"] > 0
    assert not {"hours", "by_hour", "sensors_by_state", "rows_too_late"} & nothing.keys()


def test_hours_that_are_computed_beside_show_a_spectrum_too(
    mine: Company, instance: dg.DagsterInstance
) -> None:
    for hour in (0, 1):
        traces.deliver_hour(WORLD, mine.drops / "traces", mine.folder / "truth", hour)
    ran = run_to_end(mine, TRACES, instance)
    shown = told(ran, TRACES[1])
    assert (shown["hours"], shown["hours_renewed"], shown["launches"]) == (2, 2, 1)
    assert (shown["rows_loaded"], shown["rows_too_late"]) == (2, 0)
    assert shown["completeness"] == pytest.approx(1, rel=0.1)
    assert bars(shown["by_hour"]) == 2
    (picture,) = pictures(shown["spectrum_by_hour"])
    named = "".join(picture.itertext())
    assert all(name in named for name in ("tran", "vert", "long", "low", "mid", "high"))
    again = told(run_to_end(mine, TRACES, instance), TRACES[1])
    assert not {"hours", "by_hour", "spectrum_by_hour"} & again.keys()


def test_hours_of_a_stream_are_shown_and_are_files(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    with slope.slope(tmp_path / "company", 1) as company:
        declared = f"{slope.DECLARED.rstrip()}\n        files_for_ml: slope_hour\n"
        company.write("defs/slope/defs.yaml", declared)
        live = Live(slope.WORLD, slope.HOUR, 3)
        collect(company, [Message(data, at) for second in live.told() for at, data in second])
        ran = run_to_end(company, [*slope.TABLES, "ml/slope_hour"], instance)
        made = company.ingest.lake.root / "ml" / "slope_hour"
        names = sorted(path.name for path in made.iterdir())
    hour = f"{slope.WORLD.after(slope.HOUR):%Y-%m-%dT%H}.parquet"
    shown, files = told(ran, slope.TABLES[1]), told(ran, "ml/slope_hour")
    assert names == [hour, "manifest.json"]
    assert (files["hours"], files["hours_written"]) == (1, 1)
    assert (shown["hours"], shown["hours_renewed"], shown["sensors_clock_skewed"]) == (1, 1, 1)
    alike = {"readings", "completeness", "rows_clock_skew", "sensors_by_state", "by_hour"}
    assert {name: shown[name] for name in alike} == {name: files[name] for name in alike}


def test_two_declarations_of_files_by_one_name_are_refused(mine: Company) -> None:
    path = mine.declarations / "traces" / "defs.yaml"
    path.write_text(f"{path.read_text().rstrip()}\n  files_for_ml: trace\n")
    keys = mine.definitions.resolve_asset_graph().get_all_asset_keys()
    assert {dg.AssetKey(["ml", name]) for name in ("trace", "vibration_sensor_hour")} <= keys
    path.write_text(path.read_text().replace("ml: trace", "ml: vibration_sensor_hour"))
    with pytest.raises(ConfigError, match="Give `files_for_ml` of one") as caught:
        load_declared(mine.declarations)
    assert str(path) in caught.value.object
    assert str(mine.declarations / "geophones") in caught.value.what


def loaded(*rows: Row, ended: datetime) -> dict[str, Any]:
    """What a run tells that loaded the rows in a batch and ended then."""
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        engine = on_duckdb(Path(folder))
        batch = Batches(engine.lake, READING).of(drop(), rows, derives=STATS)
        engine.warehouse.publish([batch])
        told = dict.fromkeys(
            ("object", "rows_read", "rows_loaded", "rows_quarantined", "attempts", "reason",
             "dup_of", "modified_ns"), None,
        )  # fmt: skip
        done = {"batch_id": drop().batch_id, "state": "loaded", "ended": ended.timestamp()}
        written = round((ended - timedelta(seconds=40)).timestamp() * 1e9)
        report = Report([{**told, **done, "modified_ns": written}])
        return of_load(STATS, READING, engine.warehouse, report)


def test_lateness_is_of_the_oldest_hour_that_was_renewed() -> None:
    late = loaded(reading(2), reading(9), ended=EPOCH + timedelta(hours=3, seconds=7))
    assert (late["oldest_hour_renewed"], late["lateness_seconds"]) == ("2026-11-03 00:00Z", 7207)
    assert late["longest_lag_seconds"] == 40
    live = loaded(reading(2), ended=EPOCH + timedelta(minutes=31))
    assert (live["hours_renewed"], live["lateness_seconds"]) == (1, 0)


def test_what_is_told_is_of_the_week_up_to_the_newest_hour() -> None:
    old = {**reading(0), "measured_at": EPOCH - timedelta(days=7)}
    older = {**reading(1), "measured_at": EPOCH - timedelta(days=7, hours=1)}
    shown = loaded(older, old, reading(2), ended=EPOCH)
    assert (shown["hours"], shown["hours_told"], shown["readings"]) == (3, 2, 2)
    nothing = loaded(ended=EPOCH)
    assert (nothing["hours"], nothing["hours_told"], nothing["completeness"]) == (0, 0, 0.0)
    assert nothing["by_hour"].value == "There is no hour yet."


def test_a_clock_that_is_ahead_silences_nobody() -> None:
    ahead = {**reading(1, sensor="fast"), "measured_at": datetime.now(UTC) + timedelta(days=30)}
    shown = loaded(reading(0), reading(4), ahead, ended=EPOCH)
    assert (shown["hours"], shown["hours_told"], shown["hours_ahead"]) == (3, 2, 1)
    assert (shown["sensors_silent"], shown["hours_renewed"]) == (0, 2)
    assert bars(shown["by_hour"].value) == 2


def test_a_reading_that_is_ahead_brings_no_silent_sensor_back() -> None:
    ahead = {**reading(1, sensor="dead"), "measured_at": datetime.now(UTC) + timedelta(days=30)}
    rows = [reading(0, sensor="dead"), reading(0), reading(8), reading(9)]
    shown = loaded(*rows, ahead, ended=EPOCH)
    assert (shown["sensors_silent"], shown["hours_renewed"]) == (1, 2)


def test_a_run_that_publishes_nothing_asks_the_warehouse_nothing(tmp_path: Path) -> None:
    nowhere = DuckDBWarehouse(tmp_path / "w" / "none.duckdb", tmp_path)
    (tmp_path / "w").rmdir()
    rejected: dict[str, object] = {"batch_id": "b", "state": "quarantined"}
    assert of_load(STATS, READING, nowhere, Report([rejected])) == {}
    assert not (tmp_path / "w").exists()


def hours(number: int) -> list[HourStands]:
    return [
        HourStands(EPOCH + timedelta(hours=n), 2, n, 47, n * 0.1 or None, 1, "")
        for n in range(number)
    ]


def spectra(number: int, bands: Sequence[str]) -> list[SpectrumStands]:
    axes = ("tran", "vert", "<long>")
    energy = {axis: {b: n + 0.1 for n, b in enumerate(bands)} for axis in axes}
    nothing: dict[str, dict[str, float | None]] = {a: dict.fromkeys(bands) for a in axes}
    return [
        SpectrumStands(
            EPOCH + timedelta(hours=n),
            dict.fromkeys(axes, 6.25 if n % 3 else None),
            energy if n % 3 else nothing,
        )
        for n in range(number)
    ]


def test_a_plot_has_a_bar_for_each_hour_and_is_small() -> None:
    for number in (1, 3, SHOWN):
        picture = plot(hours(number))
        drawn = ElementTree.fromstring(picture)
        assert len(drawn.findall(f"{SVG}rect")) - 1 == number
        line = drawn.find(f"{SVG}polyline")
        assert line is not None
        assert len(line.attrib["points"].split()) == number
        assert len(base64.b64encode(picture.encode())) < 20 * KB


@pytest.mark.parametrize("bands", [0, 1, 3, 12, 40])
def test_a_plot_of_spectra_has_a_bar_for_each_axis_hour_and_band_and_is_small(bands: int) -> None:
    names = [f"band_{n}" for n in range(bands)]
    picture = plot_spectra(spectra(SHOWN, names), 50.0)
    assert len(base64.b64encode(picture.encode())) < 20 * KB
    panels = ElementTree.fromstring(picture).findall(f"{SVG}g")
    assert [panel.findtext(f"{SVG}text") for panel in panels] == ["tran", "vert", "<long>"]
    for panel in panels:
        *drawn, line = panel.findall(f"{SVG}path")
        shown = min(SHOWN, 1000 // (3 * bands)) if bands else SHOWN
        lit = [n for n in range(SHOWN - shown, SHOWN) if n % 3]
        assert len(drawn) == bands
        assert all(path.attrib["d"].count("M") == len(lit) for path in drawn)
        starts = [n for n in lit if n % 3 == 1 or n == SHOWN - shown]
        assert line.attrib["d"].count("M") == len(starts)


def test_bars_of_bands_stand_on_one_another_up_to_the_whole() -> None:
    (panel, *_) = ElementTree.fromstring(plot_spectra(spectra(2, ["a", "b"]), 50.0)).findall(
        f"{SVG}g"
    )
    low, high, line = (path.attrib["d"] for path in panel.findall(f"{SVG}path"))
    assert (low, high) == ("M17 60V55", "M17 55V0")
    assert line == "M17 52h1"
