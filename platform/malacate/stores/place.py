"""From a URL to the store that stands behind it. Clients come from whoever knows credentials."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO

from malacate.errors import ConfigError
from malacate.stores.folder import FolderStore
from malacate.stores.names import raw
from malacate.stores.objects import Bucket, ObjectStore
from malacate.stores.protocol import Entry, Opened, Store


@dataclass(frozen=True)
class Clients:
    """How to get each service's client; asked only for URLs of that service.

    ``azure`` takes the account, empty where the URL names none.
    """

    s3: Callable[[], Any]
    gcs: Callable[[], Any]
    azure: Callable[[str], Any]


def store_at(url: str, clients: Clients, resolve: Callable[[str], str] = str) -> Store:
    """The store at a folder's path, ``file://``, ``s3://``, ``gs://``, ``az://`` or ``abfss://``.

    Nothing is looked at before the store is used: then ``resolve`` fills references in, and a URL
    that means nothing raises ``ConfigError``.
    """
    return _Place(url, clients, resolve)


@dataclass(frozen=True)
class _Place:
    url: str
    clients: Clients
    resolve: Callable[[str], str]

    @cached_property
    def _store(self) -> Store:
        return _opened(self.resolve(self.url), self.clients)

    @property
    def uri(self) -> str:
        return self._store.uri

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        return self._store.list(prefix, after)

    def head(self, name: str) -> Entry:
        return self._store.head(name)

    def open(self, name: str, version: str) -> AbstractContextManager[Opened]:
        return self._store.open(name, version)

    def create(self, name: str, data: BinaryIO) -> Entry:
        return self._store.create(name, data)

    def replace(self, name: str, data: BinaryIO) -> None:
        self._store.replace(name, data)

    def remove(self, name: str, version: str) -> bool:
        return self._store.remove(name, version)

    def others(self) -> Iterator[str]:
        return self._store.others()


def _opened(url: str, clients: Clients) -> Store:
    scheme, found, rest = url.partition("://")
    if not found:
        return FolderStore(url)
    if scheme == "file":
        return FolderStore(raw(rest).decode())
    host, _, path = rest.partition("/")
    prefix = raw(path).decode().strip("/")
    return ObjectStore(_bucket(scheme, host, url, clients), prefix and f"{prefix}/")


def _bucket(scheme: str, host: str, url: str, clients: Clients) -> Bucket:
    from malacate.stores.azure import AzureContainer
    from malacate.stores.gcs import GCSBucket
    from malacate.stores.s3 import S3Bucket

    container, _, account = host.partition("@")
    if scheme == "s3" and host:
        return S3Bucket(clients.s3(), host)
    if scheme == "gs" and host:
        return GCSBucket(clients.gcs(), host)
    if scheme in ("az", "abfs", "abfss") and container:
        return AzureContainer(clients.azure(account.partition(".")[0]), container)
    raise ConfigError(
        "a place of drops cannot be understood",
        "Give a folder, or file://, s3://, gs://, az:// or abfss:// with a bucket's name.",
        object=url,
        reason="unknown_store",
    )
