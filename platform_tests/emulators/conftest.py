from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from platform_tests.emulators import gcs, parts

PROJECT = "acme"


def client_at(url: str) -> bigquery.Client:
    """The client that the platform uses, without credentials."""
    return bigquery.Client(
        PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )


@dataclass(frozen=True)
class Warehouse:
    """BigQuery and Google Cloud Storage over the same bytes."""

    url: str
    storage_url: str
    bucket_root: Path
    client: bigquery.Client

    def rows(self, sql: str) -> list[Any]:
        """What it holds, asked without going by a proxy."""
        return [tuple(row) for row in self.client.query(sql).result()]


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    root = tmp_path_factory.mktemp("buckets")
    with parts.bigquery(root) as server, gcs.serving(root) as storage_url:
        yield Warehouse(server.url, storage_url, root, client_at(server.url))


@pytest.fixture(scope="session")
def google() -> Iterator[parts.GoogleSQL]:
    with parts.googlesql() as analyzer:
        yield analyzer
