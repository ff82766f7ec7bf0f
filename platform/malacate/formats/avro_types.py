"""Avro schemas -> Arrow types. What a contract cannot name comes as JSON text, exactly.

That is: unions of several types that no single number type holds, the place where a type refers
to itself, and records without fields. Decimals beyond 76 digits come as text.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import fastavro.schema
import pyarrow as pa

from malacate.errors import UnreadableFile

PRIMITIVES: dict[str, pa.DataType] = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_LOGICAL: dict[tuple[str, str], pa.DataType] = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
}
_WIDER = {
    frozenset({"int", "long"}): "long",
    frozenset({"float", "double"}): "double",
    frozenset({"int", "float"}): "double",
    frozenset({"int", "double"}): "double",
    frozenset({"int", "float", "double"}): "double",
}
RECORDS = ("record", "error", "request")


def expanded(schema: Any) -> Any:
    """The schema of a file's rows with named types written out where they are used."""
    if not isinstance(schema, dict) or schema.get("type") not in RECORDS:
        raise UnreadableFile(
            "the rows of an Avro file are no records",
            "Have it written with a record for each row.",
            actual=str(schema)[:200],
            reason="not_a_record",
        )
    try:
        return fastavro.schema.expand_schema(schema)
    except Exception as error:  # whatever shape the JSON has, its parser may trip over it
        raise UnreadableFile(
            "the schema in an Avro header cannot be used",
            "Ask for the file again; if it comes the same, its writer is at fault.",
            actual=f"{type(error).__name__}: {error}"[:500],
            reason="bad_header",
        ) from error


def fields(record: Mapping[str, Any]) -> dict[str, pa.DataType]:
    """Names and Arrow types of an expanded record's fields."""
    return {field["name"]: arrow(field["type"]) for field in record["fields"]}


def arrow(schema: Any) -> pa.DataType:
    """The Arrow type of an expanded schema."""
    if isinstance(schema, str):
        return PRIMITIVES.get(schema, pa.string())
    if isinstance(schema, list):
        return _union(schema)
    kind = schema["type"]
    if kind in RECORDS:
        inner = list(fields(schema).items())
        return pa.struct(inner) if inner else pa.string()
    if kind == "array":
        return pa.list_(arrow(schema["items"]))
    if kind == "map":
        return pa.map_(pa.string(), arrow(schema["values"]))
    if kind == "enum":
        return pa.string()
    return _annotated(schema)


def _annotated(schema: Mapping[str, Any]) -> pa.DataType:
    kind, logical = schema["type"], schema.get("logicalType", "")
    if digits := decimal_digits(schema):
        precision, scale = digits
        if precision > 76:
            return pa.string()
        return (pa.decimal256 if precision > 38 else pa.decimal128)(precision, scale)
    if kind == "fixed":
        return pa.binary()
    if not isinstance(kind, str):
        return arrow(kind)
    return _LOGICAL.get((kind, logical)) or PRIMITIVES.get(kind, pa.string())


def decimal_digits(schema: Any) -> tuple[int, int] | None:
    """Precision and scale of a decimal; ``None`` for any other type, and for impossible ones."""
    if not isinstance(schema, dict) or schema.get("logicalType") != "decimal":
        return None
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if not isinstance(precision, int) or not isinstance(scale, int):
        return None
    sound = schema["type"] in ("bytes", "fixed") and 0 <= scale <= precision and precision > 0
    return (precision, scale) if sound else None


def _union(branches: list[Any]) -> pa.DataType:
    some = values_of(branches)
    if not some:
        return pa.null()
    if len(some) == 1:
        return arrow(some[0])
    plain = frozenset(b if isinstance(b, str) else "" for b in some)
    return PRIMITIVES[_WIDER.get(plain, "string")]


def values_of(branches: list[Any]) -> list[Any]:
    """The branches of a union that are not null."""
    return [b for b in branches if b != "null" and not _is_null(b)]


def _is_null(branch: Any) -> bool:
    return isinstance(branch, dict) and branch.get("type") == "null"


def is_text(schema: Any) -> bool:
    """Whether values of a non-text schema come as JSON text."""
    if isinstance(schema, str):
        return schema not in PRIMITIVES
    if isinstance(schema, list):
        some = values_of(schema)
        return len(some) > 1 and bool(arrow(schema) == pa.string())
    return schema["type"] in RECORDS and not schema["fields"]


class Unsupported(Exception):
    """A schema that only the row-by-row reader can decode."""


def plain(record: Mapping[str, Any]) -> Any:
    """The same binary layout for the vectorised reader: fresh names, known annotations only.

    Raises ``Unsupported`` for what it does not decode, or decodes doubtfully.
    """
    if not _has_width(record):
        raise Unsupported("rows without bytes")
    return _plain(record, count())


def _plain(schema: Any, fresh: Iterator[int]) -> Any:
    if isinstance(schema, str):
        if schema not in PRIMITIVES:
            raise Unsupported("a type that refers to itself")
        return schema
    if isinstance(schema, list):
        if len(schema) != 2 or len(values_of(schema)) != 1:
            raise Unsupported("a union that is not a type or null")
        return [_plain(branch, fresh) for branch in schema]
    kind = schema["type"]
    if kind in RECORDS:
        return _plain_record(schema, fresh)
    if kind in ("array", "map"):
        inner = "items" if kind == "array" else "values"
        if kind == "array" and not _has_width(schema["items"]):
            raise Unsupported("an array of values without bytes")
        return {"type": kind, inner: _plain(schema[inner], fresh)}
    return _plain_annotated(schema, fresh)


def _plain_record(schema: Mapping[str, Any], fresh: Iterator[int]) -> Any:
    if not schema["fields"]:
        raise Unsupported("a record without fields")
    inner = [{"name": f["name"], "type": _plain(f["type"], fresh)} for f in schema["fields"]]
    return {"type": "record", "name": f"t{next(fresh)}", "fields": inner}


def _plain_annotated(schema: Mapping[str, Any], fresh: Iterator[int]) -> Any:
    kind, logical = schema["type"], schema.get("logicalType", "")
    digits = decimal_digits(schema)
    if digits and digits[0] > 76:
        raise Unsupported("a decimal of more than 76 digits")
    named = {"name": f"t{next(fresh)}"} if kind in ("fixed", "enum") else {}
    kept = {key: schema[key] for key in ("size", "symbols") if key in schema}
    known = {"logicalType": logical} if digits or (kind, logical) in _LOGICAL else {}
    scaled = {"precision": digits[0], "scale": digits[1]} if digits else {}
    if kind in PRIMITIVES and not known:
        return kind
    return {"type": kind, **named, **kept, **known, **scaled}


def _has_width(schema: Any) -> bool:
    if isinstance(schema, dict):
        if schema["type"] in RECORDS:
            return any(_has_width(field["type"]) for field in schema["fields"])
        return schema["type"] != "null" and schema.get("size") != 0
    return bool(schema != "null")
