"""Azure Blob Storage, and ADLS through it. An ETag there changes with every write.

A name with a backslash, or a segment ``.`` or ``..``, cannot be asked for: client and service
make another name of it. It is refused, never mistaken for that other.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from malacate.stores.answers import Busy, Changed, Held, Refused, of_status

_WRITER = "malacatewriter"


class AzureContainer:
    """A container; ``client`` is a ``BlobServiceClient`` without retries."""

    def __init__(self, client: Any, container: str) -> None:
        self._client = client.get_container_client(container)

    @property
    def uri(self) -> str:
        """See ``Bucket``."""
        return f"abfss://{self._client.container_name}@{self._client.account_name}"

    def rank(self, key: str) -> bytes:
        """See ``Bucket``; by UTF-16."""
        return key.encode("utf-16-be")

    def page(self, prefix: str, after: str, token: str) -> tuple[list[Held], str]:
        """See ``Bucket``; the service starts at the beginning."""
        with _answers():
            blobs = self._client.list_blobs(name_starts_with=prefix or None, include=["metadata"])
            pages = blobs.by_page(continuation_token=token or None)
            items = [_held(blob) for blob in next(pages, ()) if not _is_folder(blob)]
            return items, pages.continuation_token or ""

    def head(self, key: str) -> Held:
        """See ``Bucket``."""
        with _answers():
            return _held(self._blob(key).get_blob_properties())

    def read(self, held: Held, start: int, stop: int) -> bytes:
        """See ``Bucket``."""
        with _answers():
            found = self._blob(held.key).download_blob(start, stop - start, **_only(held))
            data: bytes = found.readall()
        return data

    def create(self, key: str, data: BinaryIO, writer: str) -> None:
        """See ``Bucket``."""
        data.seek(0)
        with _answers():
            self._blob(key).upload_blob(data, overwrite=False, metadata={_WRITER: writer})

    def replace(self, key: str, data: BinaryIO) -> None:
        """See ``Bucket``."""
        data.seek(0)
        with _answers():
            self._blob(key).upload_blob(data, overwrite=True)

    def remove(self, held: Held) -> None:
        """See ``Bucket``."""
        with _answers():
            self._blob(held.key).delete_blob(**_only(held))

    def _blob(self, key: str) -> Any:
        if "\\" in key or {".", ".."} & set(key.split("/")):
            raise Refused(400, f"{key!r} cannot be asked for: Azure makes another name of it")
        return self._client.get_blob_client(key)


def _only(held: Held) -> dict[str, Any]:
    from azure.core import MatchConditions

    return {"etag": held.match, "match_condition": MatchConditions.IfNotModified}


def _is_folder(blob: Any) -> bool:
    return bool((blob.metadata or {}).get("hdi_isfolder") == "true")


def _held(blob: Any) -> Held:
    modified_ns = int(blob.last_modified.timestamp()) * 10**9
    md5 = blob.content_settings.content_md5
    return Held(
        key=blob.name,
        size=blob.size,
        version=f"{blob.etag.strip(chr(34))}-{blob.size}",
        ordinal=modified_ns,
        modified_ns=modified_ns,
        match=blob.etag,
        checksum=(partial(hashlib.md5, usedforsecurity=False), bytes(md5)) if md5 else None,
        writer=(blob.metadata or {}).get(_WRITER, ""),
    )


@contextmanager
def _answers() -> Iterator[None]:
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

    try:
        yield
    except HttpResponseError as error:
        if error.response is None and isinstance(error, ClientAuthenticationError):
            raise Refused(0, error.message) from error
        if getattr(error, "error_code", "") == "BlobAlreadyExists":
            raise Changed(error.message) from error
        headers = getattr(error.response, "headers", {})
        answer = of_status(error.status_code or 503, error.message, headers.get("Retry-After"))
        raise answer from error
    except AzureError as error:
        raise Busy(error.message) from error
