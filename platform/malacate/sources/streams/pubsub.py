"""Google Pub/Sub by synchronous pull; what is held is kept from others until it is safe.

With ``PUBSUB_EMULATOR_HOST`` it is an emulator's.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from itertools import islice
from threading import Event, Lock, Thread
from typing import Any

from malacate.errors import SourceUnreachable
from malacate.sources.streams.message import Message
from malacate.sources.streams.transport import ANSWER_SECONDS, Address, away, missing

_LEASE_SECONDS = 30
_RENEWED_SECONDS = 10.0
_AT_ONCE = 1000
_ANSWER_SECONDS = 30.0


class PubSubTransport:
    """See ``Transport``."""

    def __init__(self, at: Address) -> None:
        self._client, self._at = _client(at), at
        self._subscription = _subscription(at)
        self._held: deque[str] = deque()
        self._lock, self._ended = Lock(), Event()
        Thread(target=self._renew, daemon=True).start()

    def receive(self, most: int, seconds: float) -> list[Message]:
        """See ``Transport``; at most a thousand."""
        from google.api_core.exceptions import DeadlineExceeded

        try:
            with _answering(self._at):
                answer = self._client.pull(
                    subscription=self._subscription,
                    max_messages=min(most, _AT_ONCE),
                    timeout=max(seconds, 0.1),
                    retry=None,
                )
        except SourceUnreachable as error:
            if isinstance(error.__cause__, DeadlineExceeded):
                return []
            raise
        found = type(answer).pb(answer).received_messages
        ids = [one.ack_id for one in found]
        with self._lock:
            self._held.extend(ids)
        self._lease(ids)
        return [self._message(one.message) for one in found]

    def acknowledge(self, count: int) -> None:
        """See ``Transport``; in requests of a thousand."""
        from google.api_core.exceptions import FailedPrecondition, InvalidArgument

        while count:
            some = list(islice(self._held, min(count, _AT_ONCE)))
            try:
                with _answering(self._at):
                    self._client.acknowledge(
                        subscription=self._subscription, ack_ids=some, timeout=_ANSWER_SECONDS
                    )
            except SourceUnreachable as error:
                if not isinstance(error.__cause__, FailedPrecondition | InvalidArgument):
                    raise
            with self._lock:
                for _ in some:
                    self._held.popleft()
            count -= len(some)

    def close(self) -> None:
        """See ``Transport``; what is held goes back at once, to whoever receives next."""
        self._ended.set()
        with suppress(SourceUnreachable):
            self._deadline(list(self._held), 0)
        self._client.close()

    def _renew(self) -> None:
        while not self._ended.wait(_RENEWED_SECONDS):
            with self._lock:
                held = list(self._held)
            self._lease(held)

    def _lease(self, ids: Sequence[str]) -> None:
        """What is not leased in time comes twice, and that is all."""
        with suppress(SourceUnreachable):
            self._deadline(ids, _LEASE_SECONDS)

    def _deadline(self, ids: Sequence[str], seconds: int) -> None:
        for start in range(0, len(ids), _AT_ONCE):
            with _answering(self._at):
                self._client.modify_ack_deadline(
                    subscription=self._subscription,
                    ack_ids=ids[start : start + _AT_ONCE],
                    ack_deadline_seconds=seconds,
                    timeout=_ANSWER_SECONDS,
                )

    def _message(self, one: Any) -> Message:
        attributes = dict(one.attributes)
        if one.ordering_key:
            attributes["ordering_key"] = one.ordering_key
        at = one.publish_time.seconds * 10**6 + one.publish_time.nanos // 1000
        pairs = tuple(sorted(attributes.items()))
        return Message(one.data, self._subscription, one.message_id, at, pairs)


def probe(at: Address) -> str:
    """The subscription's topic, if this account may look at it."""
    from google.api_core.exceptions import PermissionDenied

    client = _client(at)
    try:
        with _answering(at):
            found = client.get_subscription(subscription=_subscription(at), timeout=ANSWER_SECONDS)
    except SourceUnreachable as error:
        if isinstance(error.__cause__, PermissionDenied):
            return "it answers; pubsub.subscriptions.get is needed to see more"
        raise
    finally:
        client.close()
    if found.detached or found.topic == "_deleted-topic_":
        raise away(at, "the topic of the subscription is deleted, or it is detached")
    return f"it stands, of {found.topic}"


def _client(at: Address) -> Any:
    try:
        pubsub = import_module("google.cloud.pubsub_v1")
    except ImportError as error:
        raise missing("google-cloud-pubsub") from error
    with _answering(at):
        return pubsub.SubscriberClient()


def _subscription(at: Address) -> str:
    return f"projects/{at.server}/subscriptions/{at.path}"


@contextmanager
def _answering(at: Address) -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError) as error:
        raise away(at, error) from error
