"""The mine's geophones, from their files to the hours and the hours' files: all of it is true."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from platform_tests.company import TARGETS

from acme.definitions import DEFS
from acme.simulator import geophones
from acme.simulator.world import World
from malacate.components.declared import raw_assets
from malacate.hours.files import HourFiles
from malacate.orchestration.hours_files import hours_files
from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.resources import Platform
from malacate.route import Route
from malacate.warehouse.hour_states import put_aside
from malacate.warehouse.hourly import HourlyStats

WORLD = World(7, 1.0)
FOLDER = "ml/vibration_sensor_hour"
TOLERANCE = 1e-9
"""Relative; numpy sums floats, the hours are of whole numbers."""


@dataclass
class Slope:
    """The geophones' drops, what is true of them, and a platform that loads them."""

    root: Path
    platform: Platform
    route: Route

    def deliver(self, hour: int, is_late: bool = False) -> None:
        made = geophones.deliver_late if is_late else geophones.deliver_hour
        made(WORLD, self.root / "drops" / "geophones", self.root / "truth", hour)

    def load(self) -> None:
        ingest = self.platform.ingest()
        report = ingest.run(self.route)
        ingest.ledger.mark_reported([str(batch["batch_id"]) for batch in report.batches])

    @property
    def stats(self) -> HourlyStats:
        assert isinstance(self.route.derives, HourlyStats)
        return self.route.derives

    @property
    def hours(self) -> pa.Table:
        rows = self.platform.ingest().warehouse.read(self.stats.table.name)
        return rows.sort_by([("hour_at", "ascending"), ("sensor_id", "ascending")])

    def true_hours(self, *hours: int) -> pa.Table:
        folder = self.root / "truth" / "geophones"
        names = (f"vibration_hour_{WORLD.after(hour):%Y%m%dT%H}.parquet" for hour in hours)
        return pa.concat_tables([pq.read_table(folder / name) for name in names])

    def files(self) -> dict[str, Any]:
        """Run the asset of the files; its metadata."""
        asset = hours_files("vibration_sensor_hour", self.stats, self.route.table, POOL)
        ran = dg.materialize([asset], resources={"platform": self.platform})
        (made,) = ran.asset_materializations_for_node(asset.op.name)
        return {name: value.value for name, value in made.metadata.items()}

    def bytes_of_files(self) -> dict[str, bytes]:
        folder = self.platform.ingest().lake.root / FOLDER
        return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def slope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slope:
    (tmp_path / "targets.yaml").write_text(TARGETS)
    for name, value in {
        "MALACATE_TARGET": "local",
        "MALACATE_HOME": str(tmp_path / "home"),
        "ACME_DROPS": str(tmp_path / "drops"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "drops" / "geophones").mkdir(parents=True)
    keys = {raw.key.to_user_string(): raw.route for raw in raw_assets(DEFS)}
    platform = Platform(targets=str(tmp_path / "targets.yaml"))
    return Slope(tmp_path, platform, keys["raw/geophones/vibration"])


def assert_true(found: pa.Table, known: pa.Table) -> None:
    assert found.schema.names == known.schema.names
    for name in set(known.schema.names) - {"revision"}:
        ours, true = found[name], known[name]
        assert ours.is_null().equals(true.is_null()), name
        if pa.types.is_floating(true.type):
            np.testing.assert_allclose(
                ours.drop_null(), true.drop_null(), rtol=TOLERANCE, atol=0, err_msg=name
            )
        else:
            assert ours.to_pylist() == true.to_pylist(), name


def test_hours_and_their_files_are_those_of_the_sound_readings(slope: Slope) -> None:
    for hour in (1, 4, 5):
        slope.deliver(hour)
    slope.load()
    assert_true(slope.hours, slope.true_hours(1, 4, 5))
    told = slope.files()
    assert (told["hours"], told["hours_written"], told["hours_unchanged"]) == (3, 3, 0)
    assert (told["sensors_silent"], told["sensors_frozen"], told["sensors_clock_skewed"]) == (
        1, 1, 1,
    )  # fmt: skip
    states = told["sensors_by_state"]
    for place in (geophones.SILENT, geophones.FROZEN, geophones.FAST):
        assert geophones.IDS[place] in states.replace("\\", "")
    assert told["rows_clock_skew"] == pytest.approx(360, rel=0.1)
    assert "data:image/svg+xml;base64," in told["by_hour"]
    before, revision = slope.bytes_of_files(), told["revision"]

    slope.deliver(4, is_late=True)
    slope.load()
    assert_true(slope.hours, slope.true_hours(1, 4, 5))
    told = slope.files()
    assert (told["hours_written"], told["hours_unchanged"]) == (1, 2)
    after = slope.bytes_of_files()
    changed = f"{WORLD.after(4):%Y-%m-%dT%H}.parquet"
    assert {name for name in before if before[name] != after[name]} == {changed, "manifest.json"}
    manifest = json.loads(after["manifest.json"])
    assert manifest[changed]["revision"] == told["revision"] == revision + 1
    rows = pq.read_table(pa.BufferReader(after[changed]))
    hour = slope.hours.filter(pc.equal(slope.hours["hour_at"], pa.scalar(WORLD.after(4))))
    assert rows == hour.drop_columns(["revision"]).cast(rows.schema)

    again = slope.files()
    assert (again["hours_written"], again["hours_unchanged"]) == (0, 3)
    assert slope.bytes_of_files() == after


def test_every_planted_row_is_in_quarantine_for_its_reason(slope: Slope) -> None:
    slope.deliver(5)
    slope.load()
    told = [json.loads(path.read_text()) for path in (slope.root / "truth").rglob("*.json")]
    why = [bad["reason"] for one in told for bad in one["bad_rows"]]
    planted = {reason: why.count(reason) for reason in sorted(set(why))}
    assert planted.keys() == {"below_minimum", "clock_skew", "not_finite"}
    assert put_aside(slope.platform.ingest().warehouse, slope.route.table) == planted


def test_a_file_that_went_comes_back_and_one_that_no_hour_stands_for_goes(slope: Slope) -> None:
    slope.deliver(1)
    slope.load()
    slope.files()
    before, folder = slope.bytes_of_files(), slope.platform.ingest().lake.root / FOLDER
    (name,) = before.keys() - {"manifest.json"}
    (folder / name).unlink()
    (folder / "2020-01-01T00.parquet").write_bytes(b"")
    (folder / f"{name}.0badc0de").write_bytes(b"half")
    told = slope.files()
    assert (told["hours_written"], told["files_removed"]) == (1, 2)
    assert slope.bytes_of_files() == before
    (folder / "manifest.json").unlink()
    slope.files()
    assert slope.bytes_of_files() == before


def test_there_are_files_of_no_hours_too(slope: Slope) -> None:
    slope.load()
    assert slope.files()["hours"] == 0
    assert HourFiles(slope.platform.ingest().lake, FOLDER).manifest == {}
