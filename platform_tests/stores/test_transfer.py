"""Copies from one kind of place to another: exact, once, proven, whatever stands in the way."""

import json
import random
from pathlib import Path
from typing import BinaryIO

import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.stores import MemoryStore
from platform_tests.stores.conftest import Servers
from platform_tests.stores.yards import Yard, yard

from malacate.errors import MalacateError, SourceUnreachable
from malacate.sources.discovery import Discovery
from malacate.sources.selection import Selection
from malacate.stores.folder import FolderStore
from malacate.stores.protocol import Entry, Store
from malacate.transfer import MANIFESTS, SOURCE, Occupied, Sent, Transfer

WAYS = [("s3", "gcs"), ("s3", "gcs_lax"), ("folder", "s3"), ("gcs", "azure"), ("azure", "folder")]
NAMES = {"day 1/a.avro": b"one", "day 1/ñ %2F.avro": b"two", "empty.avro": b""}


@pytest.fixture(params=WAYS, ids="-to-".join)
def way(request: pytest.FixtureRequest, servers: Servers, tmp_path: Path) -> tuple[Yard, Yard]:
    """Two empty places of different kinds."""
    made = []
    for kind in request.param:
        folder = tmp_path / kind
        folder.mkdir()
        made.append(yard(kind, servers.of(kind), folder))
    return made[0], made[1]


def transfer(origin: Store, target: Store) -> Transfer:
    return Transfer(Discovery(Selection(origin, ("*.avro",)), SOURCE, "drops"), target)


def send(home: PlatformHome, copies: Transfer, now: float = 0.0) -> Sent:
    while not copies.look(home.ledger, now):
        pass
    sent = copies.run(home.ledger, home.lake)
    home.ledger.mark_reported([row["batch_id"] for row in sent.batches])
    return sent


def read(store: Store, entry: Entry) -> bytes:
    with store.open(entry.name, entry.version) as opened:
        data = opened.read()
        while more := opened.read():
            data += more
        opened.verify()
    return data


def content(store: Store) -> dict[str, bytes]:
    return {e.name: read(store, e) for e in store.list() if not e.name.startswith(MANIFESTS)}


def test_what_stands_at_the_origin_stands_at_the_target(
    platform_home: PlatformHome, way: tuple[Yard, Yard]
) -> None:
    origin, target = way
    for name, data in {**NAMES, "notes.txt": b"no drop"}.items():
        origin.put(name, data)
    sent = send(platform_home, transfer(origin.store, target.store))
    assert len(sent.batches) == len(NAMES)
    assert sent.bytes == 6
    at_origin = content(origin.store)
    at_origin.pop("notes.txt")
    assert content(target.store) == at_origin
    assert send(platform_home, transfer(origin.store, target.store)).batches == []


def test_a_large_object_comes_in_pieces_and_whole(
    platform_home: PlatformHome, way: tuple[Yard, Yard]
) -> None:
    origin, target = way
    data = random.Random(7).randbytes(20 << 20)
    origin.put("large.avro", data)
    send(platform_home, transfer(origin.store, target.store))
    assert content(target.store) == {"large.avro": data}


def test_an_object_that_is_written_again_takes_its_copys_place(
    platform_home: PlatformHome, way: tuple[Yard, Yard]
) -> None:
    origin, target = way
    copies = transfer(origin.store, target.store)
    origin.put("a.avro", b"first")
    send(platform_home, copies)
    origin.put("a.avro", b"second, longer")
    assert len(send(platform_home, copies).batches) == 1
    assert content(target.store) == {"a.avro": b"second, longer"}


def test_the_manifest_says_what_arrived_with_checksums(platform_home: PlatformHome) -> None:
    origin, target = MemoryStore("s3://from"), MemoryStore("gs://to")
    origin.put("a.avro", b"one")
    sent = send(platform_home, transfer(origin, target))
    (manifest,) = list(target.list(MANIFESTS))
    assert sent.manifest == f"gs://to/{manifest.name}"
    told = json.loads(read(target, manifest))
    (file,) = told["files"]
    assert (told["from"], file["name"], file["size"]) == ("s3://from", "a.avro", 3)
    assert file["sha256"].startswith("7692c3ad3540bb80")
    assert file["target_version"] == target.head("a.avro").version


def test_what_somebody_else_put_there_is_not_overwritten_and_holds_up_nothing_else(
    platform_home: PlatformHome,
) -> None:
    origin, target = MemoryStore("s3://from"), MemoryStore("gs://to")
    for name in ("a.avro", "b.avro"):
        origin.put(name, name.encode())
    target.put("a.avro", b"theirs")
    with pytest.raises(Occupied) as caught:
        send(platform_home, transfer(origin, target))
    assert caught.value.object == "gs://to/a.avro"
    assert content(target) == {"a.avro": b"theirs", "b.avro": b"b.avro"}


def test_a_copy_that_stands_already_is_taken_for_one_after_the_ledger_was_lost(
    platform_home: PlatformHome, tmp_path: Path
) -> None:
    origin, target = MemoryStore("s3://from"), MemoryStore("gs://to")
    origin.put("a.avro", b"one")
    send(platform_home, transfer(origin, target))
    before = target.head("a.avro")
    fresh = PlatformHome.at(tmp_path / "fresh")
    assert len(send(fresh, transfer(origin, target)).batches) == 1
    assert target.head("a.avro") == before


class Corrupting(MemoryStore):
    """Keeps something else than it was given, the first time."""

    is_broken = True

    def put(self, name: str, data: bytes = b"x", at: float | None = None) -> Entry:
        broken, self.is_broken = self.is_broken, False
        return super().put(name, data[::-1] if broken else data, at)


def test_a_copy_that_is_not_what_was_sent_is_seen_and_sent_again(
    platform_home: PlatformHome,
) -> None:
    origin, target = MemoryStore("s3://from"), Corrupting("gs://to")
    origin.put("a.avro", b"one")
    copies = transfer(origin, target)
    with pytest.raises(MalacateError) as caught:
        send(platform_home, copies)
    assert caught.value.reason == "wrong_copy"
    send(platform_home, copies)
    assert content(target) == {"a.avro": b"one"}


class RefusingOnce(MemoryStore):
    """Does not answer the first write."""

    is_closed = True

    def create(self, name: str, data: BinaryIO) -> Entry:
        if self.is_closed:
            self.is_closed = False
            raise SourceUnreachable("it does not answer", "Wait.", reason="unreachable")
        return super().create(name, data)


def test_a_version_that_waited_does_not_replace_a_newer_one(platform_home: PlatformHome) -> None:
    origin, target = MemoryStore("s3://from"), RefusingOnce("gs://to")
    copies = transfer(origin, target)
    origin.put("a.avro", b"first")
    with pytest.raises(SourceUnreachable):
        send(platform_home, copies)
    origin.put("a.avro", b"second")
    send(platform_home, copies)
    assert content(target) == {"a.avro": b"second"}
    states = [row["state"] for row in platform_home.ledger.batches(*copies.batches)]
    assert sorted(states) == ["loaded", "superseded"]


def test_an_origin_that_does_not_answer_is_an_error_and_loses_nothing(
    platform_home: PlatformHome,
) -> None:
    origin, target = MemoryStore("s3://from"), MemoryStore("gs://to")
    origin.put("a.avro", b"one")
    origin.is_down = True
    with pytest.raises(SourceUnreachable):
        send(platform_home, transfer(origin, target))
    origin.is_down = False
    send(platform_home, transfer(origin, target))
    assert content(target) == {"a.avro": b"one"}


def test_a_target_that_is_not_there_is_an_error_and_the_object_waits(
    platform_home: PlatformHome, tmp_path: Path
) -> None:
    origin, target = MemoryStore("s3://from"), FolderStore(tmp_path / "later")
    origin.put("a.avro", b"one")
    with pytest.raises(SourceUnreachable):
        send(platform_home, transfer(origin, target))
    (tmp_path / "later").mkdir()
    send(platform_home, transfer(origin, target))
    assert content(target) == {"a.avro": b"one"}


def test_an_object_that_is_gone_before_it_was_read_is_told_as_vanished(
    platform_home: PlatformHome,
) -> None:
    origin, target = MemoryStore("s3://from"), MemoryStore("gs://to")
    origin.put("a.avro", b"one")
    copies = transfer(origin, target)
    copies.look(platform_home.ledger, 0.0)
    origin.delete("a.avro")
    copies.run(platform_home.ledger, platform_home.lake)
    (row,) = platform_home.ledger.batches(*copies.batches)
    assert row["state"] == "vanished"
