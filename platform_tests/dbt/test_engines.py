"""The same models on DuckDB and on BigQuery: accepted by GoogleSQL, and equal row for row."""

import math
from typing import Any

from platform_tests.dbt.conftest import Engines
from platform_tests.dbt.engines import BIGQUERY_RAW, PROJECT
from platform_tests.emulators import parts


def test_every_model_and_test_succeeds_on_both(engines: Engines) -> None:
    assert engines.local.unlucky() == {}
    assert engines.gcp.unlucky() == {}


def test_every_test_says_the_same_on_both(engines: Engines) -> None:
    assert engines.local.outcomes() == engines.gcp.outcomes()


def test_googlesql_accepts_every_statement(engines: Engines) -> None:
    tables = {f"{PROJECT}.{name}": columns for name, columns in BIGQUERY_RAW.items()}
    statements = engines.gcp.statements()
    assert len(statements) > len(engines.gcp.models)
    with parts.googlesql() as google:
        told = google.check(";\n".join(statements), tables)
    assert len(told) == len(statements)
    assert {one.sql: one.error for one in told if one.error} == {}


def test_googlesql_gives_every_column_the_type_that_duckdb_gives_it(engines: Engines) -> None:
    """Arrays are concatenated only if they hold the same type."""
    tables = {f"{PROJECT}.{name}": columns for name, columns in BIGQUERY_RAW.items()}
    models = engines.gcp.statements("model")
    columns = [
        f"select array_concat([t.{column}], array<{kind}>[]) from {PROJECT}.{name} as t"
        for name in engines.gcp.models
        for column, kind in engines.kinds(name).items()
    ]
    with parts.googlesql() as google:
        told = google.check(";\n".join([*models, *columns]), tables)
    assert len(told) == len(models) + len(columns)
    assert {one.sql: one.error for one in told if one.error} == {}


def test_every_model_has_rows_to_be_compared(engines: Engines) -> None:
    assert [name for name in engines.local.models if not engines.rows(name)[0]] == []


def test_tables_are_equal_row_for_row(engines: Engines) -> None:
    """Sums of floats depend on the order of the rows, so floats may differ in their last digits;
    a decimal or a whole number may not.
    """
    for name in engines.local.models:
        here, there = engines.rows(name)
        assert len(here) == len(there), name
        for ours, theirs in zip(here, there, strict=True):
            assert list(ours) == list(theirs), name
            assert {c: (v, theirs[c]) for c, v in ours.items() if not _same(v, theirs[c])} == {}


def _same(here: Any, there: Any) -> bool:
    if isinstance(here, float) and isinstance(there, float):
        return math.isclose(here, there, rel_tol=1e-12, abs_tol=1e-9)
    return type(here) is type(there) and bool(here == there)
