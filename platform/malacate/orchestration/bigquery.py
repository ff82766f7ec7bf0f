"""The BigQuery warehouse of a target's URL, its client through Dagster's resource.

``bigquery://project?location=EU``; ``key`` names a CMEK, ``most_bytes`` what one statement may
read. Credentials are the application's default; with ``BIGQUERY_EMULATOR_HOST`` there are none.
"""

import os
from functools import cache
from typing import Any
from urllib.parse import parse_qs, urlsplit

from malacate.errors import ConfigError
from malacate.lake.lake import Lake
from malacate.warehouse.bigquery import BigQueryWarehouse
from malacate.warehouse.bigquery_jobs import Jobs

_KEYS = ("location", "key", "most_bytes")


def warehouse(url: str, lake: Lake) -> BigQueryWarehouse:
    """The warehouse at ``url``, which loads what has landed in ``lake``, a bucket of GCS."""
    parts = urlsplit(url)
    given = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    most = given.get("most_bytes", "")
    if not parts.netloc or given.keys() - set(_KEYS) or (most and not most.isdecimal()):
        raise ConfigError(
            "a BigQuery URL has no project, or a setting that is not known",
            f"Write bigquery://project?location=EU; it may have {', '.join(_KEYS)}, a number.",
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
    jobs = Jobs(_client(parts.netloc, location), most_bytes=int(most) if most else None)
    by_rest = bool(os.environ.get("BIGQUERY_EMULATOR_HOST"))
    return BigQueryWarehouse(jobs, lake.uri, location, given.get("key"), by_rest)


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
