"""Avro as the real samples do not have it, through a declared source to the raw table.

Every codec and logical type whole and damaged, values that nothing can hold, and three versions of
a schema. See ``test_real_files`` for the rule.
"""

import datetime as dt
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro
import pytest
from platform_tests.components.dropping import Dropping, Edits, dropping
from platform_tests.components.independent import by_fastavro
from platform_tests.components.test_real_files import (
    RIGHT,
    assert_kept,
    assert_same,
    with_damage,
)
from platform_tests.formats.avro_files import encoded

CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")
CHECKED = ("snappy", "bzip2", "xz")
AT = dt.datetime(2026, 11, 3, 4, 5, 6, 789_000, dt.UTC)


def of(kind: str, logical: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": logical, **more}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


NODE = {
    "type": "record", "name": "node", "fields": [
        {"name": "value", "type": "long"}, {"name": "next", "type": ["null", "node"]},
    ],
}  # fmt: skip
INNER = {
    "type": "record", "name": "inner", "fields": [
        {"name": "grade", "type": of("bytes", "decimal", precision=9, scale=3)},
        {"name": "at", "type": ["null", of("long", "timestamp-micros")]},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
    ],
}  # fmt: skip
KINDS: dict[str, tuple[Any, Any]] = {
    "flag": ("boolean", lambda i: i % 2 == 0),
    "count": (["null", "int"], lambda i: None if i % 3 == 0 else -i),
    "big": ("long", lambda i: i * 2**40),
    "ratio": ("float", lambda i: i / 4),
    "share": (["double", "null"], lambda i: i / 7 if i % 4 else None),
    "text": ("string", lambda i: f"camión {i}"),
    "raw": ("bytes", lambda i: bytes([i, 0, 255])),
    "price": (of("bytes", "decimal", precision=12, scale=2), lambda i: Decimal(i * 7 - 50) / 100),
    "mass": (fixed("mass_t", 9, logicalType="decimal", precision=20, scale=4),
             lambda i: Decimal(i) * Decimal("-1234567890.1234")),
    "day": (of("int", "date"), lambda i: dt.date(1969, 12, 20) + dt.timedelta(i)),
    "time_ms": (of("int", "time-millis"), lambda i: dt.time(i % 24, 59, 59, 999_000)),
    "time_us": (of("long", "time-micros"), lambda i: dt.time(i % 24, 59, 59, 999_999)),
    "at_ms": (of("long", "timestamp-millis"), lambda i: AT - dt.timedelta(days=400 * i)),
    "at_us": (["null", of("long", "timestamp-micros")],
              lambda i: AT + dt.timedelta(microseconds=i) if i % 5 else None),
    "at_ns": (of("long", "timestamp-nanos"), lambda i: 1_700_000_000_000_000_000 + i * 1000),
    "local_ms": (of("long", "local-timestamp-millis"), lambda i: 1_000 * i - 7),
    "local_us": (of("long", "local-timestamp-micros"), lambda i: -(10**15) + i),
    "local_ns": (of("long", "local-timestamp-nanos"), lambda i: -(10**18) + i * 1000),
    "id": (of("string", "uuid"), lambda i: str(UUID(int=i))),
    "id_raw": (fixed("id_t", 16, logicalType="uuid"), lambda i: UUID(int=i).bytes),
    "span": (fixed("span_t", 12, logicalType="duration"), lambda i: bytes([i] * 12)),
    "code": (fixed("code_t", 2), lambda i: bytes([i, 7])),
    "shift": ({"type": "enum", "name": "shift_t", "symbols": ["DAY", "NIGHT"]},
              lambda i: ["DAY", "NIGHT"][i % 2]),
    "rock": (["null", INNER], lambda i: None if i % 6 == 0 else
             {"grade": Decimal(i) / 1000, "at": AT if i % 2 else None, "tags": ["a", f"ñ{i}"]}),
    "either": ({"type": "array", "items": ["null", "long", "string"]},
               lambda i: [None, i, f"t{i}", '"quoted"'][: i % 5]),
    "sizes": ({"type": "map", "values": ["null", "double"]},
              lambda i: {f"k{n}": n / 3 if n else None for n in range(i % 4)}),
    "rings": ({"type": "map", "values": of("int", "time-millis")},
              lambda i: {"first": dt.time(6, i), "last": dt.time(18, i, 0, 1000)}),
    "stops": ({"type": "array", "items": of("long", "timestamp-millis")},
              lambda i: [AT, AT + dt.timedelta(milliseconds=i)][: i % 3]),
    "chain": (NODE, lambda i: {"value": i, "next": {"value": -i, "next": None}}),
}  # fmt: skip
ALL = {"type": "record", "name": "row",
       "fields": [{"name": name, "type": kind} for name, (kind, _) in KINDS.items()]}  # fmt: skip
MANY = [{name: make(i) for name, (_, make) in KINDS.items()} for i in range(40)]


@pytest.fixture(scope="module")
def yard() -> Iterator[Dropping]:
    with dropping() as made:
        yield made


@pytest.mark.parametrize("codec", CODECS)
def test_every_type_in_every_codec_is_exact_and_damage_is_told(codec: str, yard: Dropping) -> None:
    data = encoded(ALL, MANY, codec, every=700)
    files = with_damage(codec, data)
    became = yard.take_in(yard.declare(f"all_{codec}", "{name: avro}", data), files)
    good = became["a-good"]
    assert_same(good, by_fastavro(data))
    assert (len(good.rows), good.aside) == (len(MANY), {})
    assert became["z-good"].rows == good.rows
    for copy, found in became.items():
        how = copy.partition("-")[0]
        if found.is_aside:
            assert_kept(found, files[copy], RIGHT[how])
        elif found.rows != good.rows:
            assert how in ("cut", "flip")
            assert_same(found, by_fastavro(files[copy], found.rows_read))
            assert how == "cut" or codec not in CHECKED


def test_what_only_avro_can_say_is_set_aside_row_by_row(yard: Dropping) -> None:
    kinds = {
        "at_ns": of("long", "timestamp-nanos"), "price": of("bytes", "decimal", precision=3),
        "at": of("int", "time-millis"), "ratio": "double", "on": of("int", "date"),
    }  # fmt: skip
    bare = {name: k["type"] if isinstance(k, dict) else k for name, k in kinds.items()}
    sound = {"at_ns": 1000, "price": b"\x01", "at": 0, "ratio": 1.5, "on": 1}
    odd: list[dict[str, Any]] = [
        {"at_ns": 1001}, {"price": b"\x7f\xff"}, {"at": 86_400_000}, {"ratio": float("nan")},
        {"on": -(2**31)}, {},
    ]  # fmt: skip
    fields = [{"name": name, "type": kind} for name, kind in bare.items()]
    written = encoded({"type": "record", "name": "r", "fields": fields}, [sound | o for o in odd])
    schema = json.dumps({"type": "record", "name": "r",
                         "fields": [{"name": n, "type": k} for n, k in kinds.items()]})  # fmt: skip
    data = with_schema(written, schema.encode())
    became = yard.take_in(yard.declare("odd_rows", "{name: avro}", data), {"a": data})["a"]
    assert_same(became, by_fastavro(data))
    assert became.aside == {0: "does_not_fit", 1: "does_not_fit", 2: "does_not_fit",
                            3: "not_finite", 4: "not_an_instant"}  # fmt: skip


BEYOND: dict[str, tuple[Any, int | bytes]] = {
    "time": (of("int", "time-millis"), 86_400_000),
    "digits": (of("bytes", "decimal", precision=3, scale=1), b"\x7f\xff"),
    "nanos": (of("long", "timestamp-nanos"), 1001),
    "wraps": (of("long", "timestamp-millis"), 2**62),
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_does_not_fit_deep_inside_sets_its_row_aside(name: str, yard: Dropping) -> None:
    kind, raw = BEYOND[name]
    inner = {"type": "record", "name": "inner", "fields": [{"name": "x", "type": kind}]}
    deep = {"type": "map", "values": {"type": "array", "items": inner}}
    sound = b"\x01" if isinstance(raw, bytes) else 0
    rows = [{"deep": {"k": [{"x": sound}, {"x": value}]}} for value in (sound, raw, sound)]
    bare = json.loads(json.dumps(record(deep=deep)).replace("logicalType", "note"))
    data = with_schema(encoded(bare, rows), json.dumps(record(deep=deep)).encode())
    became = yard.take_in(yard.declare(f"deep_{name}", "{name: avro}", data), {"a": data})["a"]
    assert_same(became, by_fastavro(data))
    assert (len(became.rows), became.aside) == (2, {1: "does_not_fit"})


def test_rows_of_no_bytes_are_believed_up_to_a_bound(yard: Dropping) -> None:
    schema = record(a="null")
    good, bomb = (
        with_schema(encoded(schema, []), json.dumps(schema).encode()) + counted_block(rows)
        for rows in (70, 2**30)
    )
    became = yard.take_in(
        yard.declare("no_bytes", "{name: avro}", good), {"good": good, "bomb": bomb}
    )
    assert became["good"].rows == [{"a": None}] * 70
    assert_kept(became["bomb"], bomb, {"decompression_bomb"})


def counted_block(rows: int) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, "long", rows)
    return out.getvalue() + b"\0" + b"m" * 16


def with_schema(data: bytes, schema: bytes) -> bytes:
    """The same blocks under another schema."""
    blocks = data.index(b"m" * 16)
    out = io.BytesIO()
    out.write(b"Obj\x01")
    fastavro.schemaless_writer(out, {"type": "map", "values": "bytes"}, {"avro.schema": schema})
    return out.getvalue() + data[blocks:]


def record(**kinds: Any) -> dict[str, Any]:
    return {"type": "record", "name": "haul", "fields": [
        {"name": name, "type": kind} for name, kind in kinds.items()]}  # fmt: skip


def test_three_versions_of_a_schema_meet_by_name_in_one_table(yard: Dropping) -> None:
    shift = {"type": "enum", "name": "s", "symbols": ["DAY", "NIGHT"]}
    first = encoded(record(id="int", tons="float", shift=shift), [
        {"id": 1, "tons": 2.5, "shift": "DAY"}])  # fmt: skip
    second = encoded(record(driver=["null", "string"], shift="string", id="long", tons="double"), [
        {"id": 2**40, "tons": 0.1, "shift": "LATE", "driver": "ana"},
        {"id": 3, "tons": 0.2, "shift": "DAY", "driver": None}])  # fmt: skip
    third = encoded(record(tonnes="double", id="long", driver="string", shift="string",
                           at=of("long", "timestamp-millis")), [
        {"tonnes": 4.5, "id": 4, "driver": "bo", "shift": "NIGHT", "at": AT}])  # fmt: skip
    narrowed = encoded(record(id="string", tons="float", shift="string"), [
        {"id": "5", "tons": 1.0, "shift": "DAY"}])  # fmt: skip

    def since(version: str) -> list[dict[str, Any]]:
        return [{"property": "since", "value": version}]

    edits: Edits = {
        "id": {"physicalType": "bigint"},
        "tons": {"physicalType": "double",
                 "customProperties": [{"property": "aliases", "value": ["tonnes"]}]},
        "driver": {"physicalType": "varchar", "customProperties": since("1.1.0")},
        "at": {"physicalType": "timestamptz", "customProperties": since("1.2.0")},
    }  # fmt: skip
    route = yard.declare("evolving", "{name: avro}", first, edits)
    files = {"3": third, "1": first, "2": second, "4": narrowed}
    became = yard.take_in(route, files)
    at = round(AT.timestamp() * 1000) * 1000
    none = {"driver": None, "at": None}
    assert became["1"].rows == [{"id": 1, "tons": 2.5, "shift": "DAY", **none}]
    assert became["2"].rows == [
        {"id": 2**40, "tons": 0.1, "shift": "LATE", "driver": "ana", "at": None},
        {"id": 3, "tons": 0.2, "shift": "DAY", **none},
    ]
    assert became["3"].rows == [{"id": 4, "tons": 4.5, "shift": "NIGHT", "driver": "bo", "at": at}]
    assert_kept(became["4"], narrowed, {"schema_drift"})
    assert "retyped 'id'" in became["4"].error
