"""The collector: whatever fails or is killed, no message is acknowledged before its file stands."""

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO
from urllib.error import HTTPError
from urllib.request import urlopen

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.faults.points import OF_STREAMS
from platform_tests.streams.broker import Broker, gone

from malacate import crash
from malacate.errors import ConfigError, SourceUnreachable
from malacate.sources.streams import collector as module
from malacate.sources.streams.collector import Collector
from malacate.sources.streams.message import Message, as_file
from malacate.sources.streams.metrics import Metrics, served
from malacate.sources.streams.transport import Address, Bounds, connect
from malacate.stores.folder import FolderStore
from malacate.stores.protocol import Entry


class Killed(BaseException):
    """Stands for a kill: nothing of the collector runs after it."""


class Place(FolderStore):
    """A folder that may fail before it writes, or after."""

    fails: Callable[[str], bool] = staticmethod(lambda _: False)

    def create(self, name: str, data: BinaryIO) -> Entry:
        if self.fails("before"):
            raise gone()
        entry = super().create(name, data)
        if self.fails("after"):
            raise gone()
        return entry

    def written(self) -> Counter[bytes]:
        """How often each ``data`` stands in the files."""
        files = (pq.read_table(path) for path in Path(self.root).rglob("*.parquet"))
        return Counter(data for table in files for data in table.column("data").to_pylist())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITS", (0.0, 0.0))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def numbered(count: int) -> list[Message]:
    return [Message(b'{"n": %d}' % n, "mine/north", str(n)) for n in range(count)]


def run(broker: Broker, place: Place, bounds: Bounds) -> Collector:
    """Until the broker has no more."""
    collector = Collector("mine/vibration", broker.connect(), place, bounds)
    broker.is_drained = collector.end
    collector.run()
    return collector


@settings(max_examples=200)
@given(
    st.integers(0, 30),
    st.integers(1, 7),
    st.integers(1, 60),
    st.lists(st.sampled_from(["", "", "", "fails", "dies"]), max_size=60),
)
def test_whatever_fails_or_dies_a_message_is_acknowledged_once_it_stands_in_a_file(
    count: int, messages: int, size: int, fate: list[str]
) -> None:
    left = iter(fate)

    def fails(_: str) -> bool:
        return next(left, "") == "fails"

    def dies(_: str) -> None:
        if next(left, "") == "dies":
            raise Killed

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(crash, "point", dies)
        patch.setattr(module, "_WAITS", (0.0, 0.0))
        place = Place(folder)
        place.fails = fails  # type: ignore[method-assign]
        sent = numbered(count)

        def stands(number: int) -> None:
            assert sent[number].data in place.written()

        broker = Broker(sent, fails, on_acknowledge=stands)
        while broker.waiting():
            with suppress(Killed, SourceUnreachable):
                run(broker, place, Bounds(messages, size, 0.0))
        assert set(place.written()) == {one.data for one in sent}


@pytest.mark.parametrize("point", sorted(OF_STREAMS))
def test_a_kill_at_a_point_costs_a_second_copy_at_most(
    point: str, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(name: str) -> None:
        if name == point:
            raise Killed

    broker = Broker(numbered(10))
    with monkeypatch.context() as patch:
        patch.setattr(crash, "point", dies)
        with pytest.raises(Killed):
            run(broker, place, Bounds(4, 1 << 20, 9.0))
    run(broker, place, Bounds(5, 1 << 20, 9.0))
    twice = {data for data, times in place.written().items() if times > 1}
    assert len(place.written()) == 10
    assert len(twice) == (4 if point == "collected_file" else 0)


def test_the_same_messages_are_the_same_file(place: Place) -> None:
    pairs = (("k", "v"), ("k", "w"))
    messages = [Message(b"{}", "a/b", "7", 1_700_000_000_000_001, pairs), Message(b"\xff")]
    assert as_file(messages) == as_file(list(messages))
    for _ in range(2):
        run(Broker(messages), place, Bounds())
    assert sum(place.written().values()) == 2
    (entry,) = place.list()
    hour, _, name = entry.name.rpartition("/")
    assert time.strptime(hour, "%Y/%m/%d/%H")
    assert len(name) == 64 + len(".parquet")


def files_of(count: int, place: Place, bounds: Bounds) -> list[int]:
    run(Broker(numbered(count)), place, bounds)
    return sorted(pq.read_metadata(Path(place.root) / e.name).num_rows for e in place.list())


def test_a_file_has_as_many_messages_as_it_may(place: Place) -> None:
    assert files_of(25, place, Bounds(messages=10, seconds=9.0)) == [5, 10, 10]


def test_a_file_ends_with_the_receipt_that_brings_it_beyond_its_bytes(place: Place) -> None:
    module_size = module._AT_ONCE
    assert files_of(2 * module_size + 5, place, Bounds(1 << 20, 10, 9.0)) == [
        5, module_size, module_size,
    ]  # fmt: skip


def test_a_file_is_written_so_long_after_its_first_message(place: Place) -> None:
    broker = Broker(numbered(3))
    collector = Collector("mine/vibration", broker.connect(), place, Bounds(seconds=0.3))
    thread = Thread(target=collector.run)
    thread.start()
    while not (metrics := collector.metrics).files:
        assert metrics.in_flight in (0, 3)
        time.sleep(0.01)
    collector.end()
    thread.join()
    assert broker.acknowledged == [0, 1, 2]
    assert (metrics.messages, metrics.files, metrics.in_flight) == (3, 1, 0)


def test_a_place_that_is_away_is_asked_again_and_nothing_acknowledged_meanwhile(
    place: Place,
) -> None:
    broker, times = Broker(numbered(4)), iter(range(20))

    def fails(step: str) -> bool:
        assert broker.acknowledged == []
        return step == "before" and next(times, None) is not None

    place.fails = fails  # type: ignore[method-assign]
    collector = run_but_end_late(broker, place)
    assert (collector.metrics.failures, collector.metrics.trouble) == (20, "")
    assert broker.acknowledged == [0, 1, 2, 3]


def run_but_end_late(broker: Broker, place: Place) -> Collector:
    """Ended by the second look that finds nothing: the file is written before."""
    collector = Collector("mine/vibration", broker.connect(), place, Bounds(seconds=0.0))
    broker.is_drained = collector.end
    collector.run()
    return collector


def test_ended_while_the_place_is_away_nothing_is_acknowledged(place: Place) -> None:
    broker = Broker(numbered(4))
    place.fails = lambda _: True  # type: ignore[method-assign]
    with pytest.raises(SourceUnreachable):
        run(broker, place, Bounds(seconds=9.0))
    assert broker.acknowledged == []


def test_a_broker_that_is_away_is_asked_again_and_told_of(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    times = iter(range(7))
    broker = Broker(numbered(4), lambda step: step == "receive" and next(times, None) is not None)
    collector = run(broker, place, Bounds(seconds=9.0))
    assert collector.metrics.failures == 7
    assert broker.acknowledged == [0, 1, 2, 3]
    assert "it does not answer" in caplog.text
    assert "answers again" in caplog.text


def test_a_broker_that_is_away_does_not_keep_a_file_from_being_written(place: Place) -> None:
    answers = iter([False])
    broker = Broker(numbered(2), lambda step: step == "receive" and next(answers, True))
    collector = Collector("mine/vibration", broker.connect(), place, Bounds(seconds=0.2))
    thread = Thread(target=collector.run)
    thread.start()
    while not collector.metrics.files:
        time.sleep(0.01)
    collector.end()
    thread.join()
    assert len(place.written()) == 2


def test_metrics_are_a_line_of_json_and_text_for_prometheus() -> None:
    metrics = Metrics("mine/vibration", messages=12, bytes=345, files=2, in_flight=3)
    metrics.trouble = 'it said "no"'
    told = json.loads(metrics.line())
    assert (told["stream"], told["messages"], told["trouble"]) == (
        "mine/vibration", 12, 'it said "no"',
    )  # fmt: skip
    with served(metrics, 0) as url:
        body = urlopen(url).read().decode()
        with pytest.raises(HTTPError):
            urlopen(url.replace("/metrics", "/other"))
    assert 'malacate_stream_messages_total{stream="mine/vibration"} 12\n' in body
    assert 'malacate_stream_in_flight{stream="mine/vibration"} 3\n' in body
    assert "# TYPE malacate_stream_seconds_since_file gauge" in body


ADDRESSES = [
    ("mqtt://h:1/mine/+/v/#", Address("mqtt", "h:1", "mine/+/v/#")),
    ("mqtts://u%40x:p%2F@h/a", Address("mqtts", "h", "a", "u@x", "p/")),
    ("pubsub://mine/vibration", Address("pubsub", "mine", "vibration")),
    ("kafka://a:1,b:2/t", Address("kafka", "a:1,b:2", "t")),
    ("kafka://a,[::1]:65535/t", Address("kafka", "a,[::1]:65535", "t")),
    ("mqtt://me:p@[fe80::1]:1/a/@b", Address("mqtt", "[fe80::1]:1", "a/@b", "me", "p")),
    ("pubsub://example.com:mine/vibration", Address("pubsub", "example.com:mine", "vibration")),
]


@pytest.mark.parametrize(("url", "address"), ADDRESSES)
def test_a_url_names_a_transport(url: str, address: Address) -> None:
    assert Address.of(url) == address


NO_ADDRESSES = [
    "amqp://h/q", "mqtt://h", "mqtt:///t", "h:1/t", "", "mqtt://h/mine/#/v", "mqtt://h/mine/v+",
    *(f"{kind}://h:{port}/t" for kind in ("mqtt", "mqtts", "kafka", "kafkas")
      for port in ("abc", "0", "-1", "65536", "99999", "1.5", "\u0661", " 1", "0x1", "", "1:2")),
    "mqtt://:1883/t", "mqtt://::1/t", "mqtt://[::1/t", "mqtt://[h]:1/t", "mqtt://[::1]x/t",
    "mqtt://a:1,b:2/t", "kafka://a:1,/t", "kafka://a:1,b:x/t", "kafka://:9092/t",
]  # fmt: skip


@pytest.mark.parametrize("url", NO_ADDRESSES)
def test_a_url_that_names_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url, "name", Bounds())
    assert caught.value.object == url


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("mqtt://h/t", ("h", 1883)),
        ("mqtt://h:1/t", ("h", 1)),
        ("mqtt://[::1]/t", ("::1", 1883)),
        ("mqtts://me@[2001:db8::7]:65535/t", ("2001:db8::7", 65535)),
    ],
)
def test_a_server_has_a_host_and_a_port(url: str, place: tuple[str, int]) -> None:
    assert Address.of(url).place(1883) == place


@pytest.mark.parametrize("scheme", ["mqtt", "kafka"])
@given(
    host=st.from_regex(r"[a-z0-9.-]{1,9}|\[[0-9a-f:]{2,9}\]", fullmatch=True),
    port=st.integers(-5, 70_000),
)
def test_a_port_is_one_that_there_is(scheme: str, host: str, port: int) -> None:
    url = f"{scheme}://{host}:{port}/t"
    if 1 <= port <= 65535:
        assert Address.of(url).place(1) == (host.strip("[]"), port)
    else:
        with pytest.raises(ConfigError, match="from 1 to 65535"):
            Address.of(url)


def test_no_password_is_told() -> None:
    assert "secret" not in str(Address.of("kafka://me:secret@h/t"))
    for url in (
        "amqp://me:secret@h/t", "mqtt://me:secret@h:0/t", "kafka://me:secret@h:abc/t",
        "mqtt://me:se/secret@h/t", "me:secret@h/t",
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            Address.of(url)
        assert "secret" not in str(caught.value)
        assert str(caught.value.object).endswith(("h/t", "h:0/t", "h:abc/t"))
