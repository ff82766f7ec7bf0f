"""Derived tables in an empty warehouse of the engine that is tried, for each history a new one."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.engines import ENGINES, Engine, on_bigquery, on_duckdb

from malacate.names import TableName
from malacate.warehouse.protocol import Derivation

OPENED: list[Callable[[], AbstractContextManager[Engine]]] = []
Row = dict[str, Any]


@contextmanager
def on_own_duckdb() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        yield on_duckdb(Path(folder))


@pytest.fixture(scope="module", params=ENGINES)
def derivation_engine(request: pytest.FixtureRequest) -> Iterator[None]:
    """What ``derived`` opens."""
    if request.param == "duckdb":
        OPENED.append(on_own_duckdb)
    else:
        server, url = map(request.getfixturevalue, ("bigquery_server", "bigquery_url"))
        OPENED.append(lambda: nullcontext(on_bigquery(server, url)))
    yield
    OPENED.pop()


def derived(
    published: Any, by: Derivation, batches: Sequence[Sequence[Row]], name: str, together: int
) -> list[Row]:
    with OPENED[-1]() as engine:
        warehouse = engine.warehouse
        warehouse.ensure([published, by.target])
        make = Batches(engine.lake, published)
        all_of_them = [
            make.of(drop(f"{i}"), rows, derives=by, replaces_older=False)
            for i, rows in enumerate(batches)
        ]
        for start in range(0, len(all_of_them), together):
            warehouse.publish(all_of_them[start : start + together])
        rows: list[Row] = warehouse.read(TableName("raw_lab", name)).to_pylist()
    return rows


def after_versions(published: Any, by: Derivation, versions: Sequence[Sequence[Row]]) -> list[Row]:
    """Publish versions of one file, each in place of the one before; read what is derived."""
    with OPENED[-1]() as engine:
        warehouse, make = engine.warehouse, Batches(engine.lake, published)
        for ordinal, rows in enumerate(versions, 1):
            warehouse.publish([make.of(drop("f", ordinal), rows, derives=by)])
        rows: list[Row] = warehouse.read(by.target.name).to_pylist()
    return rows
