"""What the daily sweep removes, and what it must leave."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from platform_tests.lake.yards import Yard, lake_yard, seconds_since_now
from platform_tests.stores.conftest import Servers

from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing
from malacate.lake.sweep import sweep

WEEK = 7 * 86_400.0


@pytest.fixture(params=["folder", "gcs"])
def yard(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Yard:
    """Places that tell ages by more than seconds."""
    return lake_yard(request.param, servers.of(request.param), tmp_path / "lake")


def land(lake: Lake, ordinal: int, kind: str = "snapshot") -> Landing:
    batch_id = f"{kind}{ordinal:03}"
    schema = pa.schema([("n", pa.int64())])
    with lake.writing(folder("raw_x", "t", batch_id), "rows", schema) as rows:
        rows.write(pa.RecordBatch.from_pylist([{"n": ordinal}], schema))
    one = Landing(
        batch_id, "raw_x", "t", "x", kind, kind, str(ordinal), ordinal, None, None, None,
        "snapshot", 1, 1, 0, (rows.part,),
    )  # fmt: skip
    return lake.commit(one)


def test_replaced_snapshots_go_and_the_newest_stays(yard: Yard, lake: Lake) -> None:
    first, newest = land(lake, 1), land(lake, 2)
    age = seconds_since_now()

    assert sweep(lake, age()).files == 2

    assert [one.batch_id for one in lake.landings()] == [newest.batch_id]
    assert lake.read(newest).to_pydict() == {"n": [2]}
    assert first.parts[0].path not in yard.files


def test_the_newest_old_snapshot_stays_while_a_younger_one_may_wait(lake: Lake) -> None:
    served = land(lake, 1)
    age = seconds_since_now()
    waiting = land(lake, 2)

    assert sweep(lake, age()).files == 0
    assert lake.read(served).num_rows == lake.read(waiting).num_rows == 1


def test_windows_and_objects_stay_however_old(lake: Lake) -> None:
    kept = [land(lake, n, kind) for n in (1, 2) for kind in ("window", "object")]
    age = seconds_since_now()

    assert sweep(lake, age()).files == 0
    assert len(list(lake.landings())) == len(kept)


def test_leavings_of_dead_workers_go(yard: Yard, lake: Lake) -> None:
    landing = land(lake, 1)
    place = folder("raw_x", "t", landing.batch_id)
    yard.put(f"{place}/rows-dead.parquet", b"torn")
    yard.put(f"{place.replace('final', 'quarantine')}/rejects-dead.parquet", b"torn")
    (lake.tmp / "half").write_bytes(b"half")
    age = seconds_since_now()

    swept = sweep(lake, age())

    assert (swept.files, swept.bytes) == (3, 12)
    assert yard.files == sorted([landing.parts[0].path, f"{place}/manifest.json"])
    assert lake.landed("raw_x", "t", landing.batch_id) == landing


def test_nothing_young_goes(yard: Yard, lake: Lake) -> None:
    age = seconds_since_now()
    land(lake, 1)
    land(lake, 2)
    yard.put("final/raw_x/t/some/rows-late.parquet", b"on its way")
    (lake.tmp / "half").write_bytes(b"half")

    assert sweep(lake, age()).files == sweep(lake, WEEK).files == 0


def test_a_part_whose_manifest_is_swept_is_never_named_by_one(yard: Yard, lake: Lake) -> None:
    for ordinal in (1, 2, 3):
        land(lake, ordinal)
    age = seconds_since_now()
    sweep(lake, age())

    for landing in lake.landings():
        assert all(part.path in yard.files for part in landing.all_parts)
    assert replace(next(lake.landings()), rows=1).ordinal == 3


def test_copies_of_drops_go_once_they_are_proven_and_the_others_are_told(
    yard: Yard, lake: Lake
) -> None:
    for name in ("loaded", "unknown"):
        yard.put(f"input/{name}", name.encode())
    age = seconds_since_now()
    yard.put("input/young", b"young")
    asked: list[list[str]] = []

    def proven(batch_ids: Sequence[str]) -> list[str]:
        asked.append(list(batch_ids))
        return ["loaded"]

    swept = sweep(lake, age(), proven)

    assert asked == [["loaded", "unknown"]]
    assert (swept.files, swept.bytes, swept.unknown) == (1, 6, ("unknown",))
    assert yard.files == ["input/unknown", "input/young"]


def test_without_proof_no_copy_of_a_drop_goes(yard: Yard, lake: Lake) -> None:
    yard.put("input/some", b"x")
    age = seconds_since_now()

    assert sweep(lake, age()).unknown == ("some",)
    assert yard.files == ["input/some"]
