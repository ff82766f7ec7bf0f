"""A message as it came, and many of them as the bytes of one file."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from malacate.formats.message_files import SCHEMA

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Message:
    """``data`` as it was published; ``published_at`` in microseconds since 1970, by the broker.

    ``message_id`` tells a message from all others of its topic, where the broker gives it one.
    """

    data: bytes
    topic: str | None = None
    message_id: str | None = None
    published_at: int | None = None
    attributes: Pairs = ()


def as_file(messages: Sequence[Message]) -> bytes:
    """A Parquet file of format ``messages``: the same messages give the same bytes."""
    columns = [
        [one.topic for one in messages],
        [one.message_id for one in messages],
        [one.published_at for one in messages],
        [list(one.attributes) for one in messages],
        [one.data for one in messages],
    ]
    arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
    table, out = pa.Table.from_arrays(arrays, schema=SCHEMA), BytesIO()
    pq.write_table(table, out, compression="zstd", write_page_checksum=True)
    return out.getvalue()


def text(raw: bytes) -> str:
    """``raw`` as text; bytes that are none are written out as ``\\xff``."""
    return raw.decode("utf-8", "backslashreplace")
