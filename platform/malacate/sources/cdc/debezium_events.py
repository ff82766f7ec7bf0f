"""One message of Debezium's -> a change of a row, or what it is instead."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from malacate.sources.cdc.datastream_json import Told
from malacate.sources.cdc.datastream_rows import Named
from malacate.sources.cdc.debezium_position import (
    Place,
    instant_of,
    is_snapshot,
    named,
    place_of,
)
from malacate.sources.cdc.debezium_values import Meant, Spelling, of_json_schema

_OPERATIONS = {"c": "I", "u": "U", "d": "D", "r": "R", "t": "T"}
_ROW = ("after", "before")


@dataclass(frozen=True)
class Event:
    """A change of a row. ``meant`` says how its values are spelled, if it came with a schema."""

    place: int
    raw: bytes
    op: str
    named: Named
    position: Place
    is_snapshot: bool
    source_at: datetime | None
    read_at: datetime | None
    connector: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    meant: Mapping[str, Meant] | None


@dataclass(frozen=True)
class Skipped:
    """A message that is no change of a row; ``what`` is its kind, in the plural."""

    what: str


class Unplaced(Exception):
    """A message that cannot be put into the log; ``reason`` is its code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def event_of(
    one: Told, meant: Mapping[str, Meant] | None, topic: str, spelling: Spelling
) -> Event | Skipped:
    """The change that a message tells of; raises ``Unplaced``."""
    value, schema = one.value, None
    if value is not None and value.keys() == {"schema", "payload"}:
        schema, value = value["schema"], value["payload"]
    if value is None:
        return Skipped("tombstones")
    if not isinstance(value, dict):
        raise Unplaced("not_a_change", "the message holds no object")
    name = str(schema.get("name") or "") if isinstance(schema, dict) else ""
    if skipped := _other(value, name, topic):
        return Skipped(skipped)
    if name.endswith(".Key"):
        raise Unplaced("not_a_change", "the message is the key of a record")
    if name.endswith(".Envelope"):
        topic = name.removesuffix(".Envelope")
    if "op" not in value:
        return _unwrapped(one, value, of_json_schema(schema) or meant, topic)
    if isinstance(schema, dict):
        meant = _row_schema(schema)
    return _enveloped(one, value, meant, topic)


def _other(value: Mapping[str, Any], name: str, topic: str) -> str:
    """What a message is that is no change, in the plural."""
    if "ddl" in value or "tableChanges" in value:
        return "schema changes"
    if value.get("op") == "m":
        return "logical messages"
    if value.keys() <= {"ts_ms", "ts_us", "ts_ns"} or name.endswith(".Heartbeat"):
        return "heartbeats"
    if {"status", "id"} <= value.keys() and value["status"] in ("BEGIN", "END"):
        return "marks of transactions"
    return "schema changes" if name.endswith(".SchemaChangeKey") else ""


def _row_schema(schema: Mapping[str, Any]) -> dict[str, Meant] | None:
    rows = {str(one.get("field")): one for one in schema.get("fields") or ()}
    row = next((rows[name] for name in _ROW if name in rows), None)
    return of_json_schema(row) if row else None


def _enveloped(
    one: Told, value: Mapping[str, Any], meant: Mapping[str, Meant] | None, topic: str
) -> Event:
    source, op = value.get("source"), _OPERATIONS.get(str(value["op"]))
    if op is None:
        raise Unplaced("unknown_operation", f"the operation is {str(value['op'])!r}")
    before, after = (_row(value.get(name), name) for name in ("before", "after"))
    if op != "T" and (before if op == "D" else after) is None:
        raise Unplaced("no_key", "the event is without its row")
    source = source if isinstance(source, dict) else {}
    return _event(one, op, source, value, before, after, meant, topic)


def _row(value: Any, name: str) -> Mapping[str, Any] | None:
    if value is not None and not isinstance(value, dict):
        raise Unplaced("not_a_change", f"{name} is no row")
    return value


def _unwrapped(
    one: Told, value: Mapping[str, Any], meant: Mapping[str, Meant] | None, topic: str
) -> Event:
    """A row alone, as a flattening transform leaves it: told, if it kept enough beside the row."""
    added = {key: found for key, found in value.items() if key.startswith("__")}
    source = {key.removeprefix("__").removeprefix("source_"): v for key, v in added.items()}
    row = {key: found for key, found in value.items() if key not in added}
    deleted = str(source.get("deleted") or "false").lower() == "true"
    op = _OPERATIONS.get(str(source.get("op")), "") or ("D" if deleted else "U")
    if not row or not added:
        raise Unplaced("no_position", "the row is alone: it does not say where its change stands")
    return _event(one, "D" if deleted else op, source, {}, row if deleted else None,
                  None if deleted else row, meant, topic)  # fmt: skip


def _event(
    one: Told, op: str, source: Mapping[str, Any], times: Mapping[str, Any],
    before: Mapping[str, Any] | None, after: Mapping[str, Any] | None,
    meant: Mapping[str, Meant] | None, topic: str,
) -> Event:  # fmt: skip
    try:
        position = place_of(source)
    except ValueError as error:
        raise Unplaced("bad_position", str(error)) from error
    if position is None:
        raise Unplaced("no_position", "the event does not say where it stands")
    of_snapshot = op == "R" or (is_snapshot(source) and op in ("I", "U"))
    return Event(
        one.place, one.raw, "R" if of_snapshot else op, named(source) if source.get("table")
        else _of_topic(topic), position, of_snapshot, instant_of(source) or instant_of(times),
        instant_of(times), str(source.get("name") or source.get("connector") or ""),
        before, after, meant,
    )  # fmt: skip


def _of_topic(topic: str) -> Named:
    """``server.schema.table`` or ``server.database.schema.table``."""
    parts = ["", "", "", *topic.split(".")[1:]][-3:]
    return Named(*parts)
