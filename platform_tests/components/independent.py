"""What other readers see in the same bytes: fastavro and Python's csv, and how values agree.

fastavro decodes without its logical types, so that no calendar of Python's stands in the way; what
the numbers mean is said here, from the Avro specification.
"""

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from itertools import islice
from typing import Any

import fastavro
from fastavro.schema import expand_schema

Row = dict[str, Any]
RECORDS = ("record", "error", "request")
NUMBERS = {"int", "long", "float", "double"}
DAY = dt.timedelta(days=1)
EPOCH = dt.datetime(1970, 1, 1)
LAST, FIRST = 253_402_300_799_999_999, -62_135_596_800_000_000


@dataclass
class Seen:
    """Rows in order, each with its place in the file; ``aside`` are places and reasons."""

    rows: list[tuple[int, Row]] = field(default_factory=list)
    aside: dict[int, set[str]] = field(default_factory=dict)
    kinds: Mapping[str, Any] = field(default_factory=dict)


def by_fastavro(data: bytes, rows: int | None = None) -> Seen:
    """All that fastavro reads, or the first ``rows``; raises what fastavro raises."""
    reader = fastavro.reader(io.BytesIO(data.replace(b'"logicalType"', b'"logicalNote"')))
    assert isinstance(reader.writer_schema, dict)
    kinds = {f["name"]: f["type"] for f in expand_schema(reader.writer_schema)["fields"]}
    seen = Seen(kinds=kinds)
    for place, row in enumerate(islice(reader, rows)):
        assert isinstance(row, dict)
        if why := {w for name, kind in kinds.items() for w in unfit(kind, row[name])}:
            seen.aside[place] = why
        else:
            seen.rows.append((place, row))
    return seen


def by_csv(data: bytes, delimiter: str) -> Seen:
    """Rows as Python's csv reads them, each under the number of its record; ragged ones aside."""
    text = data.decode("utf-8-sig")
    header, *records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    seen = Seen(kinds=dict.fromkeys(header, "text"))
    for line, record in enumerate(records, 2):
        if len(record) == len(header):
            seen.rows.append((line, {n: v or None for n, v in zip(header, record, strict=True)}))
        elif record:
            few = "few" if len(record) < len(header) else "many"
            seen.aside[line] = {f"too_{few}_fields"}
    return seen


def logical(kind: Any) -> tuple[str, int]:
    """The logical type and its microseconds a unit; 0 where that says nothing."""
    name = kind.get("logicalNote", "") if isinstance(kind, dict) else ""
    base = {"date": "int", "time-millis": "int", "decimal": kind["type"]} if name else {}
    if name and base.get(name, "long") != kind["type"]:
        return "", 0
    unit = name.rpartition("-")[2]
    return name, {"millis": 1000, "micros": 1, "nanos": -1000}.get(unit, 0)


def unfit(kind: Any, raw: Any, depth: int = 0) -> Iterator[str]:
    """Why a value cannot stand in its column: reasons that set its row aside."""
    if raw is None:
        return
    name, micros = logical(kind)
    if isinstance(kind, list):
        (branch, *others) = values_of(kind)
        if not others:
            yield from unfit(branch, raw, depth)
        elif {b if isinstance(b, str) else "" for b in (branch, *others)} <= NUMBERS:
            yield from unfit("double", raw, depth)
    elif name == "decimal":
        if len(str(abs(int.from_bytes(raw, "big", signed=True)))) > kind["precision"]:
            yield "does_not_fit"
    elif name.startswith("time-"):
        if not 0 <= raw * micros < 86_400_000_000:
            yield "does_not_fit"
    elif name == "date" or "timestamp-" in name:
        yield from _no_instant(raw, 86_400_000_000 if name == "date" else micros, depth)
    elif kind in ("float", "double"):
        if not depth and not math.isfinite(raw):
            yield "not_finite"
    elif isinstance(kind, dict) and kind["type"] in RECORDS:
        for inner in kind["fields"]:
            yield from unfit(inner["type"], raw[inner["name"]], depth + 1)
    elif isinstance(kind, dict) and kind["type"] in ("array", "map"):
        inner = kind["items"] if kind["type"] == "array" else kind["values"]
        for item in raw if kind["type"] == "array" else raw.values():
            yield from unfit(inner, item, depth + 1)


def _no_instant(raw: int, micros: int, depth: int) -> Iterator[str]:
    if micros < 0 and raw % -micros:
        yield "does_not_fit"
        return
    at = raw // -micros if micros < 0 else raw * micros
    if micros == 1000 and not -(2**63) <= at < 2**63:
        yield "does_not_fit"
    elif not depth and not FIRST <= at <= LAST:
        yield "not_an_instant"


def values_of(branches: list[Any]) -> list[Any]:
    """The branches of a union that are not null."""
    return [b for b in branches if b != "null" and b != {"type": "null"}]


def agrees(kind: Any, raw: Any, found: Any) -> bool:
    """Whether what was published is what fastavro read, of the type ``kind``."""
    if raw is None or found is None:
        return raw is found
    name, micros = logical(kind)
    if name == "decimal":
        with localcontext(prec=100):
            scale = Decimal(1).scaleb(-kind.get("scale", 0))
            return Decimal(found) == int.from_bytes(raw, "big", signed=True) * scale
    if name == "date":
        return bool(found == EPOCH.date() + raw * DAY)
    if micros:
        return _counted(found) == (raw * micros if micros > 0 else raw // 1000)
    if isinstance(kind, list):
        return _one_of(values_of(kind), raw, found)
    if isinstance(kind, dict):
        return _made_of(kind, raw, found)
    if kind in ("float", "double"):
        return repr(found) == repr(raw)
    return bool(found == raw and type(found) is type(raw)) or _said(raw, found)


def _one_of(branches: list[Any], raw: Any, found: Any) -> bool:
    if len(branches) == 1:
        return agrees(branches[0], raw, found)
    if isinstance(found, str):
        return _said(raw, found)
    return bool(found == raw)


def _made_of(kind: Mapping[str, Any], raw: Any, found: Any) -> bool:
    if kind["type"] in RECORDS and kind["fields"]:
        fields = {f["name"]: f["type"] for f in kind["fields"]}
        return found.keys() == fields.keys() == raw.keys() and all(
            agrees(fields[name], raw[name], found[name]) for name in fields
        )
    if kind["type"] == "array":
        same = len(raw) == len(found)
        return same and all(map(agrees, [kind["items"]] * len(raw), raw, found))
    if kind["type"] == "map":
        pairs = dict(found)
        return pairs.keys() == raw.keys() and all(
            agrees(kind["values"], raw[key], pairs[key]) for key in raw
        )
    if kind["type"] in ("enum", "fixed", *RECORDS):
        return bool(found == raw) or _said(raw, found)
    return agrees(kind["type"], raw, found)


def _said(raw: Any, found: Any) -> bool:
    """A value of no single type comes as JSON text."""
    if not isinstance(found, str):
        return False
    meant = json.dumps(raw, default=bytes.hex, sort_keys=True)
    try:
        return meant == json.dumps(json.loads(found), sort_keys=True)
    except ValueError:
        return False


def _counted(found: Any) -> int:
    """Microseconds since 1970, or since midnight."""
    if isinstance(found, dt.time):
        found = dt.datetime.combine(EPOCH, found)
    if isinstance(found, dt.datetime):
        return (found.replace(tzinfo=None) - EPOCH) // dt.timedelta(microseconds=1)
    assert isinstance(found, int)
    return found
