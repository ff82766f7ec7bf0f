import io
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import obstore
import pyarrow as pa
import pytest
from platform_tests.lake.yards import BATCH, SCHEMA, Yard, landing, rows

from malacate.errors import LakeError, Superseded
from malacate.lake.background import Background
from malacate.lake.lake import Lake
from malacate.lake.landing import Landing, Part


def nothing_changed() -> None:
    pass


class Torn(io.BytesIO):
    """A drop whose disk fails after the first block."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            raise OSError("the disk is gone")
        return super().read(10)


def test_a_staged_drop_is_whole_and_has_its_checksum(yard: Yard, lake: Lake) -> None:
    text = b"x" * (3 << 20)
    staged = lake.stage(BATCH, io.BytesIO(text), nothing_changed)
    assert staged.path.read_bytes() == text
    assert lake.staged(BATCH) == staged
    assert yard.files == [f"input/{BATCH}"]


def test_a_drop_whose_reading_fails_is_absent(yard: Yard, lake: Lake) -> None:
    with pytest.raises(OSError, match="disk"):
        lake.stage(BATCH, Torn(b"y" * 100), nothing_changed)
    assert yard.files == []
    assert lake.staged(BATCH) is None


def test_a_drop_that_changed_under_the_copy_is_absent(yard: Yard, lake: Lake) -> None:
    def changed() -> None:
        raise Superseded("changed", "Nothing to do.")

    with pytest.raises(Superseded):
        lake.stage(BATCH, io.BytesIO(b"x"), changed)
    assert yard.files == []


def test_staging_again_replaces_the_copy_whole(lake: Lake) -> None:
    lake.stage(BATCH, io.BytesIO(b"first"), nothing_changed)
    with pytest.raises(OSError, match="disk"):
        lake.stage(BATCH, Torn(b"second, torn"), nothing_changed)
    staged = lake.staged(BATCH)
    assert staged is not None
    assert staged.path.read_bytes() == b"first"


def test_a_file_is_quarantined_once_however_often_it_is_asked(yard: Yard, lake: Lake) -> None:
    lake.stage(BATCH, io.BytesIO(b"bad"), nothing_changed)
    kept = [lake.quarantine_file(BATCH) for _ in range(2)]
    assert kept == [f"quarantine/{BATCH}"] * 2
    assert yard.bytes_at(kept[0]) == b"bad"
    assert yard.files == [kept[0]]


def test_an_input_is_discarded_however_often_it_is_asked(yard: Yard, lake: Lake) -> None:
    lake.stage(BATCH, io.BytesIO(b"x"), nothing_changed)
    lake.discard_input(BATCH)
    lake.discard_input(BATCH)
    assert yard.files == []


def test_a_landing_comes_back_as_it_was_committed(lake: Lake) -> None:
    whole = replace(
        landing(lake, 1, 2),
        quarantine=Part("quarantine/x.parquet", 1, 2),
        keys=Part("final/k.parquet", 3, 4),
        source_rows=2,
        sha256="ab",
        lo="-5",
        hi="7",
        contract_version="2.0.0",
    )
    assert lake.landed("raw_lab", "rock", BATCH) is None
    assert lake.commit(whole) == whole
    assert lake.landed("raw_lab", "rock", BATCH) == whole
    assert lake.read(whole).column("id").to_pylist() == [1, 2]


def test_the_first_manifest_wins_and_the_losers_files_go(yard: Yard, lake: Lake) -> None:
    first, second = landing(lake, 1), landing(lake, 2)
    lake.commit(first)
    assert lake.commit(second) == first
    assert lake.landed("raw_lab", "rock", BATCH) == first
    assert [f for f in yard.files if f.endswith(".parquet")] == [first.parts[0].path]


def test_committing_the_same_landing_twice_keeps_its_files(lake: Lake) -> None:
    one = landing(lake, 1)
    lake.commit(one)
    assert lake.commit(one) == one
    assert lake.read(one).num_rows == 1


def test_landings_are_those_with_a_manifest(lake: Lake) -> None:
    lake.commit(landing(lake, 1, batch_id="1" * 64))
    lake.commit(replace(landing(lake, 2, batch_id="2" * 64), table="core"))
    landing(lake, 3, batch_id="3" * 64)
    assert {one.batch_id[0] for one in lake.landings()} == {"1", "2"}
    assert {one.batch_id[0] for one in lake.landings("raw_lab", "rock")} == {"1"}
    assert list(lake.landings("raw_lab", "roc")) == []


def test_a_manifest_that_cannot_be_read_is_no_missing_one(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (lake.root / "final" / "raw_lab").write_text("somebody's file in the place of a folder")
    with pytest.raises(LakeError, match="disk"):
        lake.landed("raw_lab", "rock", BATCH)


def test_a_write_that_raises_leaves_no_file(yard: Yard, lake: Lake) -> None:
    def fails() -> None:
        with lake.writing("final/s/t/b", "rows", SCHEMA) as part:
            part.write(rows(1, 2))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fails()
    assert yard.files == []


def test_parts_of_one_batch_never_share_a_name(lake: Lake) -> None:
    paths = {landing(lake, 1).parts[0].path for _ in range(20)}
    assert len(paths) == 20
    assert all(re.fullmatch(r"final/raw_lab/rock/b+/rows-[0-9a-f]+\.parquet", p) for p in paths)


def test_a_part_of_no_rows_is_a_readable_file(lake: Lake) -> None:
    empty = landing(lake)
    assert (lake.read(empty).num_rows, lake.read(empty).schema.names) == (0, ["id", "name"])


def test_many_batches_become_few_row_groups_in_order(lake: Lake) -> None:
    with lake.writing("final/s/t/b", "rows", SCHEMA) as part, Background(part) as writer:
        for start in range(0, 300_000, 1_000):
            writer.write(rows(*range(start, start + 1_000)))
    assert part.part.rows == 300_000
    table = lake.read(replace(landing(lake), parts=(part.part,)))
    assert table.column("id").to_pylist() == list(range(300_000))


def test_an_error_of_the_encoding_thread_is_raised_and_leaves_nothing(
    yard: Yard, lake: Lake
) -> None:
    def fails() -> None:
        with lake.writing("final/s/t/b", "rows", SCHEMA) as part, Background(part) as writer:
            wrong = pa.RecordBatch.from_pydict({"other": ["x"] * (1 << 17)})
            for _ in range(20):
                writer.write(wrong)

    with pytest.raises((pa.ArrowInvalid, ValueError, KeyError)):
        fails()
    assert yard.files == []


def test_kept_bytes_come_back_for_another_try(yard: Yard, lake: Lake) -> None:
    lake.stage(BATCH, io.BytesIO(b"bad"), nothing_changed)
    lake.quarantine_file(BATCH)
    assert lake.place(BATCH) == f"quarantine/{BATCH}"
    lake.recall(BATCH, 4)
    assert lake.staged(BATCH) is None, "a copy of another length is no copy"
    for _ in range(2):
        lake.recall(BATCH, 3)
    assert yard.files == [f"input/{BATCH}"]
    lake.discard_input(BATCH)
    assert lake.place(BATCH) == ""


def test_kept_bytes_are_lent_to_another_batch_and_stay(yard: Yard, lake: Lake) -> None:
    other = "c" * 64
    assert not lake.lend(BATCH, other)
    lake.stage(BATCH, io.BytesIO(b"bad"), nothing_changed)
    lake.quarantine_file(BATCH)
    for _ in range(2):
        assert lake.lend(BATCH, other)
    assert yard.files == [f"input/{other}", f"quarantine/{BATCH}"]
    assert yard.bytes_at(f"input/{other}") == b"bad"


def test_a_landing_that_is_withdrawn_leaves_nothing(yard: Yard, lake: Lake) -> None:
    one = lake.commit(landing(lake, 1))
    for _ in range(2):
        lake.withdraw(one)
    assert (lake.landed("raw_lab", "rock", BATCH), yard.files) == (None, [])


def test_who_reads_while_it_is_replaced_sees_one_content_whole(yard: Yard, lake: Lake) -> None:
    path, is_over = "final/ml/hours/manifest.json", Event()
    contents = [bytes([65 + number]) * 5_000 * (number + 1) for number in range(4)]
    lake.replace(path, contents[0])
    seen: list[bytes | None] = []

    def look() -> None:
        other = yard.elsewhere()
        while not is_over.is_set():
            seen.append(other.content(path))

    reader = Thread(target=look)
    reader.start()
    for number in range(60):
        lake.replace(path, contents[number % 4])
        time.sleep(0.02)
    is_over.set()
    reader.join()
    assert len(seen) > 1
    assert set(seen) <= set(contents)
    assert (yard.files, lake.content(path)) == ([path], contents[3])


def test_a_replacement_that_dies_between_its_steps_leaves_the_old_or_the_new_whole(
    yard: Yard, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "final/ml/hours/1.parquet"
    lake.replace(path, b"old")
    for step in count(1):
        with monkeypatch.context() as patch, suppress(Killed):
            dying(patch, step)
            lake.replace(path, b"new")
            break
        assert yard.elsewhere().content(path) in (b"old", b"new")
        beside = [other for other in yard.files if other != path]
        assert all(other.startswith(f"{path}.") for other in beside)
        lake.replace(path, b"old")
    assert yard.elsewhere().content(path) == b"new"
    assert step > 1


class Killed(BaseException):
    """Stands for a kill: nothing runs after it."""


def dying(patch: pytest.MonkeyPatch, step: int) -> None:
    """Whatever changes a folder or asks a service dies at the ``step``-th time."""
    left = count(1)

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*asked: Any, **named: Any) -> Any:
            if next(left) == step:
                raise Killed
            return real(*asked, **named)

        return call

    patch.setattr("obstore.put", dies(obstore.put))
    patch.setattr("os.fsync", dies(os.fsync))
    patch.setattr(Path, "replace", dies(Path.replace))
    patch.setattr("http.client.HTTPConnection.putrequest", dies(HTTPConnection.putrequest))
    patch.setattr("http.client.HTTPConnection.getresponse", dies(HTTPConnection.getresponse))


def test_a_manifest_of_an_earlier_version_is_read(lake: Lake) -> None:
    one = landing(lake, 1)
    text = one.to_json().replace(b' "modified_ns": null,\n', b"")
    assert b"modified_ns" not in text
    assert Landing.from_json(text) == one
