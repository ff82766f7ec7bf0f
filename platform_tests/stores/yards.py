"""Places of drops with somebody else's hand in them: each kind of store on a real server.

Stores are opened as the platform opens them, through Dagster's resources and the environment.
"""

import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from platform_tests.emulators.parts import AZURE_KEY

from malacate.orchestration import stores
from malacate.stores.protocol import Store

BUCKET = "drops"
ACCOUNT = "devstoreaccount1"
KINDS = ("folder", "s3", "gcs", "gcs_lax", "azure")
"""``gcs_lax`` is another's stand-in, which passes over conditions on reads and removals."""


@dataclass(frozen=True)
class Yard:
    """An empty place: its ``store``, and ``put`` and ``delete`` as a supplier would."""

    kind: str
    store: Store
    missing: Store
    put: Callable[[str, bytes], None]
    delete: Callable[[str], None]


def opened(kind: str, where: str, server: str) -> Store:
    """The store of ``kind`` at ``where``, spoken to at ``server``."""
    kind = kind.removesuffix("_lax")
    given = {
        "s3": {
            "AWS_ENDPOINT_URL": server,
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
        },
        "gcs": {"STORAGE_EMULATOR_HOST": server, "GOOGLE_CLOUD_PROJECT": "mine"},
        "azure": {
            "AZURE_STORAGE_CONNECTION_STRING": f"DefaultEndpointsProtocol=http;"
            f"AccountName={ACCOUNT};AccountKey={AZURE_KEY};BlobEndpoint={server}/{ACCOUNT};"
        },
    }
    scheme = {"s3": "s3", "gcs": "gs", "azure": "az"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.get(kind, {}).items():
            patch.setenv(name, value)
        for client in (stores.s3_client, stores.gcs_client, stores.azure_client):
            client.cache_clear()
        store = stores.store(where if kind == "folder" else f"{scheme[kind]}://{where}")
        assert store.uri
    return store


@cache
def supplier(kind: str, server: str) -> tuple[Callable[[str, bytes], Any], Callable[[str], Any]]:
    """How somebody else writes and removes keys of the bucket, which is made if need be."""
    if kind == "s3":
        return _by_boto(server)
    if kind.startswith("gcs"):
        return _by_google(server)
    return _by_azure(server)


def yard(kind: str, server: str, folder: Path) -> Yard:
    """An empty place of its own."""
    if kind == "folder":
        return _folder(folder)
    put, delete = supplier(kind, server)
    prefix = uuid.uuid4().hex
    return Yard(
        kind,
        opened(kind, f"{BUCKET}/{prefix}", server),
        opened(kind, "nowhere-at-all/x", server),
        lambda key, data: put(f"{prefix}/{key}", data),
        lambda key: delete(f"{prefix}/{key}"),
    )


def _folder(root: Path) -> Yard:
    def put(key: str, data: bytes) -> None:
        path = os.path.join(os.fsencode(root), os.fsencode(key))  # noqa: PTH118
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path + b"~", "wb") as file:  # noqa: PTH123
            file.write(data)
        os.replace(path + b"~", path)  # noqa: PTH105

    return Yard(
        "folder",
        opened("folder", str(root), ""),
        opened("folder", str(root / "nowhere"), ""),
        put,
        lambda key: (root / key).unlink(),
    )


def _by_boto(server: str) -> tuple[Callable[[str, bytes], Any], Callable[[str], Any]]:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=server,
        region_name="us-east-1",
        aws_access_key_id="nobody",
        aws_secret_access_key="nothing",
    )
    client.create_bucket(Bucket=BUCKET)
    return (
        lambda key, data: client.put_object(Bucket=BUCKET, Key=key, Body=data),
        lambda key: client.delete_object(Bucket=BUCKET, Key=key),
    )


def _by_google(server: str) -> tuple[Callable[[str, bytes], Any], Callable[[str], Any]]:
    from google.api_core.exceptions import Conflict
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    client = Client("mine", AnonymousCredentials(), client_options={"api_endpoint": server})
    with suppress(Conflict):
        client.create_bucket(BUCKET)
    bucket = client.bucket(BUCKET)
    return (
        lambda key, data: bucket.blob(key).upload_from_string(data),
        lambda key: bucket.blob(key).delete(),
    )


def _by_azure(server: str) -> tuple[Callable[[str, bytes], Any], Callable[[str], Any]]:
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import BlobServiceClient

    service = BlobServiceClient(f"{server}/{ACCOUNT}", credential=AZURE_KEY)
    container = service.get_container_client(BUCKET)
    with suppress(ResourceExistsError):
        container.create_container()
    return (
        lambda key, data: container.upload_blob(key, data, overwrite=True),
        lambda key: container.delete_blob(key),
    )
