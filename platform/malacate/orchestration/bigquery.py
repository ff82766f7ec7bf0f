"""The BigQuery warehouse of a target's URL, its client through Dagster's resource.

``bigquery://project?location=EU``; ``key`` names a CMEK. Credentials are the application's default;
with ``BIGQUERY_EMULATOR_HOST`` there are none, and rows come as JSON unless
``BIGQUERY_STORAGE_EMULATOR_HOST`` names the emulator's gRPC too.
"""

import os
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from malacate.errors import ConfigError
from malacate.lake.lake import Lake
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_jobs import Jobs, page
from malacate.warehouse.cost import Meter

__all__ = ["estimated", "page", "reader", "warehouse"]

_KEYS = ("location", "key")


def warehouse(url: str, lake: Lake, meter: Meter) -> BigQueryWarehouse:
    """The warehouse at ``url``, which loads what has landed in ``lake``, a bucket of GCS.

    ``meter`` is told of every statement.
    """
    parts = urlsplit(url)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    if not parts.netloc or given.keys() - set(_KEYS):
        raise ConfigError(
            "a BigQuery URL has no project, or a setting that is not known",
            f"Write bigquery://project?location=EU; it may have {', '.join(_KEYS)}.",
            object=url,
            reason="bad_url",
        )
    if not lake.uri("").startswith("gs://"):
        raise ConfigError(
            "BigQuery cannot load from the lake of this target",
            "Give the target a lake in a bucket of GCS: gs://bucket/folder.",
            object=lake.uri(""),
            reason="lake_unreachable",
        )
    location = given.get("location")
    jobs = Jobs(_client(parts.netloc, location), meter=meter, key=given.get("key"))
    return BigQueryWarehouse(jobs, lake.uri, location, given.get("key"), reader())


def estimated(warehouse: Any, job_id: str, location: str) -> int | None:
    """What BigQuery had estimated of a job that dbt began in the project of ``warehouse``."""
    jobs = Jobs(_client(warehouse.location, None))
    return jobs.estimated(job_id, location)


@cache
def _client(project: str, location: str | None) -> Any:
    if os.environ.get("BIGQUERY_EMULATOR_HOST"):
        from google.auth import credentials
        from google.cloud import bigquery

        nobody: Any = credentials.AnonymousCredentials
        return bigquery.Client(project, credentials=nobody(), location=location)
    from dagster_gcp import BigQueryResource

    with BigQueryResource(project=project, location=location).get_client() as client:
        return client


@cache
def reader() -> Any:
    """The client of the Storage Read API; ``None`` where it, or an emulator of it, is absent."""
    emulator = os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST")
    if not emulator and os.environ.get("BIGQUERY_EMULATOR_HOST"):
        return None
    try:
        from google.cloud.bigquery_storage import BigQueryReadClient
    except ImportError:
        return None
    client: Any = BigQueryReadClient
    return emulated_reader(emulator) if emulator else client()


def emulated_reader(address: str) -> Any:
    """A client of the Storage Read API at ``address``, without credentials or encryption."""
    import grpc
    from google.cloud.bigquery_storage import BigQueryReadClient

    channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
    client: Any = BigQueryReadClient
    return client(transport=client.get_transport_class("grpc")(channel=channel))
