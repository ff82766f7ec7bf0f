"""What a lake in a bucket promises under crashes, races, and a network that loses answers."""

import io
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from platform_tests.lake.yards import (
    BATCH,
    Yard,
    lake_yard,
    landing,
    rows,
    seconds_since_now,
)
from platform_tests.stores.conftest import Servers
from platform_tests.stores.proxy import Fault, Kind, Proxy, Request, proxied
from platform_tests.stores.yards import BUCKET, opened, supplier

from malacate.errors import LakeError
from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.lake.sweep import sweep
from malacate.orchestration.target import Target
from malacate.stores import patience
from malacate.stores.gcs import GCSBucket

DROP = bytes(range(256)) * 40


@dataclass(frozen=True)
class Behind:
    """A lake in a bucket behind a proxy; ``plain`` goes around it, from another machine."""

    lake: Lake
    plain: Lake
    proxy: Proxy


@pytest.fixture
def gcs(servers: Servers, tmp_path: Path) -> Yard:
    return lake_yard("gcs", servers.of("gcs"), tmp_path / "lake")


@pytest.fixture(params=["s3", "gcs"])
def behind(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> Iterator[Behind]:
    kind, server, where = request.param, servers.of(request.param), f"{BUCKET}/{uuid.uuid4().hex}"
    supplier(kind, server)
    with proxied(server) as proxy:
        lake = Lake(BucketPlace(opened(kind, where, proxy.url), tmp_path / "here"))
        plain = Lake(BucketPlace(opened(kind, where, server), tmp_path / "there"))
        yield Behind(lake, plain, proxy)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.02)


def nothing_changed() -> None:
    pass


def is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def anything(request: Request) -> bool:
    return True


def parts_of(yard: Yard) -> list[str]:
    return [path for path in yard.files if path.endswith(".parquet")]


def test_of_writers_that_race_one_landing_stands_and_the_parts_of_the_others_go(gcs: Yard) -> None:
    writers = [gcs.elsewhere() for _ in range(6)]
    landings = [landing(lake, number) for number, lake in enumerate(writers)]
    start, told = threading.Barrier(len(writers)), []

    def commit(lake: Lake, number: int) -> None:
        start.wait()
        told.append(lake.commit(landings[number]))

    threads = [threading.Thread(target=commit, args=(w, n)) for n, w in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    standing = gcs.lake.landed("raw_lab", "rock", BATCH)
    assert standing in landings
    assert told == [standing] * len(writers)
    assert parts_of(gcs) == [standing.parts[0].path]
    assert gcs.lake.read(standing).column("id").to_pylist() == [landings.index(standing)]
    assert all(list(lake.tmp.iterdir()) == [] for lake in writers)


@pytest.mark.parametrize("times", [1, 99])
def test_a_manifest_whose_answer_is_lost_is_read_back(behind: Behind, times: int) -> None:
    one = landing(behind.lake, 1)
    behind.proxy.inject(Fault("drop_after", is_write, times))
    assert behind.lake.commit(one) == one
    assert behind.plain.landed("raw_lab", "rock", BATCH) == one
    assert behind.plain.read(one).num_rows == 1


@pytest.mark.parametrize("times", [1, 99])
def test_a_lost_answer_never_makes_the_second_landing_the_first(behind: Behind, times: int) -> None:
    first, second = behind.plain.commit(landing(behind.plain, 1)), landing(behind.lake, 2)
    behind.proxy.inject(Fault("drop_after", is_write, times))
    assert behind.lake.commit(second) == first
    assert [one.path for one in behind.plain.files("final") if one.path.endswith(".parquet")] == [
        first.parts[0].path
    ]


def test_a_manifest_that_never_arrives_leaves_a_batch_that_can_be_landed_again(
    behind: Behind,
) -> None:
    one = landing(behind.lake, 1)
    behind.proxy.inject(Fault("drop_before", is_write, 6))
    with pytest.raises(LakeError, match="does not answer"):
        behind.lake.commit(one)
    assert behind.plain.landed("raw_lab", "rock", BATCH) is None
    assert behind.lake.commit(one) == behind.plain.landed("raw_lab", "rock", BATCH) == one


def test_an_unknown_outcome_removes_no_part(behind: Behind) -> None:
    """The manifest may stand: only who reads it may say that its parts are nobody's."""
    one = landing(behind.lake, 1)
    behind.proxy.inject(Fault("drop_after", is_write, 6), Fault("drop_before", anything, 6))
    with pytest.raises(LakeError):
        behind.lake.commit(one)
    assert behind.plain.landed("raw_lab", "rock", BATCH) == one
    assert behind.plain.read(one).num_rows == 1


ACTS: dict[str, Callable[[Lake], object]] = {
    "stage": lambda lake: lake.stage("x", io.BytesIO(DROP), nothing_changed),
    "staged": lambda lake: lake.staged(BATCH),
    "recall": lambda lake: lake.recall(BATCH, None),
    "quarantine": lambda lake: lake.quarantine_file(BATCH),
    "discard": lambda lake: lake.discard_input(BATCH),
    "write": lambda lake: landing(lake, 1),
    "landed": lambda lake: lake.landed("raw_lab", "rock", BATCH),
    "landings": lambda lake: list(lake.landings()),
    "probe": lambda lake: lake.probe(),
}  # fmt: skip


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize(("kind", "status"), [("status", 403), ("drop_before", 0)])
def test_a_lake_that_is_away_is_its_own_error_and_no_verdict_on_a_batch(
    behind: Behind, act: str, kind: Kind, status: int
) -> None:
    behind.plain.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    behind.proxy.inject(Fault(kind, anything, 999, status=status))
    with pytest.raises(LakeError) as caught:
        ACTS[act](behind.lake)
    assert (type(caught.value), caught.value.reason) == (LakeError, "lake_unreachable")
    assert list(behind.lake.tmp.iterdir()) == []
    staged = behind.plain.staged(BATCH)
    assert staged is not None
    assert staged.path.read_bytes() == DROP


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("act", ["stage", "write", "quarantine", "discard"])
def test_a_fault_at_any_request_costs_a_retry_alone(behind: Behind, act: str, kind: Kind) -> None:
    for number in count(1):
        behind.plain.stage(BATCH, io.BytesIO(DROP), nothing_changed)
        met, passed = len(behind.proxy.hit), count(1)
        behind.proxy.inject(Fault(kind, lambda _, n=number, p=passed: next(p) == n))
        ACTS[act](behind.lake)
        there = {"quarantine": f"quarantine/{BATCH}", "discard": ""}.get(act, f"input/{BATCH}")
        assert behind.plain.place(BATCH) == there
        behind.plain.recall(BATCH, len(DROP))
        staged = behind.plain.staged(BATCH)
        assert (staged.path.read_bytes() if staged else b"") == (DROP if there else b"")
        if len(behind.proxy.hit) == met:
            break
    assert number > 2


def test_a_copy_on_this_machine_is_never_believed(gcs: Yard) -> None:
    whole = gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    whole.path.write_bytes(DROP[:100])
    assert gcs.lake.staged(BATCH) == whole
    assert whole.path.read_bytes() == DROP
    whole.path.unlink()
    assert gcs.lake.staged(BATCH) == whole


def test_another_machine_goes_on_from_the_copy_in_the_bucket(gcs: Yard) -> None:
    here = gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    there = gcs.elsewhere().staged(BATCH)
    assert there is not None
    assert there.path != here.path
    assert (there.size, there.sha256) == (here.size, here.sha256) == (len(DROP), here.sha256)
    assert there.path.read_bytes() == DROP


def test_bytes_that_were_damaged_on_their_way_are_no_copy_and_no_bad_drop(
    gcs: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    one = gcs.lake.commit(landing(gcs.lake, 1))
    lake, read = gcs.elsewhere(), GCSBucket.read

    def flipped(self: GCSBucket, *asked: Any) -> bytes:
        data = bytearray(read(self, *asked))
        data[len(data) // 2] ^= 1
        return bytes(data)

    monkeypatch.setattr(GCSBucket, "read", flipped)
    for act in (
        lambda: lake.staged(BATCH),
        lambda: lake.quarantine_file(BATCH),
        lambda: lake.landed("raw_lab", "rock", BATCH),
        lambda: lake.read(one),
    ):
        with pytest.raises(LakeError, match="not as it was written") as caught:
            act()
        assert caught.value.reason == "lake_damaged"
    monkeypatch.undo()
    assert list(lake.tmp.iterdir()) == []
    assert lake.staged(BATCH) is not None


def test_a_body_that_is_always_cut_is_no_copy(behind: Behind) -> None:
    behind.plain.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    behind.proxy.inject(Fault("truncate", lambda r: r.method == "GET", 999))
    with pytest.raises(LakeError):
        behind.lake.staged(BATCH)
    assert list(behind.lake.tmp.iterdir()) == []


def test_nothing_is_left_on_this_machine_once_a_batch_has_ended(gcs: Yard) -> None:
    for end in (gcs.lake.discard_input, gcs.lake.quarantine_file):
        gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
        gcs.lake.commit(landing(gcs.lake, 1))
        assert gcs.drafts == [BATCH]
        end(BATCH)
        assert gcs.drafts == []


def test_what_is_kept_of_a_drop_is_what_was_read_last(gcs: Yard) -> None:
    gcs.put(f"quarantine/{BATCH}", b"short")
    gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    kept = gcs.lake.quarantine_file(BATCH)
    assert gcs.files == [kept]
    assert gcs.bytes_at(kept) == DROP


def test_of_a_move_that_was_done_twice_at_once_the_bytes_stay(
    gcs: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow worker that looks at what is kept already must not take it away for a moment."""
    gcs.lake.stage(BATCH, io.BytesIO(DROP), nothing_changed)
    gcs.put(f"quarantine/{BATCH}", DROP)
    removed: list[str] = []
    monkeypatch.setattr(
        GCSBucket, "remove", lambda self, held: removed.append(held.key.partition("/")[2])
    )
    gcs.lake.quarantine_file(BATCH)
    assert removed == [f"input/{BATCH}"]


def test_a_landing_is_read_from_the_bucket_by_whoever_opens_it(gcs: Yard) -> None:
    with gcs.lake.writing("quarantine/raw_lab/rock/x", "rejects", rows(0).schema) as rejects:
        rejects.write(rows(9))
    one = gcs.lake.commit(landing(gcs.lake, *range(1_000)))
    lake = gcs.elsewhere()
    assert list(lake.landings("raw_lab", "rock")) == [one]
    assert lake.read(one).column("id").to_pylist() == list(range(1_000))
    assert lake.uri(one.parts[0].path) == f"{lake.uri()}/{one.parts[0].path}"
    assert lake.uri().startswith(f"gs://{BUCKET}/")
    assert one.parts[0].bytes == len(gcs.bytes_at(one.parts[0].path))
    assert list(lake.tmp.iterdir()) == []


def test_a_landing_is_brought_to_a_lake_in_a_folder(gcs: Yard, tmp_path: Path) -> None:
    one = gcs.lake.commit(landing(gcs.lake, 1, 2))
    fresh = Lake(tmp_path / "fresh")
    fresh.bring(one, gcs.lake)
    assert fresh.read(one).column("id").to_pylist() == [1, 2]
    assert fresh.landed("raw_lab", "rock", BATCH) is None
    assert (fresh.root / one.parts[0].path).stat().st_size == one.parts[0].bytes


WORKER = """
import io, sys
from pathlib import Path
from platform_tests.lake.yards import BATCH, landing
from malacate.orchestration.target import Target

lake = Target("gcp", sys.argv[1], "", "").open_lake()
lake.stage(BATCH, io.BytesIO(bytes(range(256)) * 40), bool)
lake.commit(landing(lake, 1, 2))
lake.quarantine_file(BATCH)
"""


def killed(url: str, home: Path, server: str, point: str) -> int:
    variables = {
        "MALACATE_CRASH": point,
        "MALACATE_HOME": str(home),
        "STORAGE_EMULATOR_HOST": server,
        "GOOGLE_CLOUD_PROJECT": "mine",
    }
    command = [sys.executable, "-c", WORKER, url]
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join(str(root / part) for part in (".", "platform"))
    environment = {**os.environ, **variables, "PYTHONPATH": path}
    return subprocess.run(command, env=environment, check=False, timeout=120).returncode


@pytest.mark.parametrize(
    "point",
    ["input_torn", "input_before_rename", "input_after_rename", "part_torn",
     "landing_before_manifest", "landed"],
)  # fmt: skip
def test_a_worker_that_is_killed_leaves_what_the_next_needs_and_what_the_sweep_takes(
    point: str, servers: Servers, gcs: Yard, tmp_path: Path
) -> None:
    other = gcs.lake.commit(landing(gcs.lake, 7, batch_id="o" * 64))
    stands = gcs.files
    home, lake = tmp_path / "home", gcs.elsewhere()
    assert killed(gcs.lake.uri(), home, servers.of("gcs"), point) == -signal.SIGKILL

    is_staged = point not in ("input_torn", "input_before_rename")
    assert (lake.staged(BATCH) is not None) == is_staged
    assert (lake.landed("raw_lab", "rock", BATCH) is not None) == (point == "landed")

    one = lake.landed("raw_lab", "rock", BATCH) or lake.commit(landing(lake, 1, 2))
    lake.discard_input(BATCH)
    age = seconds_since_now()
    dead = Lake(BucketPlace(gcs.lake._place._store, home / "gcp" / "tmp"))
    sweep(dead, age())

    assert list(dead.tmp.iterdir()) == []
    place = f"final/raw_lab/rock/{BATCH}"
    assert gcs.files == sorted([*stands, one.parts[0].path, f"{place}/manifest.json"])
    assert lake.read(one).column("id").to_pylist() == [1, 2]
    assert lake.read(other).column("id").to_pylist() == [7]


def test_a_killed_writers_parts_stay_until_they_are_old(
    servers: Servers, gcs: Yard, tmp_path: Path
) -> None:
    killed(gcs.lake.uri(), tmp_path / "home", servers.of("gcs"), "landing_before_manifest")
    (part,) = parts_of(gcs)
    assert gcs.lake.landed("raw_lab", "rock", BATCH) is None
    assert sweep(gcs.lake, 3_600).files == 0
    age = seconds_since_now()
    assert sweep(gcs.lake, age(), lambda ids: ids).files == 2
    assert (part in gcs.files, gcs.files) == (False, [])


def test_the_target_opens_a_lake_by_its_url(
    servers: Servers, gcs: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALACATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", servers.of("gcs"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setenv("WHERE", gcs.lake.uri())
    lake = Target("gcp", "${WHERE}", "", "").open_lake()
    assert lake.probe() == lake.uri() == gcs.lake.uri()
    assert (gcs.files, lake.tmp) == ([], tmp_path / "home" / "gcp" / "tmp")
    with pytest.raises(LakeError, match="no folder"):
        assert lake.root
    folder = Target("local", "${MALACATE_HOME}/lake", "", "").open_lake()
    assert folder.probe() == str(folder.root) == str(tmp_path / "home" / "lake")


def test_a_bucket_that_is_missing_is_told_at_the_first_look(
    servers: Servers, tmp_path: Path
) -> None:
    store = opened("gcs", "nowhere-at-all/lake", servers.of("gcs"))
    with pytest.raises(LakeError) as caught:
        Lake(BucketPlace(store, tmp_path)).probe()
    assert "Create the bucket" in caught.value.advice
