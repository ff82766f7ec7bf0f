"""Tables of a real Postgres, taken all the way to the warehouse."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from platform_tests.conftest import PlatformHome

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import SchemaDrift, SourceUnreachable
from malacate.ingest import Report, Route
from malacate.names import TableName
from malacate.sources.databases import Cursor, DatabaseTable
from malacate.sources.protocol import Known

COLUMNS = (
    Column("id", pa.int64(), True),
    Column("name", pa.string()),
    Column("changed_at", pa.timestamp("us", "UTC")),
)
DDL = "create table app.truck (id bigint primary key, name text, changed_at timestamptz)"


@dataclass
class Database:
    """A database with the schema ``app``, and routes from its tables."""

    url: str
    home: PlatformHome
    columns: tuple[Column, ...] = COLUMNS
    cursor: Cursor | None = None
    changes: dict[str, Any] = field(default_factory=dict)

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.url) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def table(self) -> Table:
        name = TableName("raw_app", "truck")
        plain = Table(name, self.columns, ("id",), physical_name="app.truck")
        return replace(plain, **self.changes)

    @property
    def source(self) -> DatabaseTable:
        return DatabaseTable(self.table, self.url, self.cursor)

    def load(self) -> Report:
        mode = WriteMode.UPSERT if self.cursor else WriteMode.SNAPSHOT
        report = self.home.ingest.run(Route(self.table, self.source, mode))
        told = [str(batch["batch_id"]) for batch in report.batches]
        self.home.ledger.mark_reported(told)
        return report

    def rows(self) -> list[dict[str, Any]]:
        found = self.home.warehouse.read(self.table.name).to_pylist()
        return sorted(found, key=lambda row: row["id"])

    def names(self) -> dict[int, str]:
        return {row["id"]: row["name"] for row in self.rows()}


@pytest.fixture
def database(postgres_url: str, platform_home: PlatformHome) -> Database:
    made = Database(postgres_url, platform_home)
    made.run("create schema app", DDL)
    return made


@pytest.fixture
def cursored(database: Database) -> Database:
    database.cursor = Cursor("changed_at", overlap_seconds=300)
    return database


def insert(number: int, name: str, ago: float = 0) -> str:
    at = f"clock_timestamp() - interval '{ago} seconds'"
    return f"insert into app.truck values ({number}, '{name}', {at})"


def update(number: int, name: str, ago: float = 0) -> str:
    at = f"clock_timestamp() - interval '{ago} seconds'"
    return f"update app.truck set name = '{name}', changed_at = {at} where id = {number}"


def test_a_snapshot_is_the_table_of_one_moment(database: Database) -> None:
    database.run(insert(1, "a"), insert(2, "b"))
    report = database.load()
    assert (report.total("rows_read"), database.names()) == (2, {1: "a", 2: "b"})
    database.run("delete from app.truck where id = 1", update(2, "c"))
    database.load()
    assert database.names() == {2: "c"}


def test_an_empty_table_is_loaded_empty(database: Database) -> None:
    assert database.load().total("rows_read") == 0
    assert database.rows() == []


def test_the_sources_own_count_is_kept(database: Database) -> None:
    database.run("insert into app.truck select i from generate_series(1, 1234) i")
    database.load()
    (landing,) = database.home.lake.landings()
    assert (landing.source_rows, landing.rows) == (1234, 1234)


def test_windows_take_only_what_changed(cursored: Database) -> None:
    cursored.cursor = replace(cursored.cursor or Cursor("x"), overlap_seconds=0)
    cursored.run(insert(1, "a", 60), insert(2, "b", 50))
    assert cursored.load().total("rows_read") == 2
    cursored.run(update(1, "A", 10), insert(3, "c", 5))
    assert cursored.load().total("rows_read") == 2
    assert cursored.names() == {1: "A", 2: "b", 3: "c"}


def test_rows_with_one_cursor_value_stay_together(cursored: Database) -> None:
    at = "timestamptz '2026-01-01 00:00:00.123456+00'"
    cursored.run(f"insert into app.truck select i, 'x', {at} from generate_series(1, 5000) i")
    cursored.load()
    assert len(cursored.rows()) == 5000
    cursored.run(f"insert into app.truck values (5001, 'late tie', {at})")
    cursored.load()
    assert cursored.names()[5001] == "late tie"


def test_rows_that_are_read_again_are_not_doubled(cursored: Database) -> None:
    cursored.run(insert(1, "a", 100), insert(2, "b", 50))
    for number in (3, 4, 5):
        cursored.load()
        cursored.run(insert(number, "more", 40 - number))
    assert cursored.load().total("rows_read") > 1
    assert sorted(cursored.names()) == [1, 2, 3, 4, 5]


def test_a_late_commit_inside_the_overlap_arrives(cursored: Database) -> None:
    cursored.run(insert(1, "a", 30))
    with psycopg.connect(cursored.url) as slow:
        slow.execute(insert(2, "slow", 200))
        cursored.load()
        cursored.run(insert(3, "c", 1))
        cursored.load()
        assert sorted(cursored.names()) == [1, 3]
        slow.commit()
    cursored.load()
    assert cursored.names()[2] == "slow"


def test_deletes_are_swept(cursored: Database) -> None:
    cursored.run(*(insert(i, "x", 4000 - i) for i in range(1, 6)))
    cursored.load()
    cursored.run("delete from app.truck where id in (2, 4)")
    cursored.load()
    assert sorted(cursored.names()) == [1, 3, 5]
    cursored.run("delete from app.truck")
    cursored.load()
    assert cursored.rows() == []


def test_without_the_sweep_deleted_rows_stay(cursored: Database) -> None:
    cursored.cursor = Cursor("changed_at", sweeps_deletes=False)
    cursored.run(insert(1, "a", 10), insert(2, "b", 9))
    cursored.load()
    cursored.run("delete from app.truck where id = 1", update(2, "c"))
    cursored.load()
    assert cursored.names() == {1: "a", 2: "c"}


def test_a_key_that_was_deleted_and_comes_back_is_the_new_row(cursored: Database) -> None:
    cursored.run(insert(1, "first", 4000))
    cursored.load()
    cursored.run("delete from app.truck where id = 1", insert(1, "second", 1))
    cursored.load()
    assert cursored.names() == {1: "second"}


def test_a_key_that_an_update_changed_moves(cursored: Database) -> None:
    cursored.run(insert(1, "a", 4000))
    cursored.load()
    cursored.run("update app.truck set id = 9, changed_at = clock_timestamp() where id = 1")
    cursored.load()
    assert cursored.names() == {9: "a"}


def test_rows_without_a_cursor_value_are_in_every_window(cursored: Database) -> None:
    cursored.run(insert(1, "a", 10), "insert into app.truck values (2, 'null', null)")
    cursored.load()
    assert cursored.names() == {1: "a", 2: "null"}
    cursored.run("update app.truck set name = 'changed' where id = 2")
    cursored.load()
    assert cursored.names()[2] == "changed"


def test_a_table_of_nulls_alone_waits_for_its_first_value(cursored: Database) -> None:
    cursored.run("insert into app.truck values (1, 'null', null)")
    cursored.load()
    cursored.run(insert(2, "b", 1))
    cursored.load()
    assert sorted(cursored.names()) == [1, 2]


def test_a_cursor_value_of_the_future_waits_for_its_day(cursored: Database) -> None:
    cursored.run(insert(1, "now", 1), insert(2, "tomorrow", -1.5))
    cursored.load()
    cursored.run(insert(3, "later", 0))
    position = int(cursored.home.warehouse.position(cursored.table.name) or 0)
    assert position <= datetime.now(UTC).timestamp() * 1e6
    cursored.run("select pg_sleep(1.6)")
    cursored.load()
    assert sorted(cursored.names()) == [1, 2, 3]


def test_a_lag_keeps_the_window_behind_the_clock(cursored: Database) -> None:
    cursored.cursor = Cursor("changed_at", lag_seconds=60)
    cursored.run(insert(1, "old", 100), insert(2, "young", 10))
    cursored.load()
    assert cursored.names() == {1: "old"}


def test_when_nothing_changed_the_window_only_sweeps(cursored: Database) -> None:
    cursored.cursor = Cursor("changed_at", overlap_seconds=0)
    cursored.run(insert(1, "a", 100), insert(2, "b", 90))
    cursored.load()
    position = cursored.home.warehouse.position(cursored.table.name)
    cursored.run("delete from app.truck where id = 1")
    (found,) = cursored.source.discover(Known(position))
    assert found.lo == found.hi == position
    assert cursored.load().total("rows_read") == 0
    assert cursored.names() == {2: "b"}
    assert cursored.home.warehouse.position(cursored.table.name) == position


def test_a_waiting_window_is_finished_before_the_next_is_cut(cursored: Database) -> None:
    cursored.run(insert(1, "a", 10))
    found = cursored.source.discover(Known())
    assert cursored.source.discover(Known(None, found)) == []


def test_an_infinite_cursor_value_stops_nothing(cursored: Database) -> None:
    cursored.run(insert(1, "a", 10), "insert into app.truck values (2, 'for ever', 'infinity')")
    cursored.run("insert into app.truck values (3, 'since ever', '-infinity')")
    cursored.load()
    assert cursored.names()[1] == "a"
    cursored.run(insert(4, "d", 1))
    cursored.load()
    assert {1, 4} <= set(cursored.names())


TYPES: dict[str, tuple[str, pa.DataType, str, Any]] = {
    "small": ("smallint", pa.int16(), "-32768", -32768),
    "whole": ("integer", pa.int32(), "2147483647", 2147483647),
    "big": ("bigint", pa.int64(), "9007199254740993", 9007199254740993),
    "widened": ("integer", pa.int64(), "7", 7),
    "real": ("real", pa.float32(), "0.5", 0.5),
    "double": ("double precision", pa.float64(), "0.1", 0.1),
    "scaled": (
        "numeric(18,2)",
        pa.decimal128(18, 2),
        "-9999999999999999.99",
        Decimal("-9999999999999999.99"),
    ),
    "cents": ("numeric(5,2)", pa.decimal128(5, 2), "0.01", Decimal("0.01")),
    "more": ("numeric(5,2)", pa.decimal128(9, 3), "999.99", Decimal("999.990")),
    "long": (
        "numeric(38,10)",
        pa.decimal128(38, 10),
        "1234567890123456789012345678.0123456789",
        Decimal("1234567890123456789012345678.0123456789"),
    ),
    "free": ("numeric", pa.string(), "1e20", "100000000000000000000"),
    "flag": ("boolean", pa.bool_(), "true", True),
    "words": ("text", pa.string(), "e'ñ🪨\\n\\t\\''", "ñ🪨\n\t'"),
    "sized": ("varchar(9)", pa.string(), "'sized'", "sized"),
    "uid": ("uuid", pa.string(), "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    "doc": ("jsonb", pa.string(), '\'{"b": [1, null]}\'', '{"b": [1, null]}'),
    "raw": ("bytea", pa.binary(), "'\\x00ff'", b"\x00\xff"),
    "day": ("date", pa.date32(), "'0001-01-01'", date(1, 1, 1)),
    "at_time": ("time", pa.time64("us"), "'23:59:59.999999'", time(23, 59, 59, 999999)),
    "local": (
        "timestamp",
        pa.timestamp("us"),
        "'2026-03-29 02:30:00.000001'",
        datetime(2026, 3, 29, 2, 30, 0, 1),
    ),
    "instant": (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        "'9999-12-31 23:59:59.999999+00'",
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    ),
    "old": (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        "'1900-01-01 00:00:00-03'",
        datetime(1900, 1, 1, 3, tzinfo=UTC),
    ),
    "many": ("int[]", pa.string(), "'{1,NULL}'", "{1,NULL}"),
    "span": ("interval", pa.string(), "'1 day 02:00'", "1 day 02:00:00"),
    "cash": ("money", pa.string(), "'12.34'", "$12.34"),
    "level": ("app.level", pa.string(), "'high'", "high"),
}  # fmt: skip


def test_every_type_arrives_exactly_and_so_do_nulls(database: Database) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, *_) in TYPES.items())
    values = ", ".join(value for _, _, value, _ in TYPES.values())
    database.run(
        "create type app.level as enum ('low', 'high')",
        f"drop table app.truck; create table app.truck (id bigint primary key, {columns})",
        f"insert into app.truck values (1, {values}), (2{', null' * len(TYPES)})",
    )
    typed = (Column(name, kind) for name, (_, kind, *_) in TYPES.items())
    database.columns = (COLUMNS[0], *typed)
    database.load()
    full, empty = database.rows()
    assert full == {"id": 1, **{name: wanted for name, (*_, wanted) in TYPES.items()}}
    assert empty == {"id": 2, **dict.fromkeys(TYPES)}


REJECTED = {
    "infinity": ("timestamptz", pa.timestamp("us", "UTC"), "'infinity'", "not_an_instant"),
    "minus infinity": ("timestamptz", pa.timestamp("us", "UTC"), "'-infinity'", "not_an_instant"),
    "before Christ": (
        "timestamptz",
        pa.timestamp("us", "UTC"),
        "'0044-03-15 BC'",
        "not_an_instant",
    ),
    "year 10000": ("timestamp", pa.timestamp("us"), "'10000-01-01'", "not_an_instant"),
    "an infinite day": ("date", pa.date32(), "'infinity'", "not_an_instant"),
    "a day before Christ": ("date", pa.date32(), "'0044-03-15 BC'", "not_an_instant"),
    "NaN of a small numeric": ("numeric(18,2)", pa.decimal128(18, 2), "'NaN'", "does_not_fit"),
    "NaN of a large numeric": ("numeric(38,2)", pa.decimal128(38, 2), "'NaN'", "does_not_fit"),
    "NaN of a double": ("double precision", pa.float64(), "'NaN'", "not_finite"),
    "infinity of a double": ("double precision", pa.float64(), "'Infinity'", "not_finite"),
}


@pytest.mark.parametrize("case", REJECTED)
def test_a_value_that_no_type_holds_is_a_rejected_row_not_a_failure(
    database: Database, case: str
) -> None:
    sql_kind, kind, value, reason = REJECTED[case]
    database.run(
        f"drop table app.truck; create table app.truck (id bigint primary key, v {sql_kind})",
        f"insert into app.truck values (1, null), (2, {value}), (3, null)",
    )
    database.columns = (COLUMNS[0], Column("v", kind))
    report = database.load()
    counts = [report.total(f"rows_{what}") for what in ("read", "loaded", "quarantined")]
    assert counts == [3, 2, 1]
    assert [row["id"] for row in database.rows()] == [1, 3]
    sql = "select position, reason, raw from malacate.quarantine"
    (kept,) = database.home.warehouse.query(sql).to_pylist()
    assert (kept["position"], kept["reason"]) == (1, reason)
    assert b'"id": ' in kept["raw"]
    assert b"2" in kept["raw"]


def test_a_text_of_a_megabyte_arrives_whole(database: Database) -> None:
    database.run("insert into app.truck select i, repeat('ñ', 1 << 20) from generate_series(1,3) i")
    database.load()
    assert [len(row["name"]) for row in database.rows()] == [1 << 20] * 3


DRIFTS = {
    "missing": ("alter table app.truck drop column name", ["missing 'name' varchar"]),
    "extra": ("alter table app.truck add weight int", ["extra 'weight'"]),
    "retyped": (
        "alter table app.truck alter name type int using 1",
        ["retyped 'name'", "int32 cannot become string"],
    ),
    "renamed": (
        "alter table app.truck rename name to names",
        ["missing 'name'", "extra 'names'", "aliases"],
    ),
    "all at once": (
        "alter table app.truck drop column name, drop column changed_at, add a int, add b int",
        ["missing 'name'", "missing 'changed_at'", "extra 'a'", "extra 'b'"],
    ),
}


@pytest.mark.parametrize("drift", DRIFTS)
def test_drift_is_told_with_its_diff_and_loads_nothing(database: Database, drift: str) -> None:
    database.run(insert(1, "a"))
    database.load()
    before = database.rows()
    statement, diff = DRIFTS[drift]
    database.run(statement)
    with pytest.raises(SchemaDrift) as caught:
        database.load()
    for part in diff:
        assert part in str(caught.value)
    assert database.rows() == before


def test_drift_that_the_contract_allows_is_loaded(database: Database) -> None:
    database.run("alter table app.truck rename name to label", "alter table app.truck add x int")
    database.run("insert into app.truck (id, label) values (1, 'a')")
    database.columns = (
        COLUMNS[0],
        replace(COLUMNS[1], aliases=("label",)),
        COLUMNS[2],
        Column("added", pa.string(), since="2.0.0"),
    )
    database.changes = {"extra_columns": "ignore"}
    database.load()
    assert [(r["name"], r["added"]) for r in database.rows()] == [("a", None)]
    (landing,) = database.home.lake.landings()
    assert sorted(e["kind"] for e in landing.evolutions) == ["absent", "ignored", "renamed"]


def test_names_that_need_quotes_are_read(database: Database) -> None:
    database.run('create table app."Truck; drop" (id bigint, "Größe m" int)')
    database.run('insert into app."Truck; drop" values (1, 7)')
    columns = (COLUMNS[0], Column("size_m", pa.int32(), physical_name="Größe m"))
    database.columns = columns
    database.changes = {"physical_name": "app.Truck; drop"}
    database.load()
    assert database.rows() == [{"id": 1, "size_m": 7}]


def test_a_snapshot_read_sees_one_moment_while_others_write(database: Database) -> None:
    database.run(
        "drop table app.truck; create table app.truck (id bigint primary key, name text, v bigint)",
        "insert into app.truck select i, repeat('x', 200), 100 from generate_series(1, 150000) i",
    )
    database.columns = (COLUMNS[0], COLUMNS[1], Column("v", pa.int64()))
    (found,) = database.source.discover(Known())
    reading = database.source.read(found, database.home.lake)
    total, count = 0, 0
    for chunk in reading.chunks:
        total += sum(chunk.rows.column("v").to_pylist())
        count += chunk.rows.num_rows
        database.run(
            "update app.truck set v = v - 7 where id % 1000 = 1",
            "update app.truck set v = v + 7 where id % 1000 = 2",
            f"delete from app.truck where id = {150_000 - count % 1000}",
            f"insert into app.truck values ({200_000 + count}, 'new', 1000000)",
        )
    assert (count, total, reading.source_rows) == (150_000, 15_000_000, 150_000)


def test_rows_and_swept_keys_are_of_one_moment(cursored: Database) -> None:
    cursored.run("insert into app.truck select i, 'x', now() from generate_series(1, 1000) i")
    (found,) = cursored.source.discover(Known())
    reading = cursored.source.read(found, cursored.home.lake)
    rows = set()
    for chunk in reading.chunks:
        rows |= set(chunk.rows.column("id").to_pylist())
        cursored.run("delete from app.truck where id <= 500", insert(5000, "new"))
    assert reading.keys is not None
    assert {i for keys in reading.keys for i in keys.column("id").to_pylist()} == rows


def test_reading_the_same_window_again_gives_the_same_rows(cursored: Database) -> None:
    cursored.run(insert(1, "a", 20), insert(2, "b", 10))
    (found,) = cursored.source.discover(Known())
    cursored.run(insert(3, "after"))
    for _ in range(2):
        chunks = cursored.source.read(found, cursored.home.lake).chunks
        assert sorted(i for c in chunks for i in c.rows.column("id").to_pylist()) == [1, 2]


UNREACHABLE = {
    "no server": lambda url: "postgresql://postgres@/none?host=/tmp/no-such-socket",
    "no such host": lambda url: "postgresql://nobody@no-such-host.invalid/x?connect_timeout=2",
    "no such database": lambda url: url.replace("/t_", "/nowhere_"),
    "no such user": lambda url: url.replace("postgres:@", "nobody:@"),
}


@pytest.mark.parametrize("why", UNREACHABLE)
def test_a_database_that_does_not_answer_is_unreachable_with_advice(
    database: Database, why: str
) -> None:
    wrong = UNREACHABLE[why](database.url)
    assert wrong != database.url
    with pytest.raises(SourceUnreachable, match="malacate doctor") as caught:
        replace(database, url=wrong).load()
    assert caught.value.actual
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_table_that_is_not_there_is_answered_with_the_grant(database: Database) -> None:
    database.run("drop table app.truck")
    with pytest.raises(SourceUnreachable):
        database.load()
    (found,) = database.source.discover(Known())
    with pytest.raises(SourceUnreachable, match=r"grant select on app\.truck"):
        database.source.read(found, database.home.lake)


def test_a_table_that_may_not_be_read_is_unreachable(database: Database) -> None:
    database.run("drop role if exists reader", "create role reader login")
    database.run("grant usage on schema app to reader")
    reader = replace(database, url=database.url.replace("postgres:@", "reader:@"))
    with pytest.raises(SourceUnreachable, match="permission denied"):
        reader.load()
    database.run("drop owned by reader", "drop role reader")


def test_a_session_that_is_cut_under_the_read_loads_nothing_and_is_tried_again(
    database: Database,
) -> None:
    database.run(
        "insert into app.truck select i, repeat('x', 500) from generate_series(1, 100000) i"
    )
    (found,) = database.source.discover(Known())
    chunks = database.source.read(found, database.home.lake).chunks
    next(chunks)
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where state <> 'idle'"
    database.run(f"{cut} and pid <> pg_backend_pid() and datname = current_database()")
    with pytest.raises(SourceUnreachable):
        list(chunks)
    assert database.load().total("rows_loaded") == 100_000


def test_an_instant_keeps_its_microseconds_in_the_position(cursored: Database) -> None:
    cursored.run("insert into app.truck values (1, 'a', '2026-11-03 12:00:00.123456+00')")
    cursored.load()
    at = datetime(2026, 11, 3, 12, 0, 0, 123456, UTC) + timedelta(microseconds=1)
    micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    assert cursored.home.warehouse.position(cursored.table.name) == str(micros)


def test_bytes_that_are_no_text_are_rejected_rows(postgres_server: str, database: Database) -> None:
    name = f"ascii_{database.url.partition('/t_')[2].partition('?')[0]}"
    how = "encoding 'SQL_ASCII' locale 'C' template template0"
    with psycopg.connect(postgres_server, autocommit=True) as server:
        server.execute(f"create database {name} {how}")
    try:
        ascii_ = replace(database, url=postgres_server.replace("/postgres?", f"/{name}?"))
        ascii_.run("create schema app", DDL)
        ascii_.run("insert into app.truck values (1, 'fine'), (2, E'latin-\\xe9'), (3, 'fine')")
        report = ascii_.load()
        assert (report.total("rows_loaded"), report.total("rows_quarantined")) == (2, 1)
        assert [row["id"] for row in ascii_.rows()] == [1, 3]
    finally:
        with psycopg.connect(postgres_server, autocommit=True) as server:
            server.execute(f"drop database {name} with (force)")
