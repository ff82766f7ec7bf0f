"""Files of hours in a lake: written when they change, whole after a death at any place."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malacate.hours.files import MANIFEST, Hour, HourFiles, content
from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.stores.folder import FolderStore

START = datetime(2026, 11, 3, tzinfo=UTC)
FOLDER = "ml/hours"


class Died(Exception):
    """The writer, in the middle."""


@pytest.fixture(params=["folder", "bucket"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(tmp_path / "lake")
    (tmp_path / "bucket").mkdir()
    return Lake(BucketPlace(FolderStore(tmp_path / "bucket"), tmp_path / "tmp"))


def hour(number: int, revision: int = 1) -> Hour:
    at = START + timedelta(hours=number)
    return Hour(at, revision, f"{number}-{revision}")


def rows(number: int, ppv: float = 1.0) -> bytes:
    return content(pa.table({"sensor_id": ["b", "a"], "ppv": [ppv, float(number)]}), ("sensor_id",))


def stands(lake: Lake) -> dict[str, bytes | None]:
    return {one.path: lake.content(one.path) for one in lake.files(FOLDER)}


def test_only_what_changed_is_written(lake: Lake) -> None:
    files, read = HourFiles(lake, FOLDER), list[Hour]()

    def reading(ppv: float) -> Callable[[Hour], bytes]:
        return lambda one: read.append(one) or rows(one.at.hour, ppv)  # type: ignore[func-returns-value]

    first = files.bring_up([hour(0), hour(1)], reading(1.0))
    assert first.written == ("2026-11-03T00.parquet", "2026-11-03T01.parquet")
    assert files.bring_up([hour(0), hour(1)], reading(2.0)).unchanged == 2
    assert len(read) == 2
    late = files.bring_up([hour(0), hour(1, 2)], reading(2.0))
    assert (late.written, late.unchanged) == (("2026-11-03T01.parquet",), 1)
    renewed = files.bring_up([hour(0), hour(1, 3)], reading(2.0))
    assert (renewed.written, files.manifest["2026-11-03T01.parquet"].revision) == ((), 3)
    gone = files.bring_up([hour(1, 3)], reading(2.0))
    assert gone.removed == (f"{FOLDER}/2026-11-03T00.parquet",)
    assert stands(lake).keys() == {f"{FOLDER}/2026-11-03T01.parquet", f"{FOLDER}/{MANIFEST}"}


def test_after_a_death_the_next_run_ends_where_the_first_would_have(lake: Lake) -> None:
    files = HourFiles(lake, FOLDER)
    files.bring_up([hour(0)], lambda one: rows(0))

    def dying(one: Hour) -> bytes:
        if one.at.hour == 1:
            raise Died
        return rows(one.at.hour, 7.0)

    with pytest.raises(Died):
        files.bring_up([hour(0, 2), hour(1)], dying)
    files.bring_up([hour(0, 2), hour(1)], lambda one: rows(one.at.hour, 7.0))
    standing = stands(lake)
    assert standing[f"{FOLDER}/2026-11-03T00.parquet"] == rows(0, 7.0)
    assert {name: one.revision for name, one in files.manifest.items()} == {
        "2026-11-03T00.parquet": 2, "2026-11-03T01.parquet": 1,
    }  # fmt: skip


@given(st.permutations(range(6)), st.integers(1, 6))
def test_the_same_rows_are_the_same_bytes(order: list[int], pieces: int) -> None:
    whole = pa.table({"sensor_id": [f"g{n}" for n in range(6)], "x": [n / 7 for n in range(6)]})
    mixed = whole.take(pa.array(order))
    parts = pa.concat_tables([mixed.slice(at, pieces) for at in range(0, 6, pieces)])
    data = content(parts, ("sensor_id",))
    assert data == content(whole, ("sensor_id",))
    assert pq.read_table(pa.BufferReader(data)) == whole
