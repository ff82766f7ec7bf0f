"""What stores promise while the network and the service fail, on each that is spoken to by HTTP."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import pytest
from platform_tests.stores.conftest import Servers
from platform_tests.stores.proxy import Fault, Kind, Proxy, Request, proxied
from platform_tests.stores.yards import BUCKET, opened, supplier

from malacate.errors import SourceUnreachable, Superseded, UnreadableFile
from malacate.stores import patience
from malacate.stores.patience import ATTEMPTS
from malacate.stores.protocol import Entry, Store

BOUND_SECONDS = 40.0  # azure's client asks three times again for a body that is cut
DATA = bytes(range(256)) * 40


@dataclass(frozen=True)
class Behind:
    """An empty place behind a proxy; ``put`` and ``plain`` go around it."""

    kind: str
    store: Store
    plain: Store
    proxy: Proxy
    put: Callable[[str, bytes], None]

    @property
    def writes(self) -> int:
        return sum(_is_write(request) for request in self.proxy.seen)


@pytest.fixture(params=["s3", "gcs", "azure"])
def behind(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Behind]:
    kind, prefix = request.param, uuid.uuid4().hex
    server = servers.of(kind)
    put, _ = supplier(kind, server)
    with proxied(server) as proxy:
        store = opened(kind, f"{BUCKET}/{prefix}", proxy.url)
        plain = opened(kind, f"{BUCKET}/{prefix}", server)
        yield Behind(kind, store, plain, proxy, lambda key, data: put(f"{prefix}/{key}", data))


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "FIRST_WAIT_SECONDS", 0.02)
    began = time.monotonic()
    yield
    assert time.monotonic() - began < BOUND_SECONDS


def _is_write(request: Request) -> bool:
    return request.method in ("PUT", "POST")


def _is_read(request: Request) -> bool:
    """A request for bytes; GCS asks for facts by GET too."""
    is_facts = "/storage/v1/b/" in request.path and "/download/" not in request.path
    return request.method == "GET" and not request.is_listing and not is_facts


def _is_listing(request: Request) -> bool:
    return request.is_listing


def _any(request: Request) -> bool:
    return True


def read(store: Store, entry: Entry) -> bytes:
    with store.open(entry.name, entry.version) as drop:
        data = drop.read()
        drop.verify()
    return data


FAULTS: list[tuple[Kind, int]] = [
    ("status", 500), ("status", 503), ("status", 429), ("status", 412), ("slow", 0),
    ("drop_before", 0), ("drop_after", 0), ("truncate", 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "status"), FAULTS)
def test_a_fault_under_the_read_costs_a_retry_and_no_byte(
    behind: Behind, kind: Kind, status: int
) -> None:
    behind.put("a.bin", DATA)
    entry = behind.store.head("a.bin")
    times = 1 if kind == "slow" else 2
    behind.proxy.inject(Fault(kind, _is_read, times, status=status, seconds=0.3))
    assert read(behind.store, entry) == DATA
    assert len(behind.proxy.hit) == times


@pytest.mark.parametrize(("kind", "status"), FAULTS[:3] + FAULTS[4:])
def test_a_fault_under_the_listing_loses_and_doubles_no_name(
    behind: Behind, kind: Kind, status: int
) -> None:
    for name in ("a", "b", "c"):
        behind.put(name, b"x")
    times = 1 if kind == "slow" else 2
    behind.proxy.inject(Fault(kind, _is_listing, times, status=status, seconds=0.3))
    assert [entry.name for entry in behind.store.list()] == ["a", "b", "c"]
    assert len(behind.proxy.hit) == times


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("kind", "status"), FAULTS[:3] + FAULTS[4:7])
def test_create_is_exactly_once_whatever_happens_to_the_answer(
    behind: Behind, kind: Kind, status: int, times: int
) -> None:
    behind.proxy.inject(Fault(kind, _is_write, times=times, status=status, seconds=0.3))
    entry = behind.store.create("a.bin", BytesIO(DATA))
    assert len(behind.proxy.hit) == (1 if kind == "slow" else times)
    assert list(behind.plain.list()) == [entry]
    assert read(behind.plain, entry) == DATA
    with pytest.raises(FileExistsError):
        behind.store.create("a.bin", BytesIO(DATA))


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("times", [1, 99])
def test_a_replacement_without_an_answer_leaves_the_old_or_the_new_whole(
    behind: Behind, kind: Kind, times: int
) -> None:
    behind.put("a.csv", DATA)
    behind.proxy.inject(Fault(kind, _is_write, times))
    if times == 1:
        behind.store.replace("a.csv", BytesIO(DATA[::-1]))
    else:
        with pytest.raises(SourceUnreachable, match="does not answer"):
            behind.store.replace("a.csv", BytesIO(DATA[::-1]))
    stands = DATA if (kind, times) == ("drop_before", 99) else DATA[::-1]
    assert read(behind.plain, behind.plain.head("a.csv")) == stands


def test_a_lost_answer_is_told_from_another_writer_of_the_same_bytes(behind: Behind) -> None:
    behind.put("a.bin", DATA)
    behind.proxy.inject(Fault("drop_after", _is_write, times=1))
    with pytest.raises(FileExistsError):
        behind.store.create("a.bin", BytesIO(DATA))


def test_a_create_whose_every_answer_is_lost_is_seen_to_have_happened(behind: Behind) -> None:
    behind.proxy.inject(Fault("drop_after", _is_write, times=99))
    entry = behind.store.create("a.bin", BytesIO(DATA))
    assert list(behind.plain.list()) == [entry]
    assert behind.writes == ATTEMPTS


def test_a_create_that_never_arrives_is_unreachable_and_writes_nothing(behind: Behind) -> None:
    behind.proxy.inject(Fault("drop_before", _is_write, times=99))
    with pytest.raises(SourceUnreachable, match="does not answer"):
        behind.store.create("a.bin", BytesIO(DATA))
    assert list(behind.plain.list()) == []


def test_of_two_that_create_under_lost_answers_one_wins(behind: Behind) -> None:
    behind.proxy.inject(Fault("drop_after", _is_write, times=3))
    won: list[bytes] = []

    def attempt(data: bytes) -> None:
        try:
            behind.store.create("lock", BytesIO(data))
        except FileExistsError:
            return
        won.append(data)

    threads = [threading.Thread(target=attempt, args=(b"%d" % n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [read(behind.plain, behind.plain.head("lock"))] == won


@pytest.mark.parametrize("kind", ["status", "drop_before", "drop_after"])
def test_a_service_that_stays_away_is_unreachable_in_bounded_time(
    behind: Behind, kind: Kind
) -> None:
    behind.put("a.bin", DATA)
    entry = behind.store.head("a.bin")
    behind.proxy.inject(Fault(kind, _any, times=999))
    for act in (lambda: list(behind.store.list()), lambda: read(behind.store, entry)):
        with pytest.raises(SourceUnreachable, match="does not answer") as caught:
            act()
        assert BUCKET in caught.value.object
    assert len(behind.proxy.seen) <= 2 * ATTEMPTS + 1


def test_a_body_that_is_always_cut_is_never_taken_for_whole(behind: Behind) -> None:
    behind.put("a.bin", DATA)
    entry = behind.store.head("a.bin")
    behind.proxy.inject(Fault("truncate", _is_read, times=99))
    with pytest.raises((SourceUnreachable, UnreadableFile)):
        read(behind.store, entry)


def test_what_a_service_asks_to_wait_is_waited(behind: Behind) -> None:
    behind.put("a", b"x")
    behind.proxy.inject(Fault("status", _is_listing, status=429, headers={"Retry-After": "2"}))
    began = time.monotonic()
    assert len(list(behind.store.list())) == 1
    assert time.monotonic() - began >= 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_not_repeated_and_says_what_to_do(behind: Behind, status: int) -> None:
    behind.proxy.inject(Fault("status", _any, times=99, status=status))
    with pytest.raises(SourceUnreachable, match="credentials") as caught:
        list(behind.store.list())
    assert BUCKET in caught.value.object
    assert len(behind.proxy.seen) == 1


def test_a_stale_listing_hides_for_a_while_and_gives_no_wrong_bytes(behind: Behind) -> None:
    behind.put("a", b"old")
    (old,) = behind.store.list()
    behind.put("a", b"newer")
    behind.put("b", b"x")
    behind.proxy.inject(Fault("stale", _is_listing, times=2))
    for _ in range(2):
        assert list(behind.store.list()) == [old]
        with pytest.raises(Superseded):
            read(behind.store, old)
    assert {e.name: read(behind.store, e) for e in behind.store.list()} == {
        "a": b"newer",
        "b": b"x",
    }


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "status"])
def test_a_removal_is_repeated_and_removes_no_newer_version(behind: Behind, kind: Kind) -> None:
    behind.put("a", b"old")
    behind.put("kept", b"x")
    old = behind.store.head("a")
    behind.proxy.inject(Fault(kind, lambda request: request.method == "DELETE"))
    behind.store.remove("a", old.version)
    assert [entry.name for entry in behind.plain.list()] == ["kept"]
    behind.put("a", b"newer")
    assert not behind.store.remove("a", old.version)
    assert read(behind.plain, behind.plain.head("a")) == b"newer"
