from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_tests.emulators import bigquery_proxy, parts
from platform_tests.warehouse.engines import ENGINES, Engine, on_bigquery, on_duckdb


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[parts.BigQuery]:
    with parts.bigquery() as server:
        yield server


@pytest.fixture(scope="session")
def bigquery_url(bigquery_server: parts.BigQuery) -> Iterator[str]:
    """Through the proxy, which refuses an id that is taken, as the service does."""
    with bigquery_proxy.proxied(bigquery_server.url) as proxy:
        yield proxy.url


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "duckdb":
        return on_duckdb(tmp_path)
    server, url = map(request.getfixturevalue, ("bigquery_server", "bigquery_url"))
    return on_bigquery(server, url)
