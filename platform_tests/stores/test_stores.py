"""What every store promises, on each kind of store with its real client."""

import hashlib
import threading
import time
from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from platform_tests.stores.yards import Yard

from malacate.errors import SourceUnreachable, Superseded, UnreadableFile
from malacate.stores.names import raw, readable
from malacate.stores.protocol import Entry, Store
from malacate.stores.reading import PIECE_BYTES

ODD = [
    "with space.csv",
    "tab\t.csv",
    "quote\"and'quote.csv",
    "%2F.csv",
    "%252F.csv",
    "rock 🪨.csv",
    "\u00e9.csv",
    "e\u0301.csv",
    "\u202etxt.csv",
    "x+y=z&q?r#s;t.csv",
    "~*[x]{y}|^`<>:@!$(),.csv",
    "case.csv",
    "CASE.csv",
    "x..csv",
    "...",
    "deep/" * 20 + "er.csv",
    "\uffee then \U0001f600.csv",
    "\U0001f600 then \uffee.csv",
]
BUCKET_ONLY = [
    "back\\slash.csv",
    "../../x",
    "a/../b",
    "./dot",
    "a//b",
    "/lead",
    "folder/",
    "folder",
    "folder/x",
]
REFUSED_BY = {"azure": {"back\\slash.csv", "../../x", "a/../b", "./dot"}}
"""Names that the service cannot be asked for: refused by name."""


def read(store: Store, entry: Entry) -> bytes:
    with store.open(entry.name, entry.version) as opened:
        data = opened.read()
        opened.verify()
    return data


def names(store: Store, prefix: str = "", after: str = "") -> list[str]:
    return [entry.name for entry in store.list(prefix, after)]


def test_what_was_put_is_listed_and_read_back(place: Yard) -> None:
    place.put("day/rock.csv", b"1;2")
    (entry,) = place.store.list()
    assert (entry.name, entry.size, read(place.store, entry)) == ("day/rock.csv", 3, b"1;2")
    assert abs(time.time() - entry.modified_ns / 1e9) < 60
    assert place.store.head("day/rock.csv") == entry


def test_an_empty_object_is_listed_and_read(place: Yard) -> None:
    place.put("empty.csv", b"")
    (entry,) = place.store.list()
    assert (entry.size, read(place.store, entry)) == (0, b"")


def test_odd_names_are_exact(place: Yard) -> None:
    for name in ODD:
        place.put(name, name.encode())
    entries = list(place.store.list())
    assert sorted(raw(entry.name).decode() for entry in entries) == sorted(ODD)
    for entry in entries:
        assert entry.name.isprintable()
        assert read(place.store, entry) == raw(entry.name)
        assert place.store.remove(entry.name, entry.version)
    assert names(place.store) == []


def test_names_that_only_buckets_have_are_exact_or_refused_by_name(place: Yard) -> None:
    if place.kind == "folder":
        for name in ("../../x", "a/../b", "./dot", "a//b", "/lead", "folder/"):
            with pytest.raises(SourceUnreachable, match="below the folder"):
                place.store.create(name, BytesIO(b"x"))
        return
    refused = REFUSED_BY.get(place.kind, set())
    wanted = [name for name in BUCKET_ONLY if name not in refused]
    for name in wanted:
        place.put(name, name.encode())
    assert {e.name: read(place.store, e) for e in place.store.list()} == {
        name: name.encode() for name in wanted
    }
    for name in refused:
        with pytest.raises(SourceUnreachable, match="another name"):
            place.store.head(name)


def test_the_longest_name_is_exact(place: Yard) -> None:
    room = {"folder": 255, "azure": 250}.get(place.kind, 1024 - 33)
    place.put("é" * (room // 2), b"x")
    (entry,) = place.store.list()
    assert entry.name == "é" * (room // 2)
    assert read(place.store, entry) == b"x"


def test_a_listing_is_in_the_order_of_the_bytes_and_goes_on_after_any_name(place: Yard) -> None:
    keys = ["a-b", "a.csv", "a/b/c", "a/bx", "a0", "b", "é", "\uffee", "\U0001f600"]
    for key in reversed(keys):
        place.put(key, b"")
    order = "utf-16-be" if place.kind == "azure" else "utf-8"
    listed = sorted(keys, key=lambda key: key.encode(order))
    assert names(place.store) == listed
    for at, name in enumerate(listed):
        assert names(place.store, after=name) == listed[at + 1 :]
    assert names(place.store, after="a/") == listed[listed.index("a/b/c") :]
    assert names(place.store, after="a/b") == listed[listed.index("a/b/c") :]


@pytest.mark.parametrize("prefix", ["d", "day=1", "day=1/", "day=1/r", "day=10/", "x", "day=1/rx"])
def test_a_prefix_is_one_of_characters_not_of_folders(place: Yard, prefix: str) -> None:
    keys = ["day=1/rock.csv", "day=1/roll.csv", "day=10/rock.csv", "day=2/rock.csv", "dust"]
    for key in keys:
        place.put(key, b"")
    assert names(place.store, prefix) == [key for key in keys if key.startswith(prefix)]
    assert names(place.store, prefix, after="day=1/rock.csv") == [
        key for key in keys if key.startswith(prefix) and key > "day=1/rock.csv"
    ]


def test_more_than_a_page_is_listed_once_each(place: Yard) -> None:
    keys = [f"{number:04}.csv" for number in range(1203)]
    for key in keys:
        place.put(key, b"")
    assert names(place.store) == keys
    assert names(place.store, after="1100.csv") == keys[1101:]
    assert names(place.store, prefix="10") == keys[1000:1100]


def test_every_write_is_a_version_of_its_own(place: Yard) -> None:
    seen = []
    for data in (b"1", b"22", b"3"):
        place.put("a.csv", data)
        seen.append(place.store.head("a.csv"))
    assert len({entry.version for entry in seen}) == 3
    assert [entry.ordinal for entry in seen] == sorted(entry.ordinal for entry in seen)
    assert list(place.store.list()) == seen[-1:]


def test_the_same_bytes_written_later_are_another_version(place: Yard) -> None:
    place.put("a.csv", b"1")
    old = place.store.head("a.csv")
    time.sleep(1.1)
    place.put("a.csv", b"1")
    assert place.store.head("a.csv").version != old.version
    with pytest.raises(Superseded), place.store.open("a.csv", old.version):
        pass


def test_a_version_that_was_overwritten_is_not_read(place: Yard) -> None:
    place.put("a.csv", b"old")
    old = place.store.head("a.csv")
    place.put("a.csv", b"new")
    with pytest.raises(Superseded) as caught, place.store.open("a.csv", old.version):
        pass
    assert (caught.value.object, caught.value.expected) == ("a.csv", old.version)


def test_an_overwrite_under_the_read_never_gives_mixed_bytes(place: Yard) -> None:
    size = PIECE_BYTES + 5
    place.put("a.csv", b"o" * size)
    old = place.store.head("a.csv")

    def read_slowly() -> bytes:
        with place.store.open("a.csv", old.version) as opened:
            data = opened.read(10)
            place.put("a.csv", b"n" * size)
            while block := opened.read(1 << 20):
                data += block
            opened.verify()
        return data

    if place.kind == "folder":
        assert read_slowly() == b"o" * size
    else:
        with pytest.raises(UnreadableFile if place.kind == "gcs_lax" else Superseded):
            read_slowly()


def test_what_is_gone_is_told_apart(place: Yard) -> None:
    place.put("a.csv", b"x")
    entry = place.store.head("a.csv")
    place.delete("a.csv")
    with pytest.raises(FileNotFoundError):
        place.store.head("a.csv")
    with pytest.raises(FileNotFoundError), place.store.open("a.csv", entry.version):
        pass
    with pytest.raises(FileNotFoundError):
        place.store.head("no/such/folder.csv")
    assert not place.store.remove("a.csv", entry.version)


def test_a_place_that_is_missing_is_unreachable_never_empty(place: Yard) -> None:
    with pytest.raises(SourceUnreachable) as caught:
        list(place.missing.list())
    assert "nowhere" in caught.value.object
    assert "reate" in caught.value.advice
    if place.kind != "folder":
        with pytest.raises(SourceUnreachable):
            place.missing.head("a.csv")
    with pytest.raises(SourceUnreachable):
        place.missing.create("a.csv", BytesIO(b"x"))


def test_a_read_in_pieces_gives_the_same_bytes(place: Yard) -> None:
    data = hashlib.sha256(b"seed").digest() * (PIECE_BYTES // 16) + b"end"
    place.put("large.bin", data)
    (entry,) = place.store.list()
    assert read(place.store, entry) == data
    with place.store.open(entry.name, entry.version) as opened:
        blocks = [opened.read(3_000_001)]
        while blocks[-1]:
            blocks.append(opened.read(3_000_001))
        opened.verify()
    assert b"".join(blocks) == data
    assert {len(block) for block in blocks} <= {*range(1, 3_000_002), 0}


def test_a_read_that_stopped_early_does_not_verify(place: Yard) -> None:
    place.put("a.csv", b"123")
    entry = place.store.head("a.csv")
    with place.store.open("a.csv", entry.version) as opened:
        opened.read(2)
        with pytest.raises(UnreadableFile, match="3 bytes"):
            opened.verify()


def test_create_writes_once_and_tells_what_stands(place: Yard) -> None:
    entry = place.store.create("day/a.csv", BytesIO(b"first"))
    with pytest.raises(FileExistsError):
        place.store.create("day/a.csv", BytesIO(b"second"))
    with pytest.raises(FileExistsError):
        place.store.create("day/a.csv", BytesIO(b"first"))
    assert place.store.head("day/a.csv") == entry
    assert read(place.store, entry) == b"first"
    assert names(place.store) == ["day/a.csv"]


def test_of_many_that_create_at_once_one_wins(place: Yard) -> None:
    won: list[bytes] = []

    def attempt(data: bytes) -> None:
        try:
            place.store.create("lock", BytesIO(data))
        except FileExistsError:
            return
        won.append(data)

    threads = [threading.Thread(target=attempt, args=(b"%d" % n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [read(place.store, place.store.head("lock"))] == won


def test_a_replacement_is_whole_and_a_version_of_its_own(place: Yard) -> None:
    for data in (b"first", b"", b"third, and longer"):
        place.store.replace("day/a.csv", BytesIO(data))
        assert read(place.store, place.store.head("day/a.csv")) == data
    place.put("day/a.csv", b"a supplier's")
    old = place.store.head("day/a.csv")
    place.store.replace("day/a.csv", BytesIO(b"ours"))
    with pytest.raises(Superseded), place.store.open("day/a.csv", old.version):
        pass
    assert names(place.store) == ["day/a.csv"]
    with pytest.raises(SourceUnreachable):
        place.missing.replace("a.csv", BytesIO(b"x"))


def test_only_the_version_that_is_meant_is_removed(place: Yard) -> None:
    place.put("a.csv", b"old")
    old = place.store.head("a.csv")
    place.put("a.csv", b"new")
    assert not place.store.remove("a.csv", old.version)
    new = place.store.head("a.csv")
    assert read(place.store, new) == b"new"
    assert place.store.remove("a.csv", new.version)
    assert names(place.store) == []


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=200))
def test_names_turn_into_text_and_back(name: bytes) -> None:
    assert raw(readable(name)) == name
    assert readable(name).isprintable()


@given(st.sets(st.binary(max_size=12), min_size=2))
def test_no_two_names_have_the_same_text(given_names: set[bytes]) -> None:
    assert len({readable(name) for name in given_names}) == len(given_names)
