"""Which objects are drops: names, time, ``_SUCCESS`` and manifests."""

import hashlib
import json

import pytest
from platform_tests.sources.stores import MemoryStore

from malacate.errors import UnreadableFile
from malacate.sources.completeness import Passed, Promise, promises_of
from malacate.sources.selection import Picked, Selection

NOW = 1_000_000.0


def pick(store: MemoryStore, selection: Selection) -> Picked:
    return selection.pick(store.list(), NOW)


def names(picked: Picked) -> list[str]:
    return [entry.name for entry in picked.drops]


def reasons(picked: Picked) -> dict[str, str]:
    return {passed.name: passed.reason for passed in picked.passed}


def manifest(*files: dict[str, object]) -> bytes:
    return json.dumps({"files": files}).encode()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rock/", "marker"),
        ("rock/_SUCCESS", "marker"),
        ("rock_$folder$", "marker"),
        ("a.csv.crc", "marker"),
        ("a.csv.tmp", "temporary"),
        ("a.csv.part", "temporary"),
        ("a.csv~", "temporary"),
        ("a.csv.filepart", "temporary"),
        (".a.csv.x7f", "temporary"),
        (".staging/a.csv", "temporary"),
        ("_temporary/0/a.csv", "temporary"),
        ("2026/_temporary-1/a.csv", "temporary"),
        ("readme.txt", "pattern"),
    ],
)
def test_what_is_no_drop_is_listed_with_its_reason(name: str, reason: str) -> None:
    store = MemoryStore()
    store.put(name, b"")
    store.put("a.csv")
    selection = Selection(store, ("*.csv",))
    assert names(pick(store, selection)) == ["a.csv"]
    assert list(selection.ignored(NOW)) == [Passed(name, reason)]


@pytest.mark.parametrize("name", ["SUCCESS.csv", "a.tmp.csv", "part/a.csv", "x._temporary/a.csv"])
def test_a_name_that_only_looks_like_a_marker_is_a_drop(name: str) -> None:
    store = MemoryStore()
    store.put(name)
    assert names(pick(store, Selection(store, ("*.csv",)))) == [name]


def test_two_stars_stand_for_any_folders_or_none() -> None:
    store = MemoryStore()
    for name in ("a.csv", "sub/c.csv", "sub/deep/d.csv", "a.txt", "xsub/c.csv"):
        store.put(name)
    chosen = Selection(store, ("**/*.csv",))
    assert len(chosen.pick(store.list(), 0.0).drops) == 4
    chosen = Selection(store, ("sub/**/*.csv",))
    found = [entry.name for entry in chosen.pick(store.list(), 0.0).drops]
    assert found == ["sub/c.csv", "sub/deep/d.csv"]


def test_a_pattern_crosses_folders_and_several_share_what_they_begin_with() -> None:
    store = MemoryStore()
    selection = Selection(store, ("lab/rock/*.csv", "lab/roads/*.csv"))
    assert selection.prefix == "lab/ro"
    assert selection.passed_over("lab/rock/2026/11/a.csv") is None
    assert Selection(store, ("lab/[ab]?.csv",)).prefix == "lab/"
    assert Selection(store, ("*.csv", "lab/a.csv")).prefix == ""


def test_a_file_counts_once_it_has_been_still() -> None:
    store = MemoryStore()
    store.put("old.csv", at=NOW - 60)
    store.put("new.csv", at=NOW - 59)
    store.put("ahead.csv", at=NOW + 3600)
    picked = pick(store, Selection(store, settle_seconds=60))
    assert names(picked) == ["old.csv"]
    assert reasons(picked) == {"new.csv": "unsettled", "ahead.csv": "unsettled"}


def test_files_of_a_folder_wait_for_its_success() -> None:
    store = MemoryStore()
    for name in ("done/a.csv", "done/_SUCCESS", "open/b.csv", "done/sub/c.csv", "root.csv"):
        store.put(name)
    picked = pick(store, Selection(store, ("*.csv",), complete="success"))
    assert names(picked) == ["done/a.csv"]
    assert reasons(picked)["open/b.csv"] == "unfinished"
    store.put("open/_SUCCESS")
    assert "open/b.csv" in names(pick(store, Selection(store, ("*.csv",), complete="success")))


def test_a_success_that_this_listing_does_not_hold_is_asked_for_once_a_folder() -> None:
    store = MemoryStore()
    entries = [store.put(f"day/{i}.csv") for i in range(50)]
    store.put("day/_SUCCESS")
    picked = Selection(store, ("*.csv",), complete="success").pick(entries, NOW)
    assert len(picked.drops) == 50
    assert store.asked["head"] == 1


def test_files_count_once_all_that_a_manifest_lists_stand_in_full() -> None:
    store = MemoryStore()
    selection = Selection(store, ("*.csv",), complete="manifest")
    store.put("d/a.csv", b"12345")
    store.put("d/stray.csv", b"1")
    listed = {"name": "a.csv", "size": 5}, {"name": "sub/b.csv", "size": 3}
    store.put("d/manifest.json", manifest(*listed))
    picked = pick(store, selection)
    assert names(picked) == []
    assert Passed("d/sub/b.csv", "missing", "d/manifest.json lists it") in picked.passed
    store.put("d/sub/b.csv", b"12")
    picked = pick(store, selection)
    assert names(picked) == []
    assert reasons(picked)["d/sub/b.csv"] in ("short", "unfinished")
    assert "short" in [passed.reason for passed in picked.passed]
    store.put("d/sub/b.csv", b"123")
    picked = pick(store, selection)
    assert names(picked) == ["d/a.csv", "d/sub/b.csv"]
    assert reasons(picked) == {"d/manifest.json": "marker", "d/stray.csv": "unfinished"}


def test_files_that_the_listing_does_not_hold_are_asked_for() -> None:
    store = MemoryStore()
    store.put("a.csv", b"12345")
    entry = store.put("x.manifest", manifest({"name": "a.csv"}))
    selection = Selection(store, ("*.csv",), complete="manifest")
    assert names(selection.pick([entry], NOW)) == ["a.csv"]
    selection.pick([entry], NOW)
    assert store.asked["open"] == 1, "a manifest is read once a version"


def test_a_manifest_of_unload_is_understood() -> None:
    store = MemoryStore("s3://drops/lab")
    meta = {"content_length": 4, "record_count": 2}
    entry = {"url": "s3://drops/lab/rock/0000_part_00", "mandatory": True, "meta": meta}
    store.put("rock/0000_part_00", b"1\n2\n")
    store.put("rock/manifest", json.dumps({"entries": [entry]}).encode())
    picked = pick(store, Selection(store, ("rock/*part*",), complete="manifest"))
    assert names(picked) == ["rock/0000_part_00"]
    assert picked.promises["rock/0000_part_00"] == Promise("rock/0000_part_00", 4, 2)


def test_a_manifest_whose_files_were_all_taken_away_is_no_alarm() -> None:
    store = MemoryStore()
    store.put("x.manifest", manifest({"name": "a.csv"}, {"name": "b.csv"}))
    picked = pick(store, Selection(store, ("*.csv",), complete="manifest"))
    assert reasons(picked) == {"x.manifest": "emptied"}


def test_a_file_in_two_manifests_counts_with_the_one_that_holds() -> None:
    store = MemoryStore()
    store.put("a.csv")
    store.put("1.manifest", manifest({"name": "a.csv"}))
    store.put("2.manifest", manifest({"name": "a.csv"}, {"name": "late.csv"}))
    picked = pick(store, Selection(store, ("*.csv",), complete="manifest"))
    assert names(picked) == ["a.csv"]
    assert [p.name for p in picked.passed if p.reason == "missing"] == ["late.csv"]


@pytest.mark.parametrize(
    "text",
    [
        b"", b"[]", b"{", b"null", b'"files"', b"\xff\xfe", b"[" * 100_000, b"{}",
        b'{"files": 1}', b'{"files": ["a.csv"]}', b'{"files": [{"size": 1}]}',
        b'{"files": [{"name": "../a.csv"}]}', b'{"files": [{"name": "/etc/passwd"}]}',
        b'{"files": [{"name": ""}]}', b'{"files": [{"name": "a\\u0000b"}]}',
        b'{"files": [{"name": "\\ud800"}]}', b'{"files": [{"name": "a", "size": -1}]}',
        b'{"files": [{"name": "a", "size": "1"}]}', b'{"files": [{"name": "a", "rows": true}]}',
        b'{"entries": [{"url": "s3://other/a.csv"}]}', b'{"entries": [{"url": "s3://drops"}]}',
        b'{"entries": [{"url": "s3://drops/a", "meta": 5}]}',
        b'{"files": [{"name": "a", "size": 1' + b"0" * 5000 + b"}]}",
    ],
)  # fmt: skip
def test_a_manifest_that_cannot_be_read_holds_nothing_and_is_told(text: bytes) -> None:
    store = MemoryStore()
    store.put("a.csv")
    store.put("x.manifest", text)
    picked = pick(store, Selection(store, ("*.csv",), complete="manifest"))
    assert names(picked) == []
    assert reasons(picked)["x.manifest"] == "manifest_unreadable"


def test_odd_names_in_a_manifest_are_told_as_stores_tell_them() -> None:
    files = [{"name": "50%.csv"}, {"name": "a\nb.csv"}, {"name": "ñ.csv"}]
    promises = promises_of(manifest(*files), "d/x.manifest", "s3://drops")
    assert [p.name for p in promises] == ["d/50%25.csv", "d/a%0Ab.csv", "d/ñ.csv"]


def test_what_a_manifest_promises_is_held_against_the_file() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    listed = manifest({"name": "a.csv", "rows": 3, "sha256": digest.upper()})
    [promise] = promises_of(listed, "x.manifest", "s3://drops")
    kept = Promise.from_json(promise.to_json())
    kept.hold(rows=3, sha256=digest)
    kept.hold()
    with pytest.raises(UnreadableFile) as short:
        kept.hold(rows=2)
    assert (short.value.reason, short.value.actual) == ("manifest_rows", "2")
    with pytest.raises(UnreadableFile) as other:
        kept.hold(sha256="0" * 64)
    assert other.value.reason == "manifest_sha256"
