"""Datastream files through the declared component, on DuckDB: Avro and JSON, of four databases."""

import contextlib
import gzip
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml
from platform_tests.company import Company, at_home

from malacate.components.declared import raw_assets
from malacate.ingest import Route

AT = datetime(2026, 11, 3, 6, 7, 8, 9000, tzinfo=UTC)
TYPES = {"id": "bigint", "name": "varchar"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
META = {
    "schema": "string", "table": "string", "database": "string", "is_deleted": "boolean",
    "change_type": "string", "lsn": "string", "scn": "long", "ssn": "long", "rs_id": "string",
    "log_file": "string", "log_position": "long",
}  # fmt: skip
Event = dict[str, Any]


@dataclass
class Yard:
    """A company with change files, and what became of them."""

    company: Company

    def declare(
        self, source: str, tables: Mapping[str, Mapping[str, str]], key: Sequence[str] = ("id",),
        files: Sequence[str] = ("*",), physical: str = "", **said: Any,
    ) -> list[Route]:  # fmt: skip
        """Tables by name: the SQL type of each column, by the name at its source."""
        home = f"defs/{source}"
        keyless = {} if key else {"keyless": "row_hash"}
        attributes = {
            "source": source, "folder": str(self.company.drops / source), **said,
            "tables": [{"name": name.partition(".")[2].lower() or name, "files": list(files),
                        **keyless} for name in tables],
        }  # fmt: skip
        declared = {"type": "malacate.components.ChangeFiles", "attributes": attributes}
        self.company.write(f"{home}/defs.yaml", yaml.safe_dump(declared))
        contract = contract_of(source, tables, key, physical)
        self.company.write(f"{home}/contract.odcs.yaml", yaml.safe_dump(contract))
        return [one.route for one in raw_assets(self.company.package / home)]

    def drop(self, source: str, name: str, data: bytes) -> None:
        self.company.drop(f"{source}/{name}", data)

    def take_in(self, routes: Sequence[Route]) -> list[dict[str, Any]]:
        """Run the routes; every batch that ended."""
        ingest = self.company.ingest
        done: list[dict[str, Any]] = []
        for route in routes:
            done += ingest.run(route).batches
        return done

    def log(self, route: Route, columns: str = "*") -> list[dict[str, Any]]:
        return self._rows(
            f"select {columns} from {route.table.name} order by _file, _file_row, _seq"
        )

    def state(self, route: Route, columns: str = "*") -> list[dict[str, Any]]:
        assert route.derives is not None
        return self._rows(f"select {columns} from {route.derives.target.name} order by 1")

    def rejects(self, route: Route) -> list[tuple[str, bytes]]:
        name = route.table.name
        query = (
            "select q.reason, q.raw from malacate.quarantine q join malacate.loads l "
            f"using (batch_id) where l.schema_name = '{name.schema}' "
            f"and l.table_name = '{name.table}' order by l.object, q.position"
        )
        return [(row["reason"], row["raw"]) for row in self._rows(query)]

    def notes(self, route: Route, batch: Mapping[str, Any]) -> list[str]:
        name = route.table.name
        landing = self.company.ingest.lake.landed(name.schema, name.table, str(batch["batch_id"]))
        return [] if landing is None else [str(one["detail"]) for one in landing.evolutions]

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return list(self.company.ingest.warehouse.query(query).to_pylist())


def contract_of(
    source: str, tables: Mapping[str, Mapping[str, str]], key: Sequence[str], physical: str
) -> dict[str, Any]:
    def column(name: str, kind: str) -> dict[str, Any]:
        own = {"name": name.lower(), "physicalName": name, "physicalType": kind}
        return {**own, "primaryKey": True} if name in key else own

    return {
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": source, "version": "1.0.0",
        "status": "active",
        "schema": [
            {"name": name.partition(".")[2].lower() or name, "physicalName": physical or name,
             "properties": [column(*one) for one in columns.items()]}
            for name, columns in tables.items()
        ],
    }  # fmt: skip


@contextlib.contextmanager
def opened_yard() -> Iterator[Yard]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        with at_home(company):
            yield Yard(company)


@pytest.fixture
def yard() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


def event(number: int, row: Event | None, kind: str | None = "INSERT", **facts: Any) -> Event:
    """One of Postgres's, unless facts say otherwise."""
    method = facts.pop("method", "postgresql-cdc")
    at = facts.pop("at", AT)
    lsn = facts.pop("lsn", f"0/{number:X}")
    meta = {"schema": "app", "table": "truck", "is_deleted": "DELETE" in (kind or ""),
            "change_type": kind, "lsn": lsn, **facts}  # fmt: skip
    return {
        "uuid": f"u{number}", "read_timestamp": at, "source_timestamp": at, "object": "app_truck",
        "read_method": method, "source_metadata": meta, "payload": row,
    }  # fmt: skip


def avro(events: Sequence[Event], payload: Sequence[Event], codec: str = "null") -> bytes:
    """A file of today's layout."""
    schema = record("app_truck", [
        *({"name": n, "type": "string"} for n in ("uuid", "object", "read_method")),
        {"name": "read_timestamp", "type": MILLIS}, {"name": "source_timestamp", "type": MILLIS},
        {"name": "sort_keys", "type": {"type": "array", "items": ["string", "long"]}},
        {"name": "source_metadata", "type": record("source_metadata", [
            {"name": n, "type": ["null", t]} for n, t in META.items()])},
        {"name": "payload", "type": ["null", record("payload", payload)]},
    ])  # fmt: skip
    told = [{**e, "sort_keys": [1, "", -(1 << 40), "é" * (i % 3)]} for i, e in enumerate(events)]
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(schema), told, codec=codec)
    return file.getvalue()


def record(name: str, fields: Sequence[Event]) -> Event:
    return {"type": "record", "name": name, "fields": list(fields)}


TRUCK = [{"name": "id", "type": ["null", "long"]}, {"name": "name", "type": ["null", "string"]}]


def lines(events: Sequence[Event]) -> bytes:
    return b"".join(json.dumps(one, default=str).encode() + b"\n" for one in events)


ENVELOPE = "_op, _is_key_change, _position_hi, _position_lo, _seq, _is_snapshot, _event_id"


def test_avro_and_json_of_the_same_events_are_the_same_log(yard: Yard) -> None:
    events = [
        event(1, {"id": 1, "name": "a"}), event(2, {"id": 1, "name": None}, "UPDATE"),
        event(3, {"id": 1, "name": None}, "DELETE"), event(4, {"id": 2, "name": "ñ"}, None),
        event(5, {"id": 3, "name": "b"}, "INSERT", method="postgresql-backfill", lsn=None),
    ]  # fmt: skip
    kinds = {
        "avro": avro(events, TRUCK), "deflated": avro(events, TRUCK, "deflate"),
        "lines": lines(events), "array": json.dumps(events, default=str, indent=1).encode(),
        "packed": gzip.compress(lines(events)),
    }  # fmt: skip
    logs = {}
    for name, data in kinds.items():
        (route,) = yard.declare(name, {"app.truck": TYPES})
        yard.drop(name, "app_truck/2026/11/03/06/05/x", data)
        (batch,) = yard.take_in([route])
        assert (batch["state"], batch["rows_loaded"], batch["rows_quarantined"]) == ("loaded", 5, 0)
        logs[name] = yard.log(route, f"id, name, {ENVELOPE}, _source_at, _read_at, _file_row")
    assert all(log == logs["avro"] for log in logs.values())
    assert [row["_op"] for row in logs["avro"]] == ["I", "U", "D", "U", "R"]
    folder = datetime(2026, 11, 3, 6, 5, tzinfo=UTC)
    assert [row["_source_at"] for row in logs["avro"]] == [AT] * 4 + [folder]


def test_fields_come_in_any_order_and_old_layouts_lack_some(yard: Yard) -> None:
    """And have their logical types on the field, as the oldest files do."""
    fields = [
        {"name": "payload", "type": record("p", [
            {"name": "name", "type": ["null", record("varchar", [
                {"name": "value", "type": "string"}, {"name": "length", "type": "int"}])]},
            {"name": "id", "type": ["null", "long"]}])},
        {"name": "source_metadata", "type": record("m", [
            {"name": n, "type": "string"} for n in ("lsn", "table", "schema")])},
        {"name": "source_timestamp", "type": "long", "logicalType": "timestamp-millis"},
        {"name": "read_method", "type": "string"}, {"name": "uuid", "type": "string"},
    ]  # fmt: skip
    told = {
        "uuid": "u", "read_method": "postgresql-cdc", "payload":
        {"id": 1, "name": {"value": "a", "length": 9}},
        "source_timestamp": int(AT.timestamp() * 1000),
        "source_metadata": {"lsn": "F/1", "table": "truck", "schema": "app"},
    }  # fmt: skip
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(record("old", fields)), [told])
    (route,) = yard.declare("old", {"app.truck": TYPES})
    yard.drop("old", "x", file.getvalue())
    yard.take_in([route])
    (row,) = yard.log(route)
    assert (row["id"], row["name"], row["_op"], row["_source_at"]) == (1, "a", "U", AT)
    assert (row["_position_hi"], row["_position_lo"], row["_read_at"]) == (15, 1, None)


@pytest.mark.parametrize(
    ("facts", "position"),
    [
        ({"lsn": "16/CB002DB0"}, (0x16, 0xCB002DB0, 1)),
        ({"lsn": "00000025:00000728:0003", "method": "sqlserver-cdc"}, (0x25_00000728, 3, 1)),
        ({"lsn": None, "scn": 382470, "rs_id": " 0x000004.00000705.0010 ", "ssn": 2,
          "method": "oracle-cdc-logminer"}, (382470, (4 << 28 | 0x705) << 12 | 0x10, 5)),
        ({"lsn": None, "log_file": "mysql-bin.1000000", "log_position": 5700,
          "method": "mysql-cdc-binlog"}, (1000000, 5700, 1)),
    ],
    ids=["postgres", "sqlserver", "oracle", "mysql"],
)  # fmt: skip
def test_a_position_is_numbers(facts: Event, position: tuple[int, ...], yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "a", avro([event(1, {"id": 1, "name": "a"}, **facts)], TRUCK))
    yard.drop("src", "b", lines([event(1, {"id": 1, "name": "a"}, **facts)]))
    yard.take_in([route])
    found = yard.log(route)
    assert [(r["_position_hi"], r["_position_lo"], r["_seq"]) for r in found] == [position] * 2


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"lsn": None}, "no_position"),
        ({"lsn": "zz"}, "bad_position"),
        ({"kind": "MERGED"}, "unknown_operation"),
        ({"row": None, "kind": "DELETE"}, "no_key"),
        ({"row": {"id": None, "name": "a"}}, "no_key"),
        ({"table": "tractor"}, "other_table"),
    ],
)
def test_an_event_that_cannot_be_placed_is_set_aside_whole(
    facts: Event, reason: str, yard: Yard
) -> None:
    row = facts.pop("row", {"id": 1, "name": "a"})
    good, bad = (
        event(9, {"id": 9, "name": "z"}),
        event(1, row, facts.pop("kind", "INSERT"), **facts),
    )
    (route,) = yard.declare("src", {"app.truck": TYPES})
    yard.drop("src", "a", lines([bad, good]))
    yard.drop("src", "b", avro([good, bad], TRUCK))
    yard.take_in([route])
    assert [row["id"] for row in yard.log(route)] == [9, 9]
    first, second = yard.rejects(route)
    assert first == (reason, lines([bad]).strip())
    assert second[0] == reason
    assert b"u1" in second[1]


def test_a_truncate_has_no_row(yard: Yard) -> None:
    (route,) = yard.declare("src", {"app.truck": TYPES})
    yard.drop("src", "a", lines([event(1, None, "TRUNCATE")]))
    yard.take_in([route])
    assert [(row["_op"], row["id"]) for row in yard.log(route)] == [("T", None)]


def test_mysql_says_update_insert_of_every_update_and_only_a_pair_is_a_key_change(
    yard: Yard,
) -> None:
    def at(number: int, place: int, row: int, kind: str) -> Event:
        facts = {"lsn": None, "log_file": "b.1", "log_position": place}
        return event(number, {"id": row, "name": ""}, kind, method="mysql-cdc-binlog", **facts)

    pair = [at(1, 10, 1, "UPDATE-INSERT"), at(2, 10, 7, "UPDATE-DELETE")]
    mixed = [at(4, 30, 1, "UPDATE-INSERT"), at(5, 30, 2, "UPDATE-INSERT"),
             at(6, 30, 3, "UPDATE-DELETE")]  # fmt: skip
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "a", lines([*pair, at(3, 20, 2, "UPDATE-INSERT"), *mixed]))
    (batch,) = yard.take_in([route])
    found = {row["_event_id"]: row for row in yard.log(route)}
    told = {name: (r["_op"], r["_is_key_change"], r["_seq"]) for name, r in found.items()}
    assert told == {
        "u1": ("I", True, 1), "u2": ("D", True, 0), "u3": ("U", False, 1), "u4": ("U", False, 1),
        "u5": ("U", False, 1), "u6": ("D", True, 0),
    }  # fmt: skip
    assert any("not every row moved its key" in note for note in yard.notes(route, batch))


def test_elsewhere_update_insert_is_half_of_a_key_change_by_itself(yard: Yard) -> None:
    facts = {"lsn": None, "scn": 9, "method": "oracle-cdc-logminer"}
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "a", lines([event(1, {"id": 1, "name": ""}, "UPDATE-INSERT", **facts)]))
    yard.take_in([route])
    assert [(r["_op"], r["_is_key_change"]) for r in yard.log(route)] == [("I", True)]


def test_events_go_by_their_own_table_where_two_share_a_folder(yard: Yard) -> None:
    """``a_b.c`` and ``a.b_c``: each route takes its own, and nobody's is set aside by both."""

    def of(number: int, schema: str, table: str) -> Event:
        return event(number, {"id": number, "name": ""}, schema=schema, table=table)

    routes = yard.declare("src", {"a_b.c": TYPES, "a.b_c": TYPES}, files=["a_b_c/*"])
    yard.drop("src", "a_b_c/x", lines([of(1, "a_b", "c"), of(2, "a", "b_c"), of(3, "a", "b")]))
    first, second = yard.take_in(routes)
    assert [[row["id"] for row in yard.log(route)] for route in routes] == [[1], [2]]
    assert [[why for why, _ in yard.rejects(route)] for route in routes] == [["other_table"]] * 2
    assert yard.notes(routes[0], first) == ["1 events of a.b_c, which another route takes"]
    assert yard.notes(routes[1], second) == ["1 events of a_b.c, which another route takes"]


def test_folder_objects_are_passed_over_and_late_files_are_found(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "app_truck/2026/11/03/06/05/x", lines([event(2, {"id": 1, "name": "new"})]))
    (yard.company.drops / "src/app_truck/2026/11/03/06/06").mkdir()
    yard.take_in([route])
    yard.drop("src", "app_truck/2020/01/01/00/00/x", lines([event(1, {"id": 1, "name": "old"})]))
    assert {batch["state"] for batch in yard.take_in([route])} == {"loaded"}
    assert yard.state(route, "id, name") == [{"id": 1, "name": "new"}]


def test_json_that_is_damaged_is_set_aside_line_by_line_or_whole(yard: Yard) -> None:
    good = lines([event(1, {"id": 1, "name": "a"})])
    cut = lines([event(2, {"id": 2, "name": "b"})])[:-9]
    (route,) = yard.declare("src", {"app.truck": TYPES})
    files = {
        "1-first": cut + b"\n" + good, "2-last": good + cut, "3-array": b"[" + good + b",",
        "4-text": b"id;name\n1;a\n", "5-empty": b"", "6-half": b"[" + good + b"," + cut,
        "7-not": b'{"a": 1}\n' + good, "8-null": b"null\n" + good,
    }  # fmt: skip
    for name, data in files.items():
        yard.drop("src", name, data)
    states = {b["object"]: (b["state"], b["reason"] or "") for b in yard.take_in([route])}
    assert states == {
        "1-first": ("loaded", ""), "2-last": ("loaded", ""),
        "3-array": ("quarantined", "truncated"),
        "4-text": ("quarantined", "bad_json"), "5-empty": ("quarantined", "empty_object"),
        "6-half": ("quarantined", "truncated"), "7-not": ("loaded", ""), "8-null": ("loaded", ""),
    }  # fmt: skip
    reasons = ["bad_json", "bad_json", "not_a_change", "not_a_change"]
    assert [why for why, _ in yard.rejects(route)] == reasons
    assert yard.rejects(route)[0][1] == cut
    assert len(yard.log(route)) == 4


def test_what_json_does_not_send_is_missing_and_not_null(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "a", lines([event(1, {"id": 1, "name": "a"}), event(2, {"id": 1}, "UPDATE")]))
    yard.take_in([route])
    assert [row["_missing"] for row in yard.log(route)] == [None, "name"]
    assert yard.state(route, "id, name") == [{"id": 1, "name": "a"}]


def test_a_payload_that_drifts_puts_its_file_aside(yard: Yard) -> None:
    (route,) = yard.declare("src", {"truck": TYPES})
    more = [*TRUCK, {"name": "color", "type": ["null", "string"]}]
    retyped = [TRUCK[0], {"name": "name", "type": ["null", "long"]}]
    row = {"id": 1, "name": "a", "color": "red"}
    yard.drop("src", "a", avro([event(1, row)], more))
    yard.drop("src", "b", lines([event(1, row)]))
    yard.drop("src", "c", avro([event(1, {"id": 1, "name": 5})], retyped))
    batches = yard.take_in([route])
    assert [batch["reason"] for batch in batches] == ["schema_drift"] * 3
    assert "color" in str(batches[0]["error"])


MICROS = {"type": "long", "logicalType": "timestamp-micros"}
ZONED = record("timestampTz", [
    {"name": "timestamp", "type": MICROS}, {"name": "offset", "type": "int"}])  # fmt: skip
NESTED = record("multidimensionalArray_x", [
    {"name": "nestedArray",
     "type": ["null", {"type": "array", "items": "multidimensionalArray_x"}]},
    {"name": "elementValue", "type": ["null", "int"]}])  # fmt: skip
PARTS = {part: record(part, [{"name": n, "type": "long" if n in ("time", "micros") else "int"}
                             for n in names]) for part, names in {
    "timeTz": ("time", "offset"), "interval": ("months", "hours", "micros"),
    "calendarDate": ("year", "month", "day"), "year": ("year",), "datetime": ("date", "time"),
}.items()}  # fmt: skip
US = 1_700_000_000_123_456
DAY = 19_000 * 86_400_000_000
UNIFIED: dict[str, tuple[Any, str, Any, Any]] = {
    "date_of_micros": (MICROS, "date", DAY, date(2022, 1, 8)),
    "date_not_midnight": (MICROS, "date", DAY + 1, "does_not_fit"),
    "local": (MICROS, "timestamp", US, datetime(2023, 11, 14, 22, 13, 20, 123456)),
    "instant": (MICROS, "timestamptz", US, datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
    "infinity": (MICROS, "timestamptz", 9223372036825200000, "not_an_instant"),
    "infinity_text": (MICROS, "varchar", -9223372036832400000, "-infinity"),
    "number": ({"type": "string", "logicalType": "number"}, "decimal(20,0)",
               "18446744073709551615", Decimal(18446744073709551615)),
    "number_too_wide": ({"type": "string", "logicalType": "number"}, "decimal(4,2)", "1.234",
                        "does_not_fit"),
    "varchar": ({"type": "string", "logicalType": "varchar", "length": 9}, "varchar", "a", "a"),
    "json": ({"type": "string", "logicalType": "json"}, "json", '{"a":1}', '{"a":1}'),
    "narrow": ("long", "integer", 7, 7),
    "too_narrow": ("long", "integer", 1 << 40, "does_not_fit"),
    "bool": ("int", "boolean", 1, True),
    "no_bool": ("int", "boolean", 2, "does_not_fit"),
    "decimal": ({"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2},
                "decimal(12,2)", Decimal("-12.34"), Decimal("-12.34")),
    "time": ({"type": "long", "logicalType": "time-interval-micros"}, "time", 5, time(0, 0, 0, 5)),
    "time_beyond": ({"type": "long", "logicalType": "time-interval-micros"}, "time", -1,
                    "does_not_fit"),
    "time_text": ({"type": "long", "logicalType": "time-interval-micros"}, "varchar",
                  -(30 * 3600 * 10**6 + 5), "-30:00:00.000005"),
    "time_micros": ({"type": "long", "logicalType": "time-micros"}, "time", 5, time(0, 0, 0, 5)),
    "hex": ("string", "blob", "00ff", b"\0\xff"),
    "no_hex": ("string", "blob", "zz", "does_not_fit"),
    "bytes": ("bytes", "blob", b"\0\xff", b"\0\xff"),
    "zoned": (ZONED, "timestamptz", {"timestamp": US, "offset": 3_600_000},
              datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)),
    "zoned_text": (ZONED, "varchar", {"timestamp": US, "offset": 3_600_000},
                   "2023-11-14T23:13:20.123456+01:00"),
    "time_tz": (PARTS["timeTz"], "varchar", {"time": 3_600_000_000, "offset": 3_600_000},
                "01:00:00.000000+0100"),
    "interval": (PARTS["interval"], "varchar", {"months": 14, "hours": 2, "micros": 5},
                 "P14MT2H0.000005S"),
    "calendar": (PARTS["calendarDate"], "date", {"year": 2022, "month": 1, "day": 8},
                 date(2022, 1, 8)),
    "no_date": (PARTS["calendarDate"], "date", {"year": 2022, "month": 2, "day": 30},
                "does_not_fit"),
    "year": (PARTS["year"], "integer", {"year": 2022}, 2022),
    "datetime": (PARTS["datetime"], "timestamp", {"date": 19_000, "time": 5},
                 datetime(2022, 1, 8, 0, 0, 0, 5)),
    "array": (NESTED, "integer[]", {"nestedArray": [
        {"nestedArray": None, "elementValue": 1}, {"nestedArray": None, "elementValue": None}],
        "elementValue": None}, [1, None]),
    "array_of_arrays": (NESTED, "integer[][]", {"nestedArray": [
        {"nestedArray": [{"nestedArray": None, "elementValue": 1}], "elementValue": None}],
        "elementValue": None}, [[1]]),
    "array_text": (NESTED, "varchar", {"nestedArray": [
        {"nestedArray": None, "elementValue": 1}], "elementValue": None}, "[1]"),
    "plain_array": ({"type": "array", "items": "long"}, "bigint[]", [1, 2], [1, 2]),
    "union": (["null", "string", "long"], "varchar", 5, "5"),
}  # fmt: skip


@pytest.fixture(scope="module")
def types_yard() -> Iterator[Yard]:
    with opened_yard() as made:
        yield made


@pytest.mark.parametrize("name", UNIFIED)
def test_a_unified_type_comes_exactly_or_sets_its_event_aside(name: str, types_yard: Yard) -> None:
    schema, kind, value, wanted = UNIFIED[name]
    union = schema if isinstance(schema, list) else ["null", schema]
    fields = [TRUCK[0], {"name": "v", "type": union}]
    (route,) = types_yard.declare(name, {"truck": {"id": "bigint", "v": kind}})
    rows = [{"id": 1, "v": None}, {"id": 2, "v": value}, {"id": 3, "v": None}]
    types_yard.drop(name, "x", avro([event(i, row) for i, row in enumerate(rows)], fields))
    (batch,) = types_yard.take_in([route])
    assert batch["state"] == "loaded", batch["error"]
    found = {row["id"]: row["v"] for row in types_yard.log(route)}
    reasons = [why for why, _ in types_yard.rejects(route)]
    if 2 in found:
        assert (found, reasons) == ({1: None, 2: wanted, 3: None}, [])
    else:
        assert (found, reasons) == ({1: None, 3: None}, [wanted])


@pytest.mark.parametrize(
    ("kind", "value", "wanted"),
    [
        ("date", "2022-01-08T00:00:00.000Z", date(2022, 1, 8)),
        ("date", "2022-01-08", date(2022, 1, 8)),
        ("date", "2022-01-08T00:00:01Z", None),
        ("timestamp", "2022-01-08T01:02:03.004Z", datetime(2022, 1, 8, 1, 2, 3, 4000)),
        ("timestamp", "2022-01-08T01:02:03+02:00", None),
        ("timestamptz", "2022-01-08T01:02:03.000000000Z", datetime(2022, 1, 8, 1, 2, 3, 0, UTC)),
        ("timestamptz", "2022-01-08T01:02:03", None),
        ("time", "PT15H30M0.5S", time(15, 30, 0, 500000)),
        ("time", 5, time(0, 0, 0, 5)),
        ("decimal(20,2)", "123.45", Decimal("123.45")),
        ("bigint", "9007199254740993", 9007199254740993),
        ("bigint", "1e3", None),
        ("boolean", 0, False),
        ("varchar", {"a": [1.50]}, '{"a": [1.5]}'),
        ("integer[]", {"nestedArray": [{"elementValue": 1}]}, [1]),
        ("blob", "00ff", b"\0\xff"),
    ],
)
def test_a_value_of_json_comes_exactly_or_sets_its_event_aside(
    kind: str, value: Any, wanted: Any, types_yard: Yard
) -> None:
    name = f"json_{len(list(types_yard.company.drops.iterdir()))}"
    (route,) = types_yard.declare(name, {"truck": {"id": "bigint", "v": kind}})
    facts = {"lsn": None, "log_file": "b.1", "log_position": 1, "method": "mysql-cdc-binlog"}
    types_yard.drop(name, "x", lines([event(1, {"id": 1, "v": value}, **facts)]))
    types_yard.take_in([route])
    found = [row["v"] for row in types_yard.log(route)]
    assert found == ([] if wanted is None else [wanted])
    assert len(types_yard.rejects(route)) == (wanted is None)


def test_how_json_spells_bytes_is_not_guessed(yard: Yard) -> None:
    types = {"id": "bigint", "v": "blob"}
    data = lines([event(1, {"id": 1, "v": "AP8="})])
    (route,) = yard.declare("silent", {"truck": types})
    yard.drop("silent", "x", data)
    (batch,) = yard.take_in([route])
    assert (batch["state"], batch["reason"]) == ("quarantined", "undeclared")
    (route,) = yard.declare("told", {"truck": types}, binary="base64")
    yard.drop("told", "x", data)
    yard.take_in([route])
    assert yard.log(route, "v") == [{"v": b"\0\xff"}]


def test_an_index_of_sort_keys_that_names_no_branch_is_seen(yard: Yard) -> None:
    data = bytearray(avro([event(1, {"id": 1, "name": "a"})], TRUCK))
    # The keys are four items: an index, then the number 1 in one byte.
    at = data.rindex(b"\x08\x02\x02\x00\x00")
    data[at + 1] = 6
    (route,) = yard.declare("src", {"truck": TYPES})
    yard.drop("src", "x", bytes(data))
    (batch,) = yard.take_in([route])
    assert (batch["state"], batch["reason"]) == ("quarantined", "corrupt")
