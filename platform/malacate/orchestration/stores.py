"""Clients of object stores, through Dagster's resources and the environment.

S3: ``AWS_ENDPOINT_URL``, ``AWS_REGION``, ``AWS_PROFILE`` and boto3's other sources of credentials.
GCS: ``GOOGLE_CLOUD_PROJECT``, application default credentials, ``STORAGE_EMULATOR_HOST``.
Azure: ``AZURE_STORAGE_CONNECTION_STRING``, or ``AZURE_STORAGE_ACCOUNT`` with
``AZURE_STORAGE_KEY``, ``AZURE_STORAGE_SAS_TOKEN`` or what azure-identity finds.
"""

import os
from functools import cache
from typing import Any

from malacate.errors import ConfigError
from malacate.orchestration.environment import by_reference, resolve
from malacate.stores.place import Clients, store_at
from malacate.stores.protocol import Store

_ONCE: dict[str, Any] = {"retry_total": 0, "connection_timeout": 20, "read_timeout": 60}


def store(url: str) -> Store:
    """The store at ``url`` as a declaration writes it; references are resolved when it is used."""
    return store_at(by_reference(url), Clients(s3_client, gcs_client, azure_client), resolve)


@cache
def s3_client() -> Any:
    """boto3's client of S3, without retries of its own."""
    from dagster_aws.s3 import S3Resource

    return S3Resource(
        max_attempts=0,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3", os.environ.get("AWS_ENDPOINT_URL")),
        region_name=os.environ.get("AWS_REGION"),
        profile_name=os.environ.get("AWS_PROFILE"),
    ).get_client()


@cache
def gcs_client() -> Any:
    """google-cloud-storage's client, without its own look at each bucket for traces."""
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    from dagster_gcp.gcs import GCSResource

    return GCSResource(project=os.environ.get("GOOGLE_CLOUD_PROJECT")).get_client()


@cache
def azure_client(account: str) -> Any:
    """azure-storage-blob's client of ``account``, by default the environment's, without retries."""
    try:
        from azure.storage.blob import BlobServiceClient
    except ImportError as error:
        raise ConfigError(
            "the client of Azure Storage is not installed",
            "Install malacate with its extra: pip install 'malacate[azure]'.",
            reason="missing_extra",
        ) from error

    given = os.environ
    if not account and (text := given.get("AZURE_STORAGE_CONNECTION_STRING")):
        return BlobServiceClient.from_connection_string(text, **_ONCE)
    name = account or given.get("AZURE_STORAGE_ACCOUNT")
    if not name:
        raise ConfigError(
            "it is not said which Azure account holds the container",
            "Set AZURE_STORAGE_ACCOUNT, or write abfss://container@account.dfs.core.windows.net/.",
            reason="missing_variable",
        )
    secret = given.get("AZURE_STORAGE_KEY") or given.get("AZURE_STORAGE_SAS_TOKEN") or _identity()
    return BlobServiceClient(f"https://{name}.blob.core.windows.net", credential=secret, **_ONCE)


def _identity() -> Any:
    from azure.identity import DefaultAzureCredential

    return DefaultAzureCredential()
