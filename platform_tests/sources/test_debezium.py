"""Debezium's events in files through the declared component: JSON with and without schema, Avro."""

import base64
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from platform_tests.sources.test_datastream import Event, Yard, opened_yard, record

TYPES = {"id": "bigint", "name": "varchar"}
MARK = "__debezium_unavailable_value"
AT = 1_700_000_000_123
WHEN = datetime(2023, 11, 14, 22, 13, 20, 123000, UTC)


@pytest.fixture(scope="module")
def yards() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


@pytest.fixture
def yard() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


def change(op: str, before: Event | None, after: Event | None, **source: Any) -> Event:
    told = {"connector": "postgresql", "name": "s", "ts_ms": AT, "db": "d", "schema": "app",
            "table": "truck", "lsn": 5, "snapshot": "false", **source}  # fmt: skip
    return {"op": op, "before": before, "after": after, "source": told, "ts_ms": AT + 9}


def lines(events: Sequence[Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def test_every_operation_and_what_is_none(yard: Yard) -> None:
    row = {"id": 1, "name": "a"}
    said = [
        change("c", None, row), change("u", None, row, lsn=6), change("d", row, None, lsn=7), None,
        change("r", None, row, snapshot="first", lsn=4), change("t", None, None, lsn=8),
        change("m", None, None), {"ts_ms": AT}, {"status": "BEGIN", "id": "1"},
        {"ddl": "create", "databaseName": "d"},
    ]  # fmt: skip
    (route,) = yard.declare("src", {"app.truck": TYPES})
    yard.drop("src", "topics/s.app.truck/partition=0/s.app.truck+0+0000000100.json", lines(said))
    yard.drop("src", "array", json.dumps(said, indent=2).encode())
    batches = yard.take_in([route])
    for batch in batches:
        assert yard.notes(route, batch) == [
            "1 heartbeats", "1 logical messages", "1 marks of transactions", "1 schema changes",
            "1 tombstones",
        ]  # fmt: skip
    found = yard.log(route)
    told = [(r["_op"], r["_position_lo"], r["_seq"], r["_is_snapshot"], r["id"]) for r in found]
    assert told == 2 * [("I", 5, 1, False, 1), ("U", 6, 1, False, 1), ("D", 7, 0, False, 1),
                        ("R", 4, -1, True, 1), ("T", 8, 1, False, None)]  # fmt: skip
    assert {r["_source_at"] for r in found} == {WHEN}
    assert [r["_event_id"] for r in found[:5]] == [r["_event_id"] for r in found[5:]]
    assert len({r["_event_id"] for r in found}) == 5


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ({"lsn": (0x16 << 32) + 9}, (0x16, 9, 1)),
        ({"lsn": None, "scn": "2122185", "rs_id": "001234.00012345.0124", "ssn": 1},
         (2122185, (0x1234 << 28 | 0x12345) << 12 | 0x124, 3)),
        ({"lsn": None, "file": "mysql-bin.000003", "pos": 154, "row": 2}, (3, 154, 5)),
        ({"lsn": None, "commit_lsn": "00000027:00000758:0005"}, (0x27_00000758, 5, 1)),
    ],
    ids=["postgres", "oracle", "mysql", "sqlserver"],
)  # fmt: skip
def test_a_position_is_numbers(source: Event, wanted: tuple[int, ...], yards: Yard) -> None:
    name = f"at_{len(list(yards.company.drops.iterdir()))}"
    (route,) = yards.declare(name, {"truck": TYPES})
    yards.drop(name, "x", lines([change("c", None, {"id": 1, "name": "a"}, **source)]))
    yards.take_in([route])
    (row,) = yards.log(route)
    assert (row["_position_hi"], row["_position_lo"], row["_seq"]) == wanted


def test_in_a_transaction_of_sql_server_changes_keep_their_order(yard: Yard) -> None:
    def at(op: str, row: Event, lsn: str, serial: int) -> Event:
        place = {"change_lsn": lsn, "commit_lsn": "00000027:00000ac0:0007"}
        gone, made = (row, None) if op == "d" else (None, row)
        return change(op, gone, made, lsn=None, event_serial_no=serial, **place)

    first, last = {"id": 1, "name": "a"}, {"id": 1, "name": "z"}
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", lines([
        at("u", last, "00000027:00000ac0:0002", 2), at("c", first, "00000026:ffffffff:0003", 1),
    ]))  # fmt: skip
    yard.take_in([route])
    assert yard.state(route, "name") == [{"name": "z"}]


def test_a_key_change_is_two_halves_that_follow_one_another(yard: Yard) -> None:
    old, new = {"id": 1, "name": "a"}, {"id": 2, "name": MARK}
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "1", lines([change("c", None, old, lsn=4)]))
    yard.drop("src", "2", lines([change("c", None, new), change("d", old, None), None]))
    yard.take_in([route])
    found = yard.log(route, "_op, _is_key_change, _seq, id, name, _missing")[1:]
    assert [tuple(row.values()) for row in found] == [
        ("I", True, 1, 2, None, "name"), ("D", True, 0, 1, "a", None),
    ]  # fmt: skip
    state = {row["id"]: (row["name"], row["is_deleted"]) for row in yard.state(route)}
    assert state[2] == ("a", False)
    assert state[1][1] is True


def test_an_update_that_says_another_key_becomes_the_two_halves(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", lines([change("u", {"id": 1, "name": "a"}, {"id": 2, "name": "a"})]))
    yard.take_in([route])
    found = yard.log(route, "_op, _is_key_change, _seq, id")
    assert [tuple(row.values()) for row in found] == [("D", True, 0, 1), ("I", True, 1, 2)]


def test_a_value_that_was_not_sent_is_the_old_rows_or_missing(yard: Yard) -> None:
    types = {"id": "bigint", "t": "varchar", "b": "blob", "l": "varchar[]"}
    sent = {"id": 1, "t": "x", "b": "AP8=", "l": ["y"]}
    gone = {"id": 1, "t": MARK, "b": base64.b64encode(MARK.encode()).decode(), "l": [MARK]}
    (route,) = yard.declare("src", {"truck": types}, binary="base64")
    yard.drop("src", "1", lines([change("c", None, sent, lsn=1), change("u", None, gone, lsn=2)]))
    yard.drop("src", "2", lines([change("u", sent, gone, lsn=3)]))
    yard.take_in([route])
    found = yard.log(route, "t, b, l, _missing")
    assert [row["_missing"] for row in found] == [None, "t,b,l", None]
    assert found[1]["t"] is None
    assert found[2]["t"] == "x"
    assert yard.state(route, "t, b, l") == [{"t": "x", "b": b"\0\xff", "l": ["y"]}]


def test_the_marker_is_configurable(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES}, unavailable="<none>")
    rows = [{"id": 1, "name": "<none>"}, {"id": 2, "name": MARK}]
    yard.drop("src", "x", lines([change("u", None, row) for row in rows]))
    yard.take_in([route])
    assert [row["_missing"] for row in yard.log(route)] == ["name", None]
    assert yard.log(route)[1]["name"] == MARK


def field(kind: str, name: str = "", **parameters: str) -> Event:
    semantic = {"name": name, "parameters": parameters} if name else {}
    return {"field": "v", "type": kind, "optional": True, **semantic}


T, CONNECT = "io.debezium.time.", "org.apache.kafka.connect.data."
DAYS, US = 19_000, 1_700_000_000_123_456
SEMANTIC: dict[str, tuple[Event, Any, str, Any]] = {
    "days": (field("int32", f"{T}Date"), DAYS, "date", date(2022, 1, 8)),
    "connect_days": (field("int32", f"{CONNECT}Date"), DAYS, "date", date(2022, 1, 8)),
    "iso_date": (field("string", f"{T}IsoDate"), "2022-01-08Z", "date", date(2022, 1, 8)),
    "millis": (field("int64", f"{T}Timestamp"), AT, "timestamp", WHEN.replace(tzinfo=None)),
    "micros": (field("int64", f"{T}MicroTimestamp"), US, "timestamp",
               datetime(2023, 11, 14, 22, 13, 20, 123456)),
    "nanos": (field("int64", f"{T}NanoTimestamp"), US * 1000, "timestamptz",
              datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
    "too_fine": (field("int64", f"{T}NanoTimestamp"), US * 1000 + 1, "timestamptz", None),
    "iso": (field("string", f"{T}IsoTimestamp"), "2023-11-14T22:13:20.123Z", "timestamp",
            WHEN.replace(tzinfo=None)),
    "zoned": (field("string", f"{T}ZonedTimestamp"), "2023-11-14T23:13:20.123+01:00",
              "timestamptz", WHEN),
    "time_millis": (field("int32", f"{T}Time"), 1500, "time", time(0, 0, 1, 500000)),
    "time_micros": (field("int64", f"{T}MicroTime"), 1500, "time", time(0, 0, 0, 1500)),
    "time_nanos": (field("int64", f"{T}NanoTime"), 1_500_000, "time", time(0, 0, 0, 1500)),
    "duration": (field("int64", f"{T}MicroDuration"), 5, "bigint", 5),
    "decimal": (field("bytes", f"{CONNECT}Decimal", scale="2"), "AMg=", "decimal(10,2)",
                Decimal("2.00")),
    "negative": (field("bytes", f"{CONNECT}Decimal", scale="2"), "/zg=", "decimal(10,2)",
                 Decimal("-2.00")),
    "variable": (field("struct", "io.debezium.data.VariableScaleDecimal"),
                 {"scale": 3, "value": "AMg="}, "decimal(10,3)", Decimal("0.200")),
    "decimal_text": (field("string"), "1.50", "decimal(10,2)", Decimal("1.50")),
    "decimal_double": (field("double"), 1.5, "decimal(10,2)", Decimal("1.50")),
    "bytes": (field("bytes"), "AP8=", "blob", b"\0\xff"),
    "geometry": (field("struct", "io.debezium.data.geometry.Geometry"),
                 {"wkb": "AP8=", "srid": 4326}, "varchar", '{"wkb": "AP8=", "srid": 4326}'),
    "wkb": (field("struct", "io.debezium.data.geometry.Geometry"),
            {"wkb": "AP8=", "srid": None}, "blob", b"\0\xff"),
    "json": (field("string", "io.debezium.data.Json"), '{"a":1}', "json", '{"a":1}'),
    "array": ({"field": "v", "type": "array"}, [1, None], "integer[]", [1, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", SEMANTIC)
def test_a_schema_says_how_a_value_is_meant(name: str, yards: Yard) -> None:
    told, value, kind, wanted = SEMANTIC[name]
    row = {"type": "struct", "fields": [{"field": "id", "type": "int64"}, told]}
    schema = {"type": "struct", "name": "s.app.truck.Envelope", "fields": [
        {**row, "field": "before"}, {**row, "field": "after"}]}  # fmt: skip
    (route,) = yards.declare(name, {"truck": {"id": "bigint", "v": kind}})
    payload = change("c", None, {"id": 1, "v": value})
    yards.drop(name, "x", lines([{"schema": schema, "payload": payload}]))
    yards.take_in([route])
    assert [row["v"] for row in yards.log(route)] == ([] if wanted is None else [wanted])
    assert len(yards.rejects(route)) == (wanted is None)


@pytest.mark.parametrize(
    ("kind", "value", "said", "wanted"),
    [
        ("date", DAYS, {}, date(2022, 1, 8)),
        ("timestamp", AT, {"times": "millis"}, WHEN.replace(tzinfo=None)),
        ("timestamp", AT, {}, "undeclared"),
        ("timestamptz", "2023-11-14T22:13:20.123Z", {}, WHEN),
        ("time", 1500, {"times": "micros"}, time(0, 0, 0, 1500)),
        ("time", 1500, {}, "undeclared"),
        ("decimal(10,2)", "AMg=", {"decimals": "precise"}, Decimal("2.00")),
        ("decimal(10,2)", "1234", {"decimals": "string"}, Decimal("1234")),
        ("decimal(10,2)", "1234", {}, "undeclared"),
        ("decimal(10,2)", 1.5, {}, Decimal("1.50")),
        ("decimal(10,3)", {"scale": 3, "value": "AMg="}, {}, Decimal("0.200")),
        ("blob", "00ff", {"binary": "hex"}, b"\0\xff"),
        ("blob", "00ff", {}, "undeclared"),
    ],
)
def test_without_a_schema_nothing_is_guessed(
    kind: str, value: Any, said: Event, wanted: Any, yards: Yard
) -> None:
    name = f"bare_{len(list(yards.company.drops.iterdir()))}"
    (route,) = yards.declare(name, {"truck": {"id": "bigint", "v": kind}}, **said)
    yards.drop(name, "x", lines([change("c", None, {"id": 1, "v": value})]))
    (batch,) = yards.take_in([route])
    if wanted == "undeclared":
        assert (batch["state"], batch["reason"]) == ("quarantined", "undeclared")
    else:
        assert [row["v"] for row in yards.log(route)] == [wanted]


def test_avro_comes_as_json_does(yard: Yard) -> None:
    def noted(kind: str, name: str, **more: Any) -> Event:
        return {"type": kind, "connect.name": name, **more}

    row = record("Value", [
        {"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]},
        {"name": "day", "type": noted("int", f"{T}Date")},
        {"name": "at", "type": noted("long", f"{T}MicroTimestamp")},
        {"name": "price", "type": noted("bytes", f"{CONNECT}Decimal", logicalType="decimal",
                                        precision=10, scale=2)},
        {"name": "raw", "type": "bytes"},
    ])  # fmt: skip
    source = record("Source", [{"name": n, "type": ["null", t]} for n, t in {
        "name": "string", "schema": "string", "table": "string", "lsn": "long", "ts_ms": "long",
        "snapshot": "string"}.items()])  # fmt: skip
    schema = record("Envelope", [
        {"name": "before", "type": ["null", row]}, {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": source}, {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": ["null", "long"]},
    ])  # fmt: skip
    value = {"id": 1, "name": MARK, "day": DAYS, "at": US, "price": Decimal("1.50"), "raw": b"\xff"}
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(schema), [change("u", None, value)])
    types = {**TYPES, "day": "date", "at": "timestamp", "price": "decimal(10,2)", "raw": "blob"}
    (route,) = yard.declare("src", {"app.truck": types})
    yard.drop("src", "x.avro", file.getvalue())
    yard.take_in([route])
    (row,) = yard.log(route)
    assert (row["day"], row["price"], row["raw"]) == (date(2022, 1, 8), Decimal("1.50"), b"\xff")
    assert row["at"] == datetime(2023, 11, 14, 22, 13, 20, 123456)
    assert (row["name"], row["_missing"], row["_op"]) == (None, "name", "U")


def test_flattened_rows_are_read_where_they_say_enough(yard: Yard) -> None:
    added = {"__op": "u", "__source_lsn": 7, "__source_ts_ms": AT, "__table": "truck"}
    said = [{"id": 1, "name": "a", **added}, {"id": 2, "name": "b", **added, "__deleted": "true"},
            {"id": 3, "name": "c", "__op": "u"}]  # fmt: skip
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", lines(said))
    yard.take_in([route])
    found = yard.log(route, "id, _op, _position_lo")
    assert [tuple(row.values()) for row in found] == [(1, "U", 7), (2, "D", 7)]
    assert [why for why, _ in yard.rejects(route)] == ["no_position"]


def test_what_cannot_be_read_is_refused_with_its_reason(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    files = {
        "confluent": b"\0\0\0\0\x07\x02a", "wal2json": b'{"action":"B"}\n{"action":"C"}\n',
        "wal2json.1": b'{"change":[]}\n',
    }  # fmt: skip
    for name, data in files.items():
        yard.drop("src", name, data)
    reasons = {batch["object"]: batch["reason"] for batch in yard.take_in([route])}
    assert reasons == {"confluent": "no_schema", "wal2json": "wal2json", "wal2json.1": "wal2json"}


def test_a_table_without_a_key_is_known_by_its_rows(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES}, key=())
    old, new = {"id": 1, "name": "a"}, {"id": 1, "name": "b"}
    yard.drop("src", "x", lines([change("c", None, old, lsn=1), change("u", old, new, lsn=2)]))
    yard.take_in([route])
    state = {row["name"]: row["is_deleted"] for row in yard.state(route)}
    assert state == {"a": True, "b": False}
