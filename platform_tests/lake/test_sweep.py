"""What the daily sweep removes, and what it must leave."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing
from malacate.lake.sweep import sweep

WEEK = 7 * 86_400.0


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


def age(lake: Lake) -> None:
    for path in lake.root.rglob("*"):
        os.utime(path, (1.0, 1.0))


def test_replaced_snapshots_go_and_the_newest_stays(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    first, newest = land(lake, 1), land(lake, 2)
    age(lake)

    assert sweep(lake, WEEK).files == 2

    assert [one.batch_id for one in lake.landings()] == [newest.batch_id]
    assert lake.read(newest).to_pydict() == {"n": [2]}
    assert not Path(lake.uri(first.parts[0].path)).exists()


def test_the_newest_old_snapshot_stays_while_a_younger_one_may_wait(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    served = land(lake, 1)
    age(lake)
    waiting = land(lake, 2)

    assert sweep(lake, WEEK).files == 0
    assert lake.read(served).num_rows == lake.read(waiting).num_rows == 1


def test_windows_and_objects_stay_however_old(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    kept = [land(lake, n, kind) for n in (1, 2) for kind in ("window", "object")]
    age(lake)

    assert sweep(lake, WEEK).files == 0
    assert len(list(lake.landings())) == len(kept)


def test_leavings_of_dead_workers_go(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    landing = land(lake, 1)
    orphan = Path(lake.uri(landing.parts[0].path)).with_name("rows-dead.parquet")
    orphan.write_bytes(b"torn")
    (lake.root / "tmp" / "half").write_bytes(b"half")
    age(lake)

    assert sweep(lake, WEEK).files == 2
    assert lake.landed("raw_x", "t", landing.batch_id) == landing


def test_nothing_young_goes(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    land(lake, 1)
    land(lake, 2)
    (lake.root / "tmp" / "half").write_bytes(b"half")

    assert sweep(lake, WEEK).files == 0


def test_a_part_whose_manifest_is_swept_is_never_named_by_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for ordinal in (1, 2, 3):
        land(lake, ordinal)
    age(lake)
    sweep(lake, WEEK)

    for landing in lake.landings():
        assert all(Path(lake.uri(part.path)).exists() for part in landing.all_parts)
    assert replace(next(lake.landings()), rows=1).ordinal == 3


def test_copies_of_drops_go_once_they_are_proven_and_the_others_are_told(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for name in ("loaded", "unknown", "young"):
        (lake.root / "input" / name).write_bytes(name.encode())
    age(lake)
    (lake.root / "input" / "young").write_bytes(b"young")
    asked: list[list[str]] = []

    def proven(batch_ids: Sequence[str]) -> list[str]:
        asked.append(list(batch_ids))
        return ["loaded"]

    swept = sweep(lake, WEEK, proven)

    assert asked == [["loaded", "unknown"]]
    assert (swept.files, swept.bytes, swept.unknown) == (1, 6, ("unknown",))
    assert sorted(p.name for p in (lake.root / "input").iterdir()) == ["unknown", "young"]


def test_without_proof_no_copy_of_a_drop_goes(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (lake.root / "input" / "some").write_bytes(b"x")
    age(lake)

    assert sweep(lake, WEEK).unknown == ("some",)
    assert (lake.root / "input" / "some").exists()
