"""A broker in memory that gives each message again until it is acknowledged, and may fail."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from malacate.errors import SourceUnreachable
from malacate.sources.streams.message import Message


def gone() -> SourceUnreachable:
    return SourceUnreachable("it does not answer", "Wait.", reason="unreachable")


@dataclass
class Broker:
    """``fails`` is asked before each step; ``acknowledged`` hears of each message."""

    messages: Sequence[Message]
    fails: Callable[[str], bool] = lambda _: False
    is_drained: Callable[[], None] = lambda: None
    acknowledged: list[int] = field(default_factory=list)
    on_acknowledge: Callable[[int], None] = lambda _: None

    def connect(self) -> "Connection":
        return Connection(self)

    def waiting(self) -> list[int]:
        done = set(self.acknowledged)
        return [number for number in range(len(self.messages)) if number not in done]


class Connection:
    """See ``Transport``. Lost and made again, it passes over what was received before."""

    def __init__(self, broker: Broker) -> None:
        self._broker, self._turn = broker, 0
        self._waiting = deque(broker.waiting())
        self._held: deque[tuple[int, int]] = deque()
        self.is_closed = False

    def receive(self, most: int, seconds: float) -> list[Message]:
        if self._broker.fails("lost"):
            self._turn += 1
            self._waiting = deque(self._broker.waiting())
        if self._broker.fails("receive"):
            raise gone()
        some = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._held.extend((self._turn, number) for number in some)
        if not some:
            self._broker.is_drained()
        return [self._broker.messages[number] for number in some]

    def acknowledge(self, count: int) -> None:
        if self._broker.fails("acknowledge"):
            raise gone()
        for _ in range(count):
            turn, number = self._held.popleft()
            if turn == self._turn:
                self._broker.on_acknowledge(number)
                self._broker.acknowledged.append(number)

    def close(self) -> None:
        self.is_closed = True
