"""What buckets tell of their objects, whatever cloud they stand in: bytes to notices, no more.

The shapes are S3's (plain, in SQS, in SNS, EventBridge), GCS's (Pub/Sub pulled or pushed, the
object itself) and those of Azure Event Grid (its own form and CloudEvents).
"""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from malacate.stores.names import readable

Kind = Literal["written", "removed", "other"]

MAX_BYTES = 10 << 20
_MAX_NAME_BYTES = 1024
_MAX_ENVELOPES = 4
_KEPT = 500


@dataclass(frozen=True)
class Notice:
    """What an event says: ``name`` is the whole key as stores tell names, ``version`` may lack.

    ``bucket`` is that of S3 and GCS; of Azure it is ``account/container``.
    """

    bucket: str
    name: str
    version: str | None
    kind: Kind


@dataclass(frozen=True)
class DeadLetter:
    """A payload, or a part of one, that nothing can be done with; its beginning, in ASCII."""

    reason: str
    detail: str
    payload: str


@dataclass
class Heard:
    """What was in a payload. ``validation`` has to be answered to Event Grid."""

    notices: list[Notice] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    validation: str | None = None


def read(payload: bytes | dict[str, Any]) -> Heard:
    """Whatever is in a payload; what cannot be read is a dead letter, never an error."""
    heard = Heard()
    _read(payload, heard, _MAX_ENVELOPES)
    return heard


def _read(payload: Any, heard: Heard, envelopes: int) -> None:
    try:
        if isinstance(payload, (bytes, str)):
            payload = _parsed(payload)
        for event in payload if isinstance(payload, list) else [payload]:
            _event(event, heard, envelopes)
    except _Unknown as unknown:
        heard.dead.append(dead(unknown.reason, str(unknown), payload))


def _event(event: Any, heard: Heard, envelopes: int) -> None:
    """One event, or what is wrapped in it; each dead by itself, the others live on."""
    try:
        shape = next((read for known, read in _SHAPES if known(event)), None)
        if shape:
            notice = shape(event)
            heard.notices += [] if notice is None else [notice]
        elif code := _validation(event):
            heard.validation = code
        else:
            for inner in _wrapped(event):
                if not envelopes:
                    raise _Unknown("unknown_shape", "an envelope in an envelope, and so on")
                _read(inner, heard, envelopes - 1)
    except _Unknown as unknown:
        heard.dead.append(dead(unknown.reason, str(unknown), event))


def _wrapped(event: Any) -> Iterator[Any]:
    """What is in an envelope: of a queue, a topic, a function."""
    if isinstance(event, dict):
        if event.get("Event") == "s3:TestEvent":
            return
        if event.get("Type") in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
            raise _Unknown("unconfirmed_subscription", "confirm it by hand, if it is yours")
        if isinstance(event.get("Records"), list):
            yield from event["Records"]
            return
        for key in ("body", "Message", "message", "Sns"):
            if isinstance(event.get(key), (str, dict)):
                yield event[key]
                return
        if isinstance(event.get("data"), str):
            yield _decoded(event["data"])
            return
    raise _Unknown("unknown_shape", "it is of no form that S3, GCS or Event Grid sends")


def _is_s3(event: Any) -> bool:
    return isinstance(event, dict) and "s3" in event


def _s3(event: Any) -> Notice:
    key = _text(event, "s3", "object", "key").replace("+", " ")
    try:
        name = unquote_to_bytes(key)
    except UnicodeEncodeError as error:
        raise _Unknown("bad_name", "its characters cannot be written") from error
    version = event["s3"]["object"].get("versionId")
    kind = _kind(_text(event, "eventName"), "ObjectCreated:", "ObjectRemoved:")
    return _notice(_text(event, "s3", "bucket", "name"), name, version, kind)


def _is_event_bridge(event: Any) -> bool:
    return isinstance(event, dict) and event.get("source") == "aws.s3"


def _event_bridge(event: Any) -> Notice:
    kind = _kind(_text(event, "detail-type"), "Object Created", "Object Deleted")
    name = _text(event, "detail", "object", "key")
    version = event["detail"]["object"].get("version-id")
    return _notice(_text(event, "detail", "bucket", "name"), name, version, kind)


def _is_gcs_message(event: Any) -> bool:
    facts = event.get("attributes") if isinstance(event, dict) else None
    return isinstance(facts, dict) and ("bucketId" in facts or "objectId" in facts)


def _gcs_message(event: Any) -> Notice:
    facts = event["attributes"]
    kind = _kind(_text(facts, "eventType"), "OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
    generation = _text(facts, "objectGeneration")
    return _notice(_text(facts, "bucketId"), _text(facts, "objectId"), generation, kind)


def _is_gcs_object(event: Any) -> bool:
    return isinstance(event, dict) and event.get("kind") == "storage#object"


def _gcs_object(event: Any) -> Notice:
    """The object's own description, as a function's CloudEvent carries it."""
    generation = _text(event, "generation")
    return _notice(_text(event, "bucket"), _text(event, "name"), generation, "written")


def _is_event_grid(event: Any) -> bool:
    kind = event.get("eventType", event.get("type")) if isinstance(event, dict) else None
    return isinstance(kind, str) and kind.startswith("Microsoft.Storage.")


def _event_grid(event: Any) -> Notice | None:
    """An event of its own form or of CloudEvents; a file that was only begun is told again."""
    kind = _kind(event.get("eventType") or _text(event, "type"),
                 "Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobDeleted")  # fmt: skip
    account = _after(event.get("topic") or _text(event, "source"), "/storageAccounts/")
    container, blobs, name = _after(
        _text(event, "subject"), "/blobServices/default/containers/"
    ).partition("/blobs/")
    if not blobs:
        raise _Unknown("missing_field", "subject names no blob")
    facts = event.get("data")
    if not isinstance(facts, dict):
        raise _Unknown("missing_field", "data")
    if facts.get("api") == "CreateFile":
        return None
    return _notice(f"{account}/{container}", name, facts.get("eTag"), kind)


def _validation(event: Any) -> str | None:
    """The code that Event Grid wants back before it sends anything."""
    kind = event.get("eventType") if isinstance(event, dict) else None
    if kind != "Microsoft.EventGrid.SubscriptionValidationEvent":
        return None
    return _text(event, "data", "validationCode")


_SHAPES: tuple[tuple[Callable[[Any], bool], Callable[[Any], Notice | None]], ...] = (
    (_is_s3, _s3),
    (_is_event_bridge, _event_bridge),
    (_is_gcs_message, _gcs_message),
    (_is_gcs_object, _gcs_object),
    (_is_event_grid, _event_grid),
)


class _Unknown(Exception):
    """A payload, or a part of it, is dead; it never leaves this module."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def _notice(bucket: str, name: str | bytes, version: Any, kind: Kind) -> Notice:
    try:
        raw = name.encode() if isinstance(name, str) else name
    except UnicodeEncodeError as error:
        raise _Unknown("bad_name", "its characters cannot be written") from error
    if b"\0" in raw or not 0 < len(raw) <= _MAX_NAME_BYTES:
        raise _Unknown("bad_name", f"{len(raw)} bytes")
    return Notice(bucket, readable(raw), version if isinstance(version, str) else None, kind)


def _kind(event: str, written: str, *removed: str) -> Kind:
    if event.startswith(written):
        return "written"
    return "removed" if event.startswith(removed) else "other"


def _text(event: Any, *path: str) -> str:
    for key in path:
        event = event.get(key) if isinstance(event, dict) else None
    if not isinstance(event, str) or not event:
        raise _Unknown("missing_field", ".".join(path))
    return event


def _after(text: Any, mark: str) -> str:
    _, found, rest = text.partition(mark) if isinstance(text, str) else ("", "", "")
    if not found:
        raise _Unknown("missing_field", mark)
    return str(rest)


def _parsed(payload: bytes | str) -> Any:
    if len(payload) > MAX_BYTES:
        raise _Unknown("too_large", f"{len(payload)} bytes")
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _Unknown("no_json", str(error)) from error


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError as error:
        raise _Unknown("unknown_shape", f"data is no base64: {error}") from error


def dead(reason: str, detail: str, payload: Any) -> DeadLetter:
    """A dead letter whose text can be stored and printed anywhere."""
    text = payload[:_KEPT] if isinstance(payload, (bytes, str)) else repr(payload)
    return DeadLetter(reason, ascii(detail)[1:-1][:_KEPT], ascii(text)[:_KEPT])
