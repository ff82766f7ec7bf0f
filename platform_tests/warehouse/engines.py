"""A warehouse of each engine, empty, with the lake that it reads landings from."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from google.api_core.client_options import ClientOptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage import BigQueryReadClient
from platform_tests.emulators.parts import BigQuery

from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.orchestration.bigquery import reader
from malacate.orchestration.stores import store
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_jobs import Jobs
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Warehouse

PROJECT, BUCKET = (os.environ.get(f"MALACATE_TEST_{name}", "") for name in ("PROJECT", "BUCKET"))
ENGINES = ("duckdb", "bigquery", *(("gcp",) if PROJECT else ()))
DATASETS = ("malacate", "malacate_staging", "raw_lab")


@dataclass(frozen=True)
class Engine:
    """``again`` opens the same warehouse as another process would."""

    name: str
    lake: Lake
    again: Callable[[], Warehouse]

    @property
    def warehouse(self) -> Warehouse:
        return self.again()


def on_duckdb(folder: Path) -> Engine:
    lake = Lake(folder / "lake")
    return Engine("duckdb", lake, lambda: DuckDBWarehouse(folder / "w.duckdb", lake.root))


def on_gcp(folder: Path, kind: type[bigquery.Client] = bigquery.Client) -> Engine:
    """The project and the bucket that were asked for, without what a test before left there."""
    client = kind(PROJECT)
    for name in DATASETS:
        client.delete_dataset(name, delete_contents=True, not_found_ok=True)
    url = f"gs://{BUCKET}/malacate-test-{os.urandom(5).hex()}"
    lake = Lake(BucketPlace(store(url), folder / "tmp"))
    jobs = Jobs(client)
    return Engine("bigquery", lake, lambda: BigQueryWarehouse(jobs, lake.uri, reader=reader()))


def on_bigquery(
    server: BigQuery,
    url: str,
    patience_seconds: float = 20.0,
    client: type[bigquery.Client] = bigquery.Client,
    storage: BigQueryReadClient | None = None,
) -> Engine:
    """A project and a bucket of its own; ``url`` is that of a proxy before the server."""
    project, bucket = f"p{os.urandom(5).hex()}", f"b{os.urandom(5).hex()}"
    lake = Lake(server.bucket_root / bucket)

    def again() -> Warehouse:
        opened = client(
            project,
            credentials=AnonymousCredentials(),
            client_options=ClientOptions(api_endpoint=url),
        )
        jobs = Jobs(opened, patience_seconds)
        return BigQueryWarehouse(
            jobs,
            lambda path: f"gs://{bucket}/{path}",
            reader=storage,
            patience_seconds=patience_seconds,
        )

    return Engine("bigquery", lake, again)
