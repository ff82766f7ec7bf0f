"""Hours in BigQuery are renewed by reading the hours that changed, whatever else stands there."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlglot
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.emulators import parts
from platform_tests.length import IS_LONG
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.engines import Engine, on_bigquery, on_duckdb
from platform_tests.warehouse.hours import EPOCH, HOURS, READING, STATS, Row, reading
from platform_tests.warehouse.test_bigquery_pruning import Yard, new_yard
from sqlglot import exp

from malacate.contracts.table import Table
from malacate.warehouse import bigquery_derived
from malacate.warehouse.bigquery_spans import Span, of_hours

READINGS = replace(READING, partitioned_by="measured_at")
HOUR = replace(STATS, table=replace(HOURS, partitioned_by="hour_at"))
AT = [
    *(timedelta(minutes=15 * n) for n in range(5)),
    *(timedelta(days=28 - 3, hours=23, minutes=m) for m in (5, 50)),
    timedelta(days=28, minutes=20),
    timedelta(days=400, seconds=1),
]
"""Across the ends of hours, of a month and of a year, from ``EPOCH`` on."""

FILES = st.tuples(
    st.sampled_from("abc"),
    st.lists(
        st.tuples(st.sampled_from(range(len(AT))), st.integers(0, 3)), max_size=4, unique=True
    ),
)


def row(place: int, value: int) -> Row:
    """The same number and instant with another value is the same reading, told otherwise."""
    sensor = f"g{place % 2}"
    return {**reading(place, peak=float(value), sensor=sensor), "measured_at": EPOCH + AT[place]}


def lived(engine: Engine, history: Any, readings: Table = READINGS) -> list[dict[str, Any]]:
    """The hours after files came, each in place of what stood under its name."""
    batches = Batches(engine.lake, readings)
    for number, (name, rows) in enumerate(history):
        given_rows = [row(*one) for one in rows]
        engine.warehouse.publish([batches.of(drop(name, number), given_rows, derives=HOUR)])
    hours: list[dict[str, Any]] = engine.warehouse.read(HOURS.name, HOURS.schema.names).to_pylist()
    return sorted(hours, key=repr)


@given(history=st.lists(FILES, min_size=2, max_size=5))
@settings(max_examples=15 if IS_LONG else 3)
def test_any_history_has_the_hours_of_an_engine_without_partitions(
    bigquery_server: parts.BigQuery,
    bigquery_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    history: Any,
) -> None:
    plain = on_duckdb(tmp_path_factory.mktemp("w"))
    assert lived(on_bigquery(bigquery_server, bigquery_url), history) == lived(plain, history)


WITHIN_ONE = [("a", [(0, 1), (1, 3)]), ("b", [(2, 2)]), ("a", [(1, 1)])]
"""A file that brings, and one that takes away, a part of an hour that others are in too."""


@pytest.fixture
def yard(bigquery_server: parts.BigQuery, bigquery_url: str) -> Yard:
    return new_yard(bigquery_server, bigquery_url)


def test_bounds_that_are_not_those_of_whole_hours_would_be_seen(
    yard: Yard, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = lived(on_duckdb(tmp_path_factory.mktemp("w")), WITHIN_ONE)
    monkeypatch.setattr(bigquery_derived, "of_hours", lambda span, column: span)
    assert lived(yard.engine, WITHIN_ONE) != wanted


def unbounded(script: str, table: Table, column: str) -> list[str]:
    """Where a script reads or deletes of a table without constants that bound the column."""
    statements = sqlglot.parse(script.replace(" then\n", ";\n"), read="bigquery")
    found = (
        one for each in statements if each for one in each.find_all(exp.Table)
        if (one.db, one.name) == (table.name.schema, table.name.table)
        and not isinstance(one.parent, (exp.Insert, exp.Schema))
    )  # fmt: skip
    return [one.parent.sql() for one in found if one.parent and not _is_bounded(one, column)]


def _is_bounded(table: exp.Table, column: str) -> bool:
    around = table.find_ancestor(exp.Select, exp.Delete)
    where = around.args.get("where") if around else None
    bounds = where.find_all(exp.Between) if where else ()
    return any(one.this.name == column and not one.find(exp.Select) for one in bounds)


def scripts(yard: Yard, history: Any, readings: Table = READINGS) -> str:
    before = len(yard.scripts)
    lived(yard.engine, history, readings)
    return yard.scripts[before:][-1]


def test_every_statement_names_the_hours_that_it_reads(yard: Yard) -> None:
    script = scripts(yard, WITHIN_ONE)
    assert script.count("measured_at` BETWEEN") + script.count("measured_at` between") >= 4
    assert unbounded(script, READINGS, "measured_at") == []
    assert unbounded(script, HOUR.table, "hour_at") == []
    assert "2026-11-03 00:59:59.999999" in script


def test_readings_that_are_in_no_partitions_are_read_as_a_whole(yard: Yard) -> None:
    script = scripts(yard, WITHIN_ONE, READING)
    assert len(unbounded(script, READING, "measured_at")) >= 4


def test_a_span_of_another_column_is_that_of_no_hours() -> None:
    span = Span("measured_at", "timestamp[us, tz=UTC]", ((EPOCH, EPOCH),), nulls=True, months=1)
    assert of_hours(span, "received_at") is None
    assert of_hours(replace(span, kind="date32[day]"), "measured_at") is None
    (only,) = of_hours(span, "measured_at").ranges  # type: ignore[union-attr]
    assert only == (EPOCH, EPOCH + timedelta(hours=1) - timedelta(microseconds=1))
