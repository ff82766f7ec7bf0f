"""Drops of a real folder: which versions are found, and what is staged of them."""

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from platform_tests.conftest import PlatformHome

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import SourceUnreachable, Superseded, UnreadableFile
from malacate.formats import FileFormat
from malacate.ingest import Report, Route
from malacate.names import TableName
from malacate.sources.discovery import Discovery
from malacate.sources.files import FileDrops, all_files, stage
from malacate.sources.selection import Selection
from malacate.stores.folder import FolderStore

TABLE = Table(
    TableName("raw_lab", "rock"),
    (Column("id", pa.int64(), True), Column("name", pa.string())),
    ("id",),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "drops"
    folder.mkdir()
    return folder


def put(root: Path, name: str, *rows: int) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id,name\n" + "".join(f"{i},n{i}\n" for i in rows))
    return path


def load(home: PlatformHome, root: Path, settle: float = 0.0) -> Report:
    drops = FileDrops(
        TABLE, all_files(TABLE, FolderStore(root), settle_seconds=settle), FileFormat(name="csv")
    )
    report = home.ingest.run(Route(TABLE, drops, WriteMode.APPEND))
    home.ledger.mark_reported([str(batch["batch_id"]) for batch in report.batches])
    return report


def ids(home: PlatformHome) -> list[int]:
    return sorted(home.warehouse.read(TABLE.name).column("id").to_pylist())


def test_every_file_is_loaded_once(platform_home: PlatformHome, root: Path) -> None:
    put(root, "a.csv", 1, 2)
    put(root, "2026/b.csv", 3)
    assert load(platform_home, root).total("rows_loaded") == 3
    assert load(platform_home, root).batches == []
    assert ids(platform_home) == [1, 2, 3]


@pytest.mark.parametrize(
    "pair",
    [
        ("\u00e9.csv", "e\u0301.csv"),
        ("a.csv", "A.csv"),
        ("a%0Ab.csv", "a\nb.csv"),
        ("a.csv", "a .csv"),
    ],
)
def test_names_that_are_nearly_one_stay_two(
    platform_home: PlatformHome, root: Path, pair: tuple[str, str]
) -> None:
    for number, name in enumerate(pair):
        put(root, name, number)
    load(platform_home, root)
    assert ids(platform_home) == [0, 1]


def test_a_file_that_is_written_again_replaces_its_rows(
    platform_home: PlatformHome, root: Path
) -> None:
    put(root, "a.csv", 1, 2)
    load(platform_home, root)
    put(root, "a.csv", 2, 3, 4)
    load(platform_home, root)
    assert ids(platform_home) == [2, 3, 4]


def test_a_file_that_disappears_keeps_its_rows(platform_home: PlatformHome, root: Path) -> None:
    put(root, "a.csv", 1)
    load(platform_home, root)
    (root / "a.csv").unlink()
    load(platform_home, root)
    assert ids(platform_home) == [1]


def test_a_file_that_is_still_being_written_waits(platform_home: PlatformHome, root: Path) -> None:
    put(root, "fresh.csv", 1)
    old = put(root, "still.csv", 2)
    os.utime(old, (time.time() - 100,) * 2)
    load(platform_home, root, settle=60)
    assert ids(platform_home) == [2]


def test_an_event_for_a_file_that_is_gone_is_vanished_and_told(
    platform_home: PlatformHome, root: Path
) -> None:
    path = put(root, "a.csv", 1)
    put(root, "b.csv", 2)
    platform_home.ledger.note(all_files(TABLE, FolderStore(root)).everything())
    path.unlink()
    report = load(platform_home, root)
    assert [batch["object"] for batch in report.of("vanished")] == ["a.csv"]
    assert ids(platform_home) == [2]


def test_a_version_that_was_overwritten_while_it_waited_gives_way(
    platform_home: PlatformHome, root: Path
) -> None:
    put(root, "a.csv", 1)
    (old,) = all_files(TABLE, FolderStore(root)).everything()
    put(root, "a.csv", 1, 2)
    with pytest.raises(Superseded):
        stage(FolderStore(root), old, platform_home.lake)
    platform_home.ledger.note([old])
    load(platform_home, root)
    assert ids(platform_home) == [1, 2]


def test_a_staged_copy_serves_when_the_drop_is_gone(
    platform_home: PlatformHome, root: Path
) -> None:
    path = put(root, "a.csv", 1)
    (found,) = all_files(TABLE, FolderStore(root)).everything()
    first = stage(FolderStore(root), found, platform_home.lake)
    path.unlink()
    assert stage(FolderStore(root), found, platform_home.lake) == first


def test_a_copy_of_another_length_is_refused(platform_home: PlatformHome, root: Path) -> None:
    put(root, "a.csv", 1)
    (found,) = all_files(TABLE, FolderStore(root)).everything()
    staged = stage(FolderStore(root), found, platform_home.lake)
    staged.path.write_bytes(b"short")
    with pytest.raises(UnreadableFile) as caught:
        stage(FolderStore(root), found, platform_home.lake)
    assert caught.value.reason == "short_copy"


def test_one_file_that_cannot_be_opened_holds_up_no_other(
    platform_home: PlatformHome, root: Path, tmp_path: Path
) -> None:
    put(root, "a.csv", 1)
    put(root, "b.csv", 2)
    platform_home.ledger.note(all_files(TABLE, FolderStore(root)).everything())
    (root / "a.csv").unlink()
    (root / "a.csv").symlink_to(put(tmp_path, "secret.csv", 9))
    with pytest.raises(SourceUnreachable) as caught:
        load(platform_home, root)
    assert caught.value.object.endswith("a.csv")
    assert ids(platform_home) == [2]


def test_04_a_file_with_fewer_rows_than_its_manifest_says_goes_to_quarantine_whole(
    platform_home: PlatformHome, root: Path
) -> None:
    put(root, "a.csv", 1, 2)
    put(root, "b.csv", 3, 4)
    listed = [{"name": "a.csv", "rows": 2}, {"name": "b.csv", "rows": 3}]
    (root / "week.manifest").write_text(json.dumps({"files": listed}))
    chosen = Selection(FolderStore(root), ("*.csv",), complete="manifest")
    drops = FileDrops(TABLE, Discovery(chosen, TABLE.source, "rock"), FileFormat(name="csv"))
    report = platform_home.ingest.run(Route(TABLE, drops, WriteMode.APPEND))
    (refused,) = report.of("quarantined")
    assert (refused["object"], refused["reason"]) == ("b.csv", "manifest_rows")
    assert "3 rows" in str(refused["error"])
    assert ids(platform_home) == [1, 2]


def test_a_folder_that_is_gone_is_an_error_and_forgets_nothing(
    platform_home: PlatformHome, root: Path
) -> None:
    put(root, "a.csv", 1)
    load(platform_home, root)
    root.rename(root.with_name("unmounted"))
    with pytest.raises(SourceUnreachable):
        load(platform_home, root)
    assert ids(platform_home) == [1]
    with pytest.raises(SourceUnreachable):
        all_files(TABLE, FolderStore(root)).everything()


def test_inputs_are_discarded_once_their_rows_are_in(
    platform_home: PlatformHome, root: Path
) -> None:
    put(root, "a.csv", 1)
    load(platform_home, root)
    for zone in ("input", "tmp"):
        assert list((platform_home.lake.root / zone).iterdir()) == []
