"""Google Cloud Storage through its JSON API: a version is a generation, a checksum a CRC32C."""

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from malacate.stores.answers import Busy, Held, Refused, of_status

_WRITER = "malacatewriter"
_TIMEOUT_SECONDS = 60
_ONCE = {"timeout": _TIMEOUT_SECONDS, "retry": None}
_FIELDS = "items(name,size,generation,updated,crc32c),nextPageToken"


class GCSBucket:
    """A bucket; ``client`` is google-cloud-storage's."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._name = bucket

    @property
    def uri(self) -> str:
        """See ``Bucket``."""
        return f"gs://{self._name}"

    def rank(self, key: str) -> bytes:
        """See ``Bucket``."""
        return key.encode()

    def page(self, prefix: str, after: str, token: str) -> tuple[list[Held], str]:
        """See ``Bucket``."""
        with _answers():
            found = self._client.list_blobs(
                self._name,
                prefix=prefix or None,
                start_offset=after or None,
                page_token=token or None,
                fields=_FIELDS,
                **_ONCE,
            )
            items = [_held(blob) for blob in next(found.pages, ())]
            return items, found.next_page_token or ""

    def head(self, key: str) -> Held:
        """See ``Bucket``."""
        blob = self._blob(key)
        with _answers():
            blob.reload(**_ONCE)
            return _held(blob)

    def read(self, held: Held, start: int, stop: int) -> bytes:
        """See ``Bucket``; as stored, whatever the object's content encoding."""
        with _answers():
            data: bytes = self._blob(held.key).download_as_bytes(
                start=start,
                end=stop - 1,
                if_generation_match=int(held.match),
                raw_download=True,
                checksum=None,
                **_ONCE,
            )
        return data

    def create(self, key: str, data: BinaryIO, writer: str) -> None:
        """See ``Bucket``."""
        blob = self._blob(key)
        blob.metadata = {_WRITER: writer}
        _upload(blob, data, if_generation_match=0)

    def replace(self, key: str, data: BinaryIO) -> None:
        """See ``Bucket``."""
        _upload(self._blob(key), data)

    def remove(self, held: Held) -> None:
        """See ``Bucket``."""
        with _answers():
            self._blob(held.key).delete(if_generation_match=int(held.match), **_ONCE)

    def _blob(self, key: str) -> Any:
        return self._client.bucket(self._name).blob(key)


def _upload(blob: Any, data: BinaryIO, **condition: int) -> None:
    with _answers():
        blob.upload_from_file(
            data,
            rewind=True,
            size=data.seek(0, os.SEEK_END),
            content_type="application/octet-stream",
            checksum="crc32c",
            **condition,
            **_ONCE,
        )


def _held(blob: Any) -> Held:
    from google_crc32c import Checksum

    modified_ns = round(blob.updated.timestamp() * 10**6) * 1000
    return Held(
        key=blob.name,
        size=int(blob.size),
        version=str(blob.generation),
        ordinal=int(blob.generation),
        modified_ns=modified_ns,
        match=str(blob.generation),
        checksum=(Checksum, base64.b64decode(blob.crc32c)) if blob.crc32c else None,
        writer=(blob.metadata or {}).get(_WRITER, ""),
    )


@contextmanager
def _answers() -> Iterator[None]:
    from google.api_core.exceptions import GoogleAPICallError, RetryError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except GoogleAPICallError as error:
        headers = getattr(error.response, "headers", {})
        raise of_status(int(error.code or 0), str(error), headers.get("Retry-After")) from error
    except (TransportError, RequestException, HTTPError, RetryError, ConnectionError) as error:
        raise Busy(str(error)) from error
    except GoogleAuthError as error:
        raise Refused(0, str(error)) from error
