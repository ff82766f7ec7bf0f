from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import bigquery
from platform_tests.emulators import bigquery_proxy, parts
from platform_tests.warehouse.engines import (
    DATASETS,
    ENGINES,
    PROJECT,
    Engine,
    on_bigquery,
    on_duckdb,
    on_gcp,
)


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[parts.BigQuery]:
    with parts.bigquery() as server:
        yield server


@pytest.fixture(scope="session")
def bigquery_url(bigquery_server: parts.BigQuery) -> Iterator[str]:
    """Through the proxy, which refuses an id that is taken, as the service does."""
    with bigquery_proxy.proxied(bigquery_server.url) as proxy:
        yield proxy.url


@pytest.fixture(scope="session")
def own_project() -> None:
    """The tests drop datasets, so a project that has them already is not touched."""
    standing = {one.dataset_id for one in bigquery.Client(PROJECT).list_datasets()}
    if used := standing.intersection(DATASETS):
        pytest.exit(f"project {PROJECT} has datasets {sorted(used)}: name one that is empty", 2)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    if request.param == "duckdb":
        return on_duckdb(tmp_path)
    if request.param == "gcp":
        request.getfixturevalue("own_project")
        return on_gcp(tmp_path)
    server, url = map(request.getfixturevalue, ("bigquery_server", "bigquery_url"))
    return on_bigquery(server, url)
