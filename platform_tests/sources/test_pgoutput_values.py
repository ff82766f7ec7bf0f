"""Changes of a real Postgres as rows of a log; what a slot tells is what a snapshot reads."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from adbc_driver_postgresql import dbapi
from platform_tests.sources.logical_postgres import logical_server, own_database

from malacate.contracts.changes import changes_of, keyed
from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.rules import split
from malacate.contracts.table import Column, Table
from malacate.errors import SchemaDrift, SourceGap
from malacate.lake.lake import Lake
from malacate.names import TableName
from malacate.sources.cdc.pgoutput import Changes, Decoder, peek, pinned
from malacate.sources.cdc.pgoutput_values import rows
from malacate.sources.cdc.row_hash import row_hash
from malacate.sources.databases import DatabaseTable
from malacate.sources.protocol import Known

SLOT = "mine"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with logical_server() as url:
        yield url


@dataclass
class Source:
    """A database with the table ``app.t``, its publication and its slot."""

    url: str
    table: Table
    lake: Lake

    def run(self, *statements: str) -> None:
        """Each in a transaction of its own."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def create(self, columns: str, *statements: str) -> None:
        self.run(
            f"create schema app; create table app.t ({columns})",
            *statements,
            "create publication p for table app.t",
            f"select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')",
        )

    def changes(self, upto: int | None = None) -> list[Changes]:
        with (
            closing(dbapi.connect(pinned(self.url))) as connection,
            closing(connection.cursor()) as cursor,
        ):
            cursor.execute(peek(SLOT, ["p"], upto))
            return list(Decoder(SLOT).stream(cursor.fetch_record_batch()))

    @property
    def log(self) -> Table:
        return changes_of(keyed(self.table))

    def logged(self) -> tuple[list[dict[str, Any]], list[Reject]]:
        """Rows and rejects as the platform would take them over."""
        chunks, first = [], 0
        for changes in self.changes():
            for chunk in rows(changes, self.table, self.log, first):
                chunks.append(split(self.log, chunk, first))
                first += chunk.rows_read
        return _together(chunks)

    def snapshot(self) -> tuple[list[dict[str, Any]], list[Reject]]:
        source = DatabaseTable(self.table, pinned(self.url))
        (found,) = source.discover(Known())
        chunks = list(source.read(found, self.lake).chunks)
        return _together([split(self.table, chunk, 0) for chunk in chunks])


def _together(chunks: list[Chunk]) -> tuple[list[dict[str, Any]], list[Reject]]:
    found = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    return found, [reject for chunk in chunks for reject in chunk.rejects]


def contract(columns: dict[str, pa.DataType], key: tuple[str, ...] = ("id",)) -> Table:
    listed = tuple(Column(name, kind, name in key) for name, kind in columns.items())
    return Table(TableName("raw_app", "t"), listed, key, physical_name="app.t")


SMALL = contract({"id": pa.int64(), "name": pa.string(), "big": pa.string()})
COLUMNS = "id bigint primary key, name text, big text"
BIG = "(select string_agg(md5(g::text), '') from generate_series(1, 300) g)"


@pytest.fixture
def source(server: str, tmp_path: Any) -> Iterator[Source]:
    with own_database(server) as url:
        yield Source(url, SMALL, Lake(tmp_path))


def brief(found: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    wanted = names or ("_op", "id", "name", "_is_key_change", "_missing")
    ordered = sorted(found, key=lambda r: (r["_position_hi"], r["_position_lo"], r["_seq"]))
    return [tuple(row[name] for name in wanted) for row in ordered]


TYPES: dict[str, tuple[str, pa.DataType, list[str]]] = {
    "small": ("smallint", pa.int16(), ["-32768", "0"]),
    "whole": ("integer", pa.int32(), ["2147483647", "-1"]),
    "big": ("bigint", pa.int64(), ["-9223372036854775808", "9007199254740993"]),
    "widened": ("integer", pa.int64(), ["7"]),
    "exact": ("integer", pa.decimal128(18, 2), ["-7"]),
    "real": ("real", pa.float32(), ["0.1", "1e-45", "3.4028235e38", "'-0'", "'NaN'"]),
    "double": ("float8", pa.float64(), ["0.1", "5e-324", "1e300", "'-0'", "'NaN'", "'-Infinity'"]),
    "doubled": ("real", pa.float64(), ["0.1", "16777217"]),
    "scaled": ("numeric(18,2)", pa.decimal128(18, 2), ["-9999999999999999.99", "0.01", "'NaN'"]),
    "more": ("numeric(5,2)", pa.decimal128(9, 3), ["999.99", "-0.5"]),
    "long": ("numeric(38,10)", pa.decimal128(38, 10), ["1234567890123456789012345678.0123456789",
                                                       "'NaN'"]),
    "longer": ("numeric(60,2)", pa.decimal256(60, 2), [f"{'9' * 58}.99"]),
    "longest": ("numeric(60,2)", pa.string(), [f"-{'9' * 58}.99", "'NaN'"]),
    "free": ("numeric", pa.string(), ["1e20", "0.10", "'Infinity'", "'NaN'"]),
    "rounded": ("numeric(5,-2)", pa.string(), ["12345"]),
    "flag": ("boolean", pa.bool_(), ["true", "false"]),
    "words": ("text", pa.string(), ["e'ñ🪨\\n\\t\\''", "''", "'null'", "'\\x00'"]),
    "sized": ("varchar(9)", pa.string(), ["'sized'"]),
    "padded": ("char(5)", pa.string(), ["'ab'", "''", "e'ñ\\t '"]),
    "padded_many": ("char(5)[]", pa.string(), ["array['ab']"]),
    "letter": ('"char"', pa.string(), ["'c'"]),
    "called": ("name", pa.string(), ["'name'"]),
    "uid": ("uuid", pa.string(), ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"]),
    "doc": ("json", pa.string(), ["'{\"b\" : [1, null]}'"]),
    "docb": ("jsonb", pa.string(), ["'{\"b\" : [1, null], \"a\": 1e2}'", "'null'"]),
    "raw": ("bytea", pa.binary(), ["'\\x00ff'", "'\\x'", "'\\x5c78'"]),
    "day": ("date", pa.date32(), ["'0001-01-01'", "'9999-12-31'", "'infinity'", "'-infinity'",
                                  "'0044-03-15 BC'", "'10000-01-01'", "'5874897-12-31'"]),
    "clock": ("time", pa.time64("us"), ["'23:59:59.999999'", "'00:00'", "'24:00'"]),
    "clock_tz": ("timetz", pa.string(), ["'23:59:59.5-03:30'"]),
    "local": ("timestamp", pa.timestamp("us"), [
        "'2026-03-29 02:30:00.000001'", "'0001-01-01'", "'9999-12-31 23:59:59.999999'",
        "'infinity'", "'-infinity'", "'0044-03-15 10:00 BC'", "'10000-01-01'"]),
    "instant": ("timestamptz", pa.timestamp("us", "UTC"), [
        "'9999-12-31 23:59:59.999999+00'", "'1900-01-01 00:00:00-03'", "'0001-01-01 00:00:00+00'",
        "'infinity'", "'-infinity'", "'0044-03-15 10:00 BC'", "'294276-12-31 23:59:59.999999+00'"]),
    "second": ("timestamptz(0)", pa.timestamp("us", "UTC"), ["'2026-01-01 00:00:00.5+00'"]),
    "span": ("interval", pa.string(), ["'1 day 02:00'", "'-1 year 3 mons -00:00:00.000001'"]),
    "cash": ("money", pa.string(), ["'12.34'", "'-1234567.89'"]),
    "bits": ("bit(5)", pa.string(), ["b'10101'"]),
    "more_bits": ("varbit", pa.string(), ["b''", "b'1'"]),
    "host": ("inet", pa.string(), ["'10.0.0.1/8'", "'10.0.0.1'", "'::1'", "'fe80::/10'"]),
    "net": ("cidr", pa.string(), ["'10.0.0.0/8'"]),
    "mac": ("macaddr", pa.string(), ["'08:00:2B:01:02:03'"]),
    "place": ("point", pa.string(), ["'(1.5,-2)'"]),
    "shape": ("polygon", pa.string(), ["'((0,0),(0,1),(1,1))'"]),
    "found": ("tsvector", pa.string(), ["'a:1 b:2'"]),
    "oid": ("oid", pa.string(), ["4294967295"]),
    "lsn": ("pg_lsn", pa.string(), ["'16/B374D848'"]),
    "many": ("int[]", pa.string(), ["'{1,NULL}'", "'{{1,2},{3,4}}'", "'[0:1]={1,2}'"]),
    "texts": ("text[]", pa.string(), ["array['a,b', '\"', null, 'null', '']"]),
    "instants": ("timestamptz[]", pa.string(), ["array['2026-01-01 00:00-03'::timestamptz]"]),
    "some": ("int4range", pa.string(), ["'[1,5]'", "'empty'"]),
    "during": ("tstzrange", pa.string(), ["'[2026-01-01 00:00-03,)'"]),
    "those": ("int4multirange", pa.string(), ["'{[1,5],[7,9]}'"]),
    "level": ("app.level", pa.string(), ["'high'"]),
    "pair": ("app.pair", pa.string(), ["row(1, 'a,b')::app.pair"]),
    "mail": ("app.mail", pa.string(), ["'a@b'"]),
    "counted": ("app.counted", pa.string(), ["5"]),
    "coded": ("app.code", pa.string(), ["'ab'"]),
    "marked": ("app.mark", pa.string(), ["true", "false"]),
    "seen_at": ("app.address", pa.string(), ["'10.0.0.1'"]),
}  # fmt: skip


def every_type(source: Source) -> int:
    """A table with all types: a row of each value beside nulls, and one of all first values."""
    source.table = contract({"id": pa.int64(), **{n: kind for n, (_, kind, _) in TYPES.items()}})
    columns = ", ".join(f'"{name}" {kind}' for name, (kind, *_) in TYPES.items())
    source.create(
        "x int",
        "create type app.level as enum ('low', 'high'); create type app.pair as (a int, b text); "
        "create domain app.mail as text; create domain app.counted as int; "
        "create domain app.code as char(5); create domain app.mark as bool; "
        "create domain app.base as inet; create domain app.address as app.base",
        f"drop table app.t; create table app.t (id bigint primary key, {columns})",
    )
    firsts = ", ".join(values[0] for _, _, values in TYPES.values())
    source.run(f"insert into app.t values (0, {firsts}), (1{', null' * len(TYPES)})")
    cells = [(name, value) for name, (*_, values) in TYPES.items() for value in values]
    for number, (name, value) in enumerate(cells, 2):
        source.run(f'insert into app.t (id, "{name}") values ({number}, {value})')
    return len(cells) + 2


def same(found: list[dict[str, Any]], table: Table) -> set[tuple[int, str, str]]:
    """Cells as text that tells -0.0 from 0.0 and decimals by their digits."""
    return {(row["id"], name, repr(row[name])) for row in found for name in table.by_name}


def test_every_value_of_every_type_is_what_a_snapshot_reads_or_is_refused_by_both(
    source: Source,
) -> None:
    total = every_type(source)
    logged, refused = source.logged()
    read, unread = source.snapshot()
    assert same(logged, source.table) == same(read, source.table)
    assert len(logged) + len(refused) == total
    assert len(refused) == len(unread) == 18
    assert sorted(r.reason for r in refused) == sorted(r.reason for r in unread)
    assert {name for reject in refused for name in reject.detail.split()[:1]} == {
        "real", "double", "scaled", "long", "day", "local", "instant",
    }  # fmt: skip


def test_a_refused_row_is_kept_as_it_came(source: Source) -> None:
    source.table = contract({"id": pa.int64(), "at": pa.timestamp("us", "UTC")})
    source.create("id bigint primary key, at timestamptz")
    source.run("insert into app.t values (1, null), (2, 'infinity'), (3, null)")
    found, (reject,) = source.logged()
    assert [row["id"] for row in found] == [1, 3]
    assert (reject.position, reject.reason) == (1, "not_an_instant")
    assert b'"at": "infinity"' in reject.raw
    assert b'"_op": "I"' in reject.raw


ODD = {
    "datestyle": "German",
    "timezone": "Asia/Kolkata",
    "bytea_output": "escape",
    "extra_float_digits": "-5",
    "intervalstyle": "iso_8601",
}


def test_what_a_database_is_set_to_changes_no_value(source: Source) -> None:
    every_type(source)
    plain = source.logged()[0]
    name = psycopg.conninfo.conninfo_to_dict(source.url)["dbname"]
    source.run(*(f"alter database {name} set {key} = '{value}'" for key, value in ODD.items()))
    with psycopg.connect(source.url) as connection:
        assert connection.execute("show datestyle").fetchone() == ("German, DMY",)
    assert same(source.logged()[0], source.table) == same(plain, source.table)
    assert same(source.snapshot()[0], source.table) == same(plain, source.table)


def test_text_comes_as_utf8_from_a_database_of_another_encoding(
    server: str, source: Source
) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database latin encoding 'LATIN1' locale 'C' template template0")
    try:
        source.url = server.replace("/postgres?", "/latin?")
        source.create('id bigint primary key, "größe" text, big text')
        source.table = contract({"id": pa.int64(), "name": pa.string(), "big": pa.string()})
        renamed = [replace(c, physical_name="größe" if c.name == "name" else c.name)
                   for c in source.table.columns]  # fmt: skip
        source.table = replace(source.table, columns=tuple(renamed))
        source.run("insert into app.t values (1, 'ñandú', null)")
        assert brief(source.logged()[0], "id", "name") == [(1, "ñandú")]
    finally:
        source.run(f"select pg_drop_replication_slot('{SLOT}')")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("drop database latin with (force)")


def test_bytes_that_are_no_text_are_refused(server: str, source: Source) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("create database raw encoding 'SQL_ASCII' locale 'C' template template0")
    try:
        source.url = server.replace("/postgres?", "/raw?") + "&client_encoding=sql_ascii"
        source.create(COLUMNS)
        with psycopg.connect(source.url) as connection:
            connection.execute(b"insert into app.t values (1, 'fine', null), (2, '\xf1', null)")
        found, (reject,) = source.logged()
        assert ([row["id"] for row in found], reject.reason) == ([1], "does_not_fit")
        assert b"f1" in reject.raw
        assert source.snapshot()[1][0].reason == "does_not_fit"
    finally:
        source.run(f"select pg_drop_replication_slot('{SLOT}')")
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("drop database raw with (force)")


def test_each_change_has_its_place_in_the_log(source: Source) -> None:
    source.create(COLUMNS)
    source.run(
        "insert into app.t values (1, 'a'), (2, 'b')",
        "begin; insert into app.t values (3, 'lost'); rollback",
        "begin; update app.t set name = 'A' where id = 1; delete from app.t where id = 2; commit",
        "select pg_logical_emit_message(true, 'malacate', 'heartbeat')",
        "truncate app.t",
    )
    found, rejects = source.logged()
    assert rejects == []
    assert brief(found, "_op", "id", "name", "_seq") == [
        ("I", 1, "a", 0), ("I", 2, "b", 2), ("U", 1, "A", 0), ("D", 2, None, 2),
        ("T", None, None, 0),
    ]  # fmt: skip
    with psycopg.connect(source.url) as connection:
        (flushed,) = connection.execute(
            "select (pg_current_wal_flush_lsn() - '0/0')::bigint"
        ).fetchone() or (0,)
    places = [(row["_position_hi"] << 32) + row["_position_lo"] for row in found]
    assert places == sorted(places)
    assert 0 < places[0] == places[1] < places[2] == places[3] < places[4] <= flushed
    assert len({row["_event_id"] for row in found}) == 5
    assert {row["_file"] for row in found} == {SLOT}
    assert not any(row["_is_snapshot"] or row["_is_key_change"] for row in found)
    age = datetime.now(UTC) - found[-1]["_source_at"]
    assert abs(age.total_seconds()) < 60


def test_the_same_event_has_the_same_identity_whenever_it_is_read(source: Source) -> None:
    source.create(COLUMNS)
    source.run("insert into app.t values (1, 'a')", "update app.t set id = 2")
    once, again = source.logged()[0], source.logged()[0]
    for row in (*once, *again):
        del row["_read_at"]
    assert once == again


def test_changes_come_in_the_order_of_their_commits(source: Source) -> None:
    source.create(COLUMNS)
    with psycopg.connect(source.url) as slow:
        slow.execute("insert into app.t values (1, 'first to write')")
        source.run("insert into app.t values (2, 'first to commit')")
    found, _ = source.logged()
    assert [row["id"] for row in found] == [2, 1]
    assert brief(found, "id") == [(2,), (1,)]


def test_a_peek_ends_with_a_whole_transaction(source: Source) -> None:
    source.create(COLUMNS)
    source.run("insert into app.t select g from generate_series(1, 500) g",
               "insert into app.t select g from generate_series(501, 1000) g")  # fmt: skip
    assert sum(len(changes) for changes in source.changes(upto=10)) == 500


def test_a_value_that_was_not_sent_is_named_not_null(source: Source) -> None:
    source.create(COLUMNS, "alter table app.t alter big set storage external")
    source.run(f"insert into app.t values (1, 'a', {BIG})", "update app.t set name = 'b'")
    inserted, updated = brief(source.logged()[0], "_op", "name", "big", "_missing")
    assert (inserted[0], len(inserted[2]), inserted[3]) == ("I", 9600, None)
    assert updated == ("U", "b", None, "big")


def test_a_key_change_moves_the_row_and_names_what_was_not_sent(source: Source) -> None:
    source.create(COLUMNS, "alter table app.t alter big set storage external")
    source.run(f"insert into app.t values (1, 'a', {BIG})", "update app.t set id = 9")
    found, _ = source.logged()
    assert brief(found) == [
        ("I", 1, "a", False, None), ("D", 1, None, True, None), ("I", 9, "a", True, "big"),
    ]  # fmt: skip
    halves = brief(found, "_seq", "_position_lo")[1:]
    assert halves == [(0, halves[0][1]), (1, halves[0][1])]


def test_an_old_tuple_tells_what_was_not_sent(source: Source) -> None:
    full = "alter table app.t replica identity full"
    source.create(COLUMNS, "alter table app.t alter big set storage external", full)
    source.run(f"insert into app.t values (1, 'a', {BIG})", "update app.t set name = 'b'",
               "update app.t set id = 2", "delete from app.t")  # fmt: skip
    found, _ = source.logged()
    assert brief(found, "_op", "id", "name", "_missing", "_is_key_change") == [
        ("I", 1, "a", None, False), ("U", 1, "b", None, False), ("D", 1, None, None, True),
        ("I", 2, "b", None, True), ("D", 2, None, None, False),
    ]  # fmt: skip
    assert [len(row["big"] or "") for row in found] == [9600, 9600, 0, 9600, 0]


def test_a_large_key_that_was_not_sent_is_the_old_one(source: Source) -> None:
    source.table = contract({"id": pa.string(), "name": pa.string()})
    source.create(
        "id text primary key, name text", "alter table app.t alter id set storage external"
    )
    key = BIG.replace("300", "75")
    source.run(f"insert into app.t values ({key}, 'a')", "update app.t set name = 'b'")
    found, rejects = source.logged()
    assert rejects == []
    assert found[0]["id"] == found[1]["id"]
    assert brief(found, "_op", "name", "_missing", "_is_key_change") == [
        ("I", "a", None, False), ("U", "b", None, False),
    ]  # fmt: skip


def test_a_bad_value_does_not_hold_up_a_deletion(source: Source) -> None:
    source.table = contract({"id": pa.int64(), "n": pa.decimal128(9, 2)})
    source.create("id bigint primary key, n numeric(9,2)",
                  "alter table app.t replica identity full")  # fmt: skip
    source.run("insert into app.t values (1, 1)", "update app.t set n = 'NaN'", "delete from app.t")
    found, rejects = source.logged()
    assert brief(found, "_op", "id") == [("I", 1), ("D", 1)]
    assert [reject.reason for reject in rejects] == ["does_not_fit"]


def test_columns_are_matched_by_name_when_the_table_changes_in_mid_stream(source: Source) -> None:
    source.table = replace(SMALL, extra_columns="ignore")
    source.create(COLUMNS)
    source.run(
        "insert into app.t values (1, 'a', 'x')",
        "alter table app.t add weight int default 5",
        "insert into app.t values (2, 'b', 'y', 7)",
        "begin; alter table app.t drop name; alter table app.t add name text; "
        "insert into app.t values (3, 'z', 8, 'c'); commit",
        "alter table app.t alter id type numeric(10,0)",
    )
    assert brief(source.logged()[0], "id", "name", "big") == [
        (1, "a", "x"), (2, "b", "y"), (3, "c", "z"),
    ]  # fmt: skip


def test_a_column_that_became_wider_is_read(source: Source) -> None:
    source.create(COLUMNS.replace("bigint", "int"))
    source.run("insert into app.t values (1)", "alter table app.t alter id type bigint",
               "insert into app.t values (5000000000)")  # fmt: skip
    assert brief(source.logged()[0], "id") == [(1,), (5_000_000_000,)]


def replayed(found: list[dict[str, Any]]) -> dict[int, tuple[Any, ...]]:
    """What the log says the table is; what was not sent stays, and moves with its key."""
    state: dict[int, tuple[Any, ...]] = {}
    left: tuple[Any, ...] = ()
    for row in sorted(found, key=lambda r: (r["_position_hi"], r["_position_lo"], r["_seq"])):
        if row["_op"] == "T":
            state.clear()
        elif row["_op"] == "D":
            left = state.pop(row["id"])
        else:
            before = left if row["_op"] == "I" else state[row["id"]]
            missing = (row["_missing"] or "").split(",")
            state[row["id"]] = tuple(
                before[i] if name in missing else row[name]
                for i, name in enumerate(("name", "big"))
            )
    return state


def a_history(rng: random.Random) -> Iterator[str]:
    """Transactions that insert, change, move and delete rows, some with a large value."""
    large = f"case when random() < 0.5 then {BIG.replace('g::text', 'g::text || random()')} end"
    one = "id = (select id from app.t order by random() limit 1)"
    for number in range(60):
        kinds = (
            f"insert into app.t values ({number * 10}, 'n{number}', {large})",
            f"insert into app.t select {number * 10 + 1} + g, 'more' from generate_series(0, 2) g",
            f"update app.t set name = 'changed {number}' where {one}",
            f"update app.t set big = {large} where {one}",
            f"update app.t set id = {number * 10 + 5}, name = 'moved' where {one}",
            f"update app.t set id = id + {number * 1000} where {one}",
            f"delete from app.t where {one}",
            "savepoint s; update app.t set name = 'undone'; rollback to s",
        )
        yield f"begin; {'; '.join(rng.sample(kinds, rng.randint(1, 4)))}; commit"
        if number == 20:
            yield "truncate app.t"


@pytest.mark.parametrize("identity", ["default", "full"])
@pytest.mark.parametrize("seed", range(3))
def test_the_log_replayed_is_the_table(source: Source, seed: int, identity: str) -> None:
    source.create(COLUMNS, "alter table app.t alter big set storage external",
                  f"alter table app.t replica identity {identity}")  # fmt: skip
    source.run("select setseed(0.5)", *a_history(random.Random(seed)))
    found, rejects = source.logged()
    assert rejects == []
    assert replayed(found) == {r["id"]: (r["name"], r["big"]) for r in source.snapshot()[0]}
    assert any(row["_is_key_change"] for row in found)
    assert any(row["_missing"] for row in found) == (identity == "default")


def test_a_session_keeps_what_its_url_asks_for() -> None:
    url = pinned("postgresql://u@h/d?options=-c%20statement_timeout%3D5&client_encoding=sql_ascii")
    told = psycopg.conninfo.conninfo_to_dict(url)
    assert told["client_encoding"] == "sql_ascii"
    assert str(told["options"]).startswith("-c statement_timeout=5 -c datestyle=ISO")
    assert psycopg.conninfo.conninfo_to_dict(pinned("host=h"))["client_encoding"] == "utf8"


def test_names_of_slots_and_publications_are_quoted(source: Source) -> None:
    source.run("create schema app", f"create table app.t ({COLUMNS})")
    source.run('create publication "a,""b\'" for table app.t')
    source.run(f"select pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")
    source.run("insert into app.t values (1)")
    with psycopg.connect(source.url) as connection:
        found = connection.execute(peek(SLOT, ["a,\"b'"], 10, 1 << 60))
        assert [row[1][:1] for row in found] == [b"B", b"R", b"I", b"C"]


DRIFTS = {
    "added": ("alter table app.t add weight int", "extra 'weight'"),
    "dropped": ("alter table app.t drop name", "missing 'name'"),
    "renamed": ("alter table app.t rename name to label", "extra 'label'"),
    "retyped": ("alter table app.t alter name type int using 1", "retyped 'name'"),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_a_table_that_is_not_its_contracts_any_more_is_told(source: Source, drift: str) -> None:
    source.create(COLUMNS)
    statement, what = DRIFTS[drift]
    source.run("insert into app.t values (1)", statement, "insert into app.t (id) values (2)")
    before, after = source.changes()
    assert [chunk.rows_read for chunk in rows(before, source.table, source.log)] == [1]
    with pytest.raises(SchemaDrift, match=what):
        list(rows(after, source.table, source.log))


def test_a_table_without_a_key_is_keyed_by_its_whole_rows(source: Source) -> None:
    source.table = contract({"id": pa.int64(), "n": pa.decimal128(9, 2), "at": pa.date32()}, ())
    source.create("id bigint, n numeric(9,2), at date", "alter table app.t replica identity full")
    source.run("insert into app.t values (1, 1, '2026-01-01'), (null, null, null)",
               "update app.t set n = 2 where id = 1", "update app.t set n = n where id = 1",
               "delete from app.t where id is null")  # fmt: skip
    found, rejects = source.logged()
    assert rejects == []
    shown = brief(found, "_op", "n", "_row_hash", "_is_key_change")
    (one, none, was, now, still, gone) = shown
    assert [row[0] for row in shown] == ["I", "I", "D", "I", "U", "D"]
    assert was[2] == one[2] != now[2] == still[2]
    assert (was[1], now[1], was[3], now[3], still[3]) == (None, Decimal("2.00"), True, True, False)
    assert gone[2] == none[2]
    typed = pa.RecordBatch.from_pylist(source.snapshot()[0], source.table.schema)
    assert row_hash(typed).to_pylist() == [now[2]]


def test_the_hash_of_a_row_outlives_a_column_that_was_added() -> None:
    row = pa.RecordBatch.from_pydict({"b": [1], "a": ["x"]})
    wider = pa.RecordBatch.from_pydict({"a": ["x"], "new": [None], "b": [1]})
    assert row_hash(row).to_pylist() == row_hash(wider).to_pylist()
    apart = pa.RecordBatch.from_pydict({"a": ["x;b=1:1"], "b": pa.array([None], pa.int64())})
    assert row_hash(apart).to_pylist() != row_hash(row).to_pylist()


LACKING = {
    "another index": (
        "create unique index other on app.t (name); alter table app.t alter name set not null; "
        "alter table app.t replica identity using index other",
        SMALL,
    ),
    "no key in the contract": ("select 1", replace(SMALL, key=())),
}


@pytest.mark.parametrize("case", LACKING)
def test_an_identity_that_lacks_the_key_is_a_gap(source: Source, case: str) -> None:
    statement, source.table = LACKING[case]
    source.create(COLUMNS, statement)
    source.run("insert into app.t values (1, 'a')")
    assert brief(source.logged()[0], "id") == [(1,)]
    source.run("delete from app.t")
    with pytest.raises(SourceGap, match="replica identity full") as caught:
        source.logged()
    assert caught.value.object == "app.t"


def test_an_event_without_its_key_is_refused(source: Source) -> None:
    source.table = contract({"id": pa.int64(), "code": pa.string()}, ("code",))
    source.create("id bigint primary key, code text")
    source.run("insert into app.t values (1, 'a'), (2, null)")
    found, (reject,) = source.logged()
    assert [row["id"] for row in found] == [1]
    assert (reject.reason, reject.position) == ("no_key", 1)
    assert b'"id": "2"' in reject.raw
