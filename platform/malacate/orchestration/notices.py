"""Queues in which buckets tell of new objects: polled, noted in the ledger, only then acknowledged.

What the events mean is in ``sources.notices``. Clients of the clouds are loaded when one is asked
for, never with this module.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any

from malacate.errors import ConfigError, MalacateError, SourceUnreachable
from malacate.ledger.ledger import Ledger
from malacate.sources.notices import Handled, Listener, handle


@dataclass
class Polled:
    """What one look into a queue came to.

    ``failures`` are messages that stay in the queue because a store did not answer.
    """

    messages: int = 0
    handled: list[Handled] = field(default_factory=list)
    failures: list[MalacateError] = field(default_factory=list)

    def told(self) -> list[str]:
        """Dead letters, objects that were gone, failures: one line each, for a log."""
        lines = [str(failure) for failure in self.failures]
        for one in self.handled:
            lines += [f"dead letter, {d.reason}: {d.detail}: {d.payload}" for d in one.dead]
            lines += [f"vanished before it was read: {name}" for name in one.vanished]
        return lines


def poll(queue: str, listeners: Sequence[Listener], ledger: Ledger) -> Polled:
    """Take in what waits in ``queue``: ``sqs:<url>``, ``pubsub:<subscription>``, or none at all.

    A queue that does not answer is a failure that is told: listing goes on without it.
    """
    kind, _, name = queue.partition(":")
    if not queue:
        return Polled()
    try:
        if kind == "sqs":
            return poll_sqs(sqs_client(), name, listeners, ledger)
        if kind == "pubsub":
            return poll_pubsub(pubsub_client(), name, listeners, ledger)
    except SourceUnreachable as error:
        return Polled(failures=[error])
    raise ConfigError(
        "a queue of notices cannot be understood",
        "Write sqs:<the queue's url> or pubsub:projects/<project>/subscriptions/<name>.",
        object=queue,
        reason="unknown_queue",
    )


def poll_sqs(
    client: Any, queue_url: str, listeners: Sequence[Listener], ledger: Ledger, limit: int = 100
) -> Polled:
    """Take in up to ``limit`` messages of an SQS queue, ten a request.

    Raises ``SourceUnreachable`` if the queue does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    polled, answering = Polled(), partial(_answering, queue_url, BotoCoreError, ClientError)
    while polled.messages < limit:
        asked = {"MaxNumberOfMessages": min(10, limit - polled.messages), "WaitTimeSeconds": 1}
        with answering():
            answer = client.receive_message(QueueUrl=queue_url, **asked)
        messages = answer.get("Messages", [])
        done = [m for m in messages if _is_taken_in(m["Body"].encode(), listeners, ledger, polled)]
        if done:
            entries = [{"Id": str(i), "ReceiptHandle": m["ReceiptHandle"]}
                       for i, m in enumerate(done)]  # fmt: skip
            with answering():
                client.delete_message_batch(QueueUrl=queue_url, Entries=entries)
        if len(done) < len(messages) or not messages:
            break
    return polled


def poll_pubsub(
    client: Any, subscription: str, listeners: Sequence[Listener], ledger: Ledger, limit: int = 100
) -> Polled:
    """Take in up to ``limit`` messages of a Pub/Sub subscription, in one request.

    ``client`` is a ``SubscriberClient``. Raises ``SourceUnreachable``.
    """
    from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError

    polled, refused = Polled(), (GoogleAPICallError, GoogleAuthError)
    request: dict[str, Any] = {"subscription": subscription, "max_messages": limit}
    try:
        with _answering(subscription, *refused):
            answer = client.pull(request=request, timeout=2.0)
    except SourceUnreachable as error:
        if isinstance(error.__cause__, DeadlineExceeded):
            return polled
        raise
    done = [
        received.ack_id
        for received in answer.received_messages
        if _is_taken_in(_pulled(received.message), listeners, ledger, polled)
    ]
    if done:
        request = {"subscription": subscription, "ack_ids": done}
        with _answering(subscription, *refused):
            client.acknowledge(request=request, timeout=10.0)
    return polled


def sqs_client(region: str | None = None, endpoint: str | None = None) -> Any:
    """A client with the credentials of the environment, which waits seconds, not minutes."""
    import boto3
    from botocore.config import Config

    patience = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 2})
    region = region or os.environ.get("AWS_REGION")
    return boto3.client("sqs", region_name=region, endpoint_url=endpoint, config=patience)


def pubsub_client() -> Any:
    """A client with the credentials of the environment, or of ``PUBSUB_EMULATOR_HOST``."""
    try:
        pubsub = import_module("google.cloud.pubsub_v1")
    except ImportError as error:
        raise ConfigError(
            "the client of Pub/Sub is not installed",
            "Install google-cloud-pubsub, or leave the subscription out: listing finds all.",
            reason="not_installed",
        ) from error
    return pubsub.SubscriberClient()


def _is_taken_in(
    payload: bytes | dict[str, Any], listeners: Sequence[Listener], ledger: Ledger, polled: Polled
) -> bool:
    """Whether the message may go: what it tells of is in the ledger, or it is a dead letter."""
    polled.messages += 1
    try:
        polled.handled.append(handle(payload, listeners, ledger))
    except SourceUnreachable as error:
        polled.failures.append(error)
        return False
    return True


def _pulled(message: Any) -> bytes | dict[str, Any]:
    """A pulled message as pushed ones look: the attributes tell all, where there are some."""
    attributes = dict(message.attributes)
    return {"attributes": attributes} if "objectId" in attributes else bytes(message.data)


@contextmanager
def _answering(queue: str, *refused: type[Exception]) -> Iterator[None]:
    try:
        yield
    except refused as error:
        raise SourceUnreachable(
            "a queue of notices does not answer",
            "Check its name and your credentials; drops are found by listing meanwhile.",
            object=queue,
            actual=f"{type(error).__name__}: {error}",
            reason="unreachable",
        ) from error
