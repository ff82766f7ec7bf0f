from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import bigquery
from platform_tests.emulators import bigquery_proxy, bigquery_storage, parts
from platform_tests.warehouse.derivations import derivation_engine  # noqa: F401
from platform_tests.warehouse.engines import (
    DATASETS,
    ENGINES,
    PROJECT,
    Engine,
    on_bigquery,
    on_duckdb,
    on_gcp,
)

from malacate.orchestration.bigquery import emulated_reader


@pytest.fixture(scope="session")
def bigquery_server() -> Iterator[parts.BigQuery]:
    with parts.bigquery() as server:
        yield server


@pytest.fixture(scope="session")
def bigquery_proxied(bigquery_server: parts.BigQuery) -> Iterator[bigquery_proxy.Proxy]:
    with bigquery_proxy.proxied(bigquery_server.url) as proxy:
        yield proxy


@pytest.fixture(scope="session")
def bigquery_url(bigquery_proxied: bigquery_proxy.Proxy) -> str:
    """Through the proxy, which refuses an id that is taken, as the service does."""
    return bigquery_proxied.url


@pytest.fixture(scope="session")
def storage(
    bigquery_server: parts.BigQuery, bigquery_proxied: bigquery_proxy.Proxy
) -> Iterator[bigquery_storage.Storage]:
    with bigquery_storage.serving(bigquery_server, bigquery_proxied) as serving:
        yield serving


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
    server, url, storage = map(
        request.getfixturevalue, ("bigquery_server", "bigquery_url", "storage")
    )
    return on_bigquery(server, url, storage=emulated_reader(storage.url))
