"""S3, and what speaks like it, through boto3.

A listing tells no version id, so a version is ETag, second of the last write, and size. Whoever
writes the same bytes twice within a second writes one version. An ETag is an MD5 only where the
object came in one piece and no key service encrypted it.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from malacate.stores.answers import Busy, Changed, Held, Refused, of_status

_MD5 = re.compile("[0-9a-f]{32}")
_WRITER = "malacatewriter"
_ASK_AGAIN = ("ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown")
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError")


class S3Bucket:
    """A bucket; ``client`` is boto3's, without retries."""

    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @property
    def uri(self) -> str:
        """See ``Bucket``."""
        return f"s3://{self._bucket}"

    def rank(self, key: str) -> bytes:
        """See ``Bucket``."""
        return key.encode()

    def page(self, prefix: str, after: str, token: str) -> tuple[list[Held], str]:
        """See ``Bucket``."""
        where = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
        with _answers():
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, **where)
        items = [_held(item["Key"], item, item["Size"]) for item in found.get("Contents", ())]
        return items, found.get("NextContinuationToken", "")

    def head(self, key: str) -> Held:
        """See ``Bucket``."""
        with _answers():
            found = self._client.head_object(Bucket=self._bucket, Key=key)
        return _held(key, found, found["ContentLength"])

    def read(self, held: Held, start: int, stop: int) -> bytes:
        """See ``Bucket``."""
        with _answers():
            found = self._client.get_object(
                Bucket=self._bucket,
                Key=held.key,
                Range=f"bytes={start}-{stop - 1}",
                IfMatch=f'"{held.match}"',
            )
            if _seconds(found) * 10**9 != held.modified_ns:
                raise Changed("the same bytes were written again")
            return bytes(found["Body"].read())

    def create(self, key: str, data: BinaryIO, writer: str) -> None:
        """See ``Bucket``; 5 GB at most."""
        data.seek(0)
        with _answers():
            self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=data,
                IfNoneMatch="*",
                Metadata={_WRITER: writer},
            )

    def replace(self, key: str, data: BinaryIO) -> None:
        """See ``Bucket``; 5 GB at most."""
        data.seek(0)
        with _answers():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=data)

    def remove(self, held: Held) -> None:
        """See ``Bucket``; services that do not know the condition ignore it."""
        with _answers():
            self._client.delete_object(
                Bucket=self._bucket, Key=held.key, IfMatch=f'"{held.match}"'
            )  # fmt: skip


def _held(key: str, facts: dict[str, Any], size: int) -> Held:
    etag, seconds = facts["ETag"].strip('"'), _seconds(facts)
    plain = _MD5.fullmatch(etag) and "kms" not in facts.get("ServerSideEncryption", "")
    md5 = partial(hashlib.md5, usedforsecurity=False)
    return Held(
        key=key,
        size=size,
        version=f"{etag}-{seconds}-{size}",
        ordinal=seconds * 10**9,
        modified_ns=seconds * 10**9,
        match=etag,
        checksum=(md5, bytes.fromhex(etag)) if plain else None,
        writer=facts.get("Metadata", {}).get(_WRITER, ""),
    )


def _seconds(facts: dict[str, Any]) -> int:
    return int(facts["LastModified"].timestamp())


@contextmanager
def _answers() -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        told, facts = error.response["Error"], error.response["ResponseMetadata"]
        said = f"{told.get('Code')}: {told.get('Message')}"
        wait = facts.get("HTTPHeaders", {}).get("retry-after")
        if told.get("Code") in _ASK_AGAIN:
            raise Busy(said) from error
        raise of_status(facts["HTTPStatusCode"], said, wait) from error
    except BotoCoreError as error:
        if type(error).__name__ in _NO_CREDENTIALS:
            raise Refused(0, str(error)) from error
        raise Busy(str(error)) from error
