"""A merge reads the partitions that it changes, whatever else the table holds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pytest
from google.cloud import bigquery
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.emulators import parts
from platform_tests.warehouse.batches import Batches, drop, snapshot, window
from platform_tests.warehouse.engines import (
    ENGINES,
    PROJECT,
    Engine,
    on_bigquery,
    on_duckdb,
    on_gcp,
)
from platform_tests.warehouse.scanned import constant, deletes, scanned
from platform_tests.warehouse.test_warehouse import NAME

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.warehouse import bigquery_write
from malacate.warehouse.bigquery_spans import Span, of_marker, pruned
from malacate.warehouse.protocol import Partition, Publication

ROCK = "raw_lab.rock"
COLUMNS = (Column("id", pa.int64(), True), Column("on", pa.date32()), Column("note", pa.string()))
MOVES = Table(NAME, COLUMNS, ("id",), partitioned_by="on")
STAYS = replace(MOVES, columns=(COLUMNS[0], replace(COLUMNS[1], immutable=True), COLUMNS[2]))
KEYED = replace(MOVES, key=("id", "on"))

Row = dict[str, Any]


def month(number: int) -> date:
    """The first of a month, counted from 2020."""
    return date(2020 + number // 12, number % 12 + 1, 1)


def rows_of(number: int, note: str = "n") -> list[Row]:
    """Ten rows, all in one month."""
    return [
        {"id": number * 100 + i, "on": month(number) + timedelta(days=i), "note": note}
        for i in range(10)
    ]


@dataclass
class Yard:
    """An empty warehouse, and the scripts that were sent to it."""

    engine: Engine
    scripts: list[str]

    def publish(self, *publications: Publication) -> str:
        """The script of it."""
        before = len(self.scripts)
        self.engine.warehouse.publish(publications)
        (script,) = self.scripts[before:]
        return script

    def estimated(self, sql: str) -> int:
        """What BigQuery itself says that a statement would read."""
        config = bigquery.QueryJobConfig(dry_run=True)
        client = self.engine.warehouse._jobs.client  # type: ignore[attr-defined]
        return int(client.query(sql, config).total_bytes_processed)

    def held(self) -> list[Row]:
        wanted = [column.name for column in COLUMNS]
        found: list[Row] = self.engine.warehouse.read(NAME, wanted).to_pylist()
        return sorted(found, key=repr)


@pytest.fixture
def yard(bigquery_server: parts.BigQuery, bigquery_url: str) -> Yard:
    return new_yard(bigquery_server, bigquery_url)


def telling(scripts: list[str]) -> type[bigquery.Client]:
    """A client that keeps the scripts which it sends."""

    class Told(bigquery.Client):
        def query(self, query: str, *more: Any, **asked: Any) -> Any:
            if query.startswith("begin transaction"):
                scripts.append(query)
            return super().query(query, *more, **asked)

    return Told


def new_yard(server: parts.BigQuery, url: str) -> Yard:
    scripts: list[str] = []
    return Yard(on_bigquery(server, url, client=telling(scripts)), scripts)


@pytest.fixture(params=[name for name in ENGINES if name != "duckdb"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Yard]:
    """Makes empty yards: on the emulator, and in the project that was asked for."""
    if request.param == "gcp":
        request.getfixturevalue("own_project")
        scripts: list[str] = []
        return lambda: Yard(on_gcp(tmp_path, telling(scripts)), scripts)
    here = map(request.getfixturevalue, ("bigquery_server", "bigquery_url"))
    return partial(new_yard, *here)


def of_months(table: Table, months: int, mode: WriteMode, lake: Any) -> list[Publication]:
    """A table of so many months: a file for each, or a window for all."""
    batches = Batches(lake, table, mode)
    if mode is WriteMode.APPEND:
        return [batches.of(drop(f"{n}.csv"), rows_of(n)) for n in range(months)]
    return [batches.of(window(None, 5), [row for n in range(months) for row in rows_of(n)])]


CASES: dict[str, tuple[Table, WriteMode]] = {
    "a file's newer version": (MOVES, WriteMode.APPEND),
    "an upsert where the partition is part of the key": (KEYED, WriteMode.UPSERT),
    "an upsert where a key keeps its partition": (STAYS, WriteMode.UPSERT),
    "an upsert where rows may move": (MOVES, WriteMode.UPSERT),
}


def merged(yard: Yard, case: str, months: int) -> int:
    """Bytes that the same merge, of the first month, reads in a table of ``months``."""
    table, mode = CASES[case]
    yard.publish(*of_months(table, months, mode, yard.engine.lake))
    held = yard.held()
    batches = Batches(yard.engine.lake, table, mode)
    newer = drop("0.csv", 2) if mode is WriteMode.APPEND else window(5, 9)
    script = yard.publish(batches.of(newer, rows_of(0, "newer")))
    assert sorted(yard.held(), key=repr) == sorted(
        [row for row in held if row["id"] >= 100] + rows_of(0, "newer"), key=repr
    )
    assert deletes(script, ROCK)
    if yard.engine.warehouse.location == PROJECT:
        return sum(yard.estimated(one.sql("bigquery")) for one in deletes(script, ROCK))
    return scanned(script, ROCK, "on", held)


@pytest.mark.parametrize("case", CASES)
def test_bytes_scanned_do_not_grow_with_the_table(new: Callable[[], Yard], case: str) -> None:
    bytes_of = {months: merged(new(), case, months) for months in (1, 12, 48)}
    assert min(bytes_of.values()) > 0
    assert len(set(bytes_of.values())) == 1, bytes_of


@pytest.mark.parametrize("case", CASES)
def test_without_its_conditions_the_bytes_do_grow(new: Callable[[], Yard], case: str) -> None:
    with mock.patch.object(bigquery_write, "pruned", return_value=""):
        one, twelve = (merged(new(), case, months) for months in (1, 12))
    assert twelve > 2 * one


def moved(yard: Yard, table: Table) -> list[str]:
    """Scripts of each way to write, with rows that move, come without a value, and go."""
    lake, january, june = yard.engine.lake, date(2026, 1, 5), date(2026, 6, 5)
    upsert, replaces = (Batches(lake, table, m) for m in (WriteMode.UPSERT, WriteMode.PARTITION))
    first = [{"id": i, "on": on} for i, on in enumerate([january, june, None, january])]
    scripts = [yard.publish(upsert.of(window(None, 5), first))]
    newer = [{"id": 0, "on": june}, {"id": 1, "on": None}, {"id": 2, "on": january}]
    keys = [{**row, "on": row["on"] or january} for row in [*newer, {"id": 9, "on": june}]]
    scripts += [
        yard.publish(upsert.of(window(5, 9), newer, keys=keys)),
        yard.publish(
            upsert.of(window(9, 11), [{"id": 7, "on": january}]),
            upsert.of(window(11, 12), [{"id": 7, "on": june}]),
        ),
    ]
    half = Partition("on", date(2026, 6, 1), date(2026, 7, 1)), Partition("id", 0, 5)
    for number, one in enumerate(half):
        given = [{"id": 0, "on": june, "note": "again"}]
        scripts.append(yard.publish(replaces.of(drop(f"p{number}"), given, partition=one)))
    return scripts


def test_every_delete_has_its_constants(yard: Yard) -> None:
    found = [one for script in moved(yard, MOVES) for one in deletes(script, ROCK)]
    assert len(found) == 7
    assert [one.sql() for one in found if constant(one, "on") is None] == []


def test_rows_that_moved_stand_once(yard: Yard) -> None:
    moved(yard, MOVES)
    june = date(2026, 6, 5)
    assert [(row["id"], row["on"], row["note"]) for row in yard.held()] == [(0, june, "again")]


ON = st.sampled_from([None, date(2025, 1, 31), date(2026, 1, 1), date(2026, 2, 28), date.max])
SOME = st.dictionaries(st.integers(0, 4), ON, max_size=4)
KEYS = st.none() | st.sets(st.integers(0, 4))
CALL = st.one_of(
    st.lists(st.tuples(st.just("upsert"), SOME, KEYS), min_size=1, max_size=3),
    st.lists(st.tuples(st.sampled_from(["a", "b"]), SOME, st.none()), min_size=1, max_size=3),
    st.tuples(st.tuples(st.just("whole"), SOME, st.none())),
)
"""Some publications of one kind: what they bring by id, and the keys that are left."""


def given_as(lake: Any, number: int, step: Any) -> Publication:
    """One step of a history; its number is its version and its position."""
    what, some, keys = step
    rows = [{"id": i, "on": on, "note": f"{number}"} for i, on in some.items()]
    if what == "upsert":
        left = None if keys is None else [{"id": i} for i in sorted({*keys, *some})]
        batches = Batches(lake, MOVES, WriteMode.UPSERT)
        return batches.of(window(None, number), rows, keys=left)
    if what == "whole":
        return Batches(lake, MOVES, WriteMode.SNAPSHOT).of(snapshot(number), rows)
    return Batches(lake, MOVES).of(drop(what, number), rows)


def lived(engine: Engine, history: Any) -> list[Row]:
    """What a table holds after it."""
    numbers = count(1)
    for call in history:
        engine.warehouse.publish([given_as(engine.lake, next(numbers), step) for step in call])
    return sorted(engine.warehouse.read(NAME).to_pylist(), key=repr)


@given(history=st.lists(CALL, min_size=2, max_size=4))
@settings(max_examples=15)
def test_any_history_comes_to_what_an_engine_without_partitions_holds(
    bigquery_server: parts.BigQuery,
    bigquery_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    history: Any,
) -> None:
    plain = on_duckdb(tmp_path_factory.mktemp("w"))
    assert lived(on_bigquery(bigquery_server, bigquery_url), history) == lived(plain, history)


def test_a_span_that_is_not_known_or_of_another_column_prunes_nothing() -> None:
    span = Span("on", "date32[day]", ((month(0), month(0)),))
    assert pruned(MOVES, [span]) == (
        " and (`on` between CAST('2020-01-01' AS DATE) and CAST('2020-01-01' AS DATE))"
    )
    others = [replace(span, column="note"), replace(span, kind="timestamp[us]")]
    for unknown in (None, *others):
        assert pruned(MOVES, [span, unknown]) == ""
    assert pruned(MOVES, []) == ""
    assert pruned(replace(MOVES, partitioned_by=""), [span]) == ""
    assert pruned(MOVES, [Span("on", "date32[day]")]) == " and (false)"


MOMENT = st.one_of(
    st.dates(), st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.none())
)


@given(MOMENT, MOMENT, st.booleans())
def test_a_marker_keeps_a_span_exactly(lo: date, hi: date, nulls: bool) -> None:
    span = Span("on", "date32[day]", ((lo, hi), (hi, hi)), nulls, 3)
    assert of_marker(span.to_json()) == span
    assert of_marker(None) is None


def test_a_marker_from_before_there_were_spans_prunes_nothing(yard: Yard) -> None:
    batches = Batches(yard.engine.lake, MOVES)
    yard.publish(batches.of(drop(), rows_of(0)))
    client = yard.engine.warehouse._jobs.client  # type: ignore[attr-defined]
    client.query("update malacate.loads set span = null where true").result()
    (delete,) = deletes(yard.publish(batches.of(drop(version=2), rows_of(1))), ROCK)
    assert constant(delete, "on") is None
    assert yard.held() == sorted(rows_of(1), key=repr)


def test_loads_of_an_older_release_get_the_column(yard: Yard) -> None:
    client = yard.engine.warehouse._jobs.client  # type: ignore[attr-defined]
    client.create_dataset("malacate")
    old = [("batch_id", "STRING"), ("published_at", "TIMESTAMP")]
    client.create_table(
        bigquery.Table(
            f"{client.project}.malacate.loads", [bigquery.SchemaField(n, k) for n, k in old]
        )
    )
    yard.engine.warehouse.exists(NAME)
    yard.engine.warehouse.markers(NAME)
    client.query("select span from malacate.loads").result()


def test_instants_are_in_the_months_of_utc(yard: Yard) -> None:
    columns = (COLUMNS[0], Column("on", pa.timestamp("us", "UTC")), COLUMNS[2])
    batches = Batches(yard.engine.lake, replace(MOVES, columns=columns))
    ends = [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)]
    given = [{"id": i, "on": on, "note": "n"} for i, on in enumerate([*ends, None])]
    yard.publish(batches.of(drop(), given))
    (delete,) = deletes(yard.publish(batches.of(drop(version=2), given[:1])), ROCK)
    assert constant(delete, "on") is not None
    assert [row["id"] for row in yard.held()] == [0]
