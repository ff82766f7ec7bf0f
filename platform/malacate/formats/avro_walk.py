"""The blocks of an Avro file, walked without decompressing them: is it whole, and what is it?

A file cut exactly between two blocks is a whole file of fewer rows; nothing in the format tells.
Nor does it of a cut one byte later, if that byte, the count of the next block, reads as the newline
that is tolerated at the end. Such cuts are found where the file is copied, by its store's size.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from malacate.errors import UnreadableFile

CODECS = ("null", "deflate", "snappy", "zstandard", "bzip2", "xz")
_MAGIC = b"Obj\x01"
_SYNC = 16
_MOST_HEADERS = 10_000
_MOST_ROWS = 1 << 31
_HEADER_ROOM = (1 << 16, 64 << 20)
_NUMBERS = 20
"""The most bytes that the two numbers before a block take."""

_ADVICE = "Ask for the file again; if it comes the same, its writer is at fault."


@dataclass(frozen=True)
class Blocks:
    """An intact file. ``places`` has the offset, size and row count of each block's data."""

    rows: int
    codec: str
    schema: Any
    places: list[tuple[int, int, int]] = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return len(self.places)


def walk(path: Path) -> Blocks:
    """Check the framing of a file from its header to its last byte, and count its rows.

    Raises ``UnreadableFile`` for a file that is not whole.
    """
    with path.open("rb", buffering=0) as file:
        length = os.fstat(file.fileno()).st_size
        if not length:
            raise unreadable("an Avro file has no bytes", "empty_object", 0)
        meta, sync, at = _start(file.fileno(), length)
        codec, schema = _meaning(meta, at)
        places, end = _places(file.fileno(), length, at, sync)
    rows = sum(count for _, _, count in places)
    warnings = ("one newline byte follows the last block",) if end < length else ()
    return Blocks(rows, codec, schema, places, warnings)


def unreadable(what: str, reason: str, position: int, actual: str = "") -> UnreadableFile:
    """The error for a file that is damaged at byte ``position``."""
    return UnreadableFile(what, _ADVICE, position=f"byte {position}", actual=actual, reason=reason)


def _start(fd: int, length: int) -> tuple[dict[str, bytes], bytes, int]:
    """The header's entries, the marker that ends each block, and where the first block is."""
    for room in _HEADER_ROOM:
        data = os.pread(fd, room, 0)
        if data[:4] != _MAGIC[: len(data)]:
            actual = repr(data[:4])
            raise unreadable("a file does not begin as Avro files do", "bad_magic", 0, actual)
        try:
            meta, at = _header(data)
            if at + _SYNC <= len(data):
                return meta, data[at : at + _SYNC], at + _SYNC
        except UnreadableFile as error:
            if error.reason != "truncated":
                raise
        if len(data) == length:
            raise unreadable("an Avro file ends inside its header", "truncated", length)
    raise unreadable("an Avro header is damaged", "bad_header", 4, f"more than {room} bytes")


def _header(data: bytes) -> tuple[dict[str, bytes], int]:
    meta: dict[str, bytes] = {}
    at = len(_MAGIC)
    while True:
        count, at = _long(data, at)
        if count < 0:
            _, at = _long(data, at)
        if not count:
            return meta, at
        if abs(count) > _MOST_HEADERS:
            raise unreadable("an Avro header is damaged", "bad_header", at, f"{count} entries")
        for _ in range(abs(count)):
            key, at = _bytes(data, at)
            value, at = _bytes(data, at)
            meta[key.decode("utf-8", "replace")] = value


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    size, at = _long(data, at)
    if size < 0:
        raise unreadable("an Avro header is damaged", "bad_header", at, f"a size of {size}")
    if at + size > len(data):
        raise unreadable("an Avro file ends inside its header", "truncated", len(data))
    return data[at : at + size], at + size


def _meaning(meta: Mapping[str, bytes], at: int) -> tuple[str, Any]:
    codec = meta.get("avro.codec", b"null").decode("utf-8", "replace")
    if codec not in CODECS:
        raise unreadable("an Avro file has a codec that is not known", "unknown_codec", at, codec)
    try:
        schema = json.loads(meta["avro.schema"])
    except (KeyError, ValueError, RecursionError) as error:
        what = "the schema in an Avro header cannot be read"
        raise unreadable(what, "bad_header", at, f"{type(error).__name__}: {error}") from error
    return codec, schema


def _places(fd: int, length: int, at: int, sync: bytes) -> tuple[list[tuple[int, int, int]], int]:
    places: list[tuple[int, int, int]] = []
    while at < length:
        head = os.pread(fd, _NUMBERS, at)
        if head == b"\n":
            break
        if length - at < _NUMBERS and places and not head.strip():
            what = "blanks follow the last block of an Avro file"
            raise unreadable(what, "trailing_bytes", at, repr(head))
        try:
            count, used = _long(head, 0)
            size, used = _long(head, used)
        except UnreadableFile as error:
            raise unreadable(error.what, error.reason, at, repr(head)) from None
        if count < 0 or size < 0 or count > _MOST_ROWS:
            _refuse(bool(places), length, at, f"{count} rows in {size} bytes")
        start, end = at + used, at + used + size
        if end + _SYNC > length:
            raise unreadable("an Avro file ends inside a block", "truncated", length)
        if os.pread(fd, _SYNC, end) != sync:
            what = "a block of an Avro file does not end with its marker"
            raise unreadable(what, "bad_sync", end)
        places.append((start, size, count))
        at = end + _SYNC
    return places, at


def _refuse(after_blocks: bool, length: int, start: int, actual: str) -> None:
    if after_blocks and length - start < _SYNC:
        what = "bytes follow the last block of an Avro file"
        raise unreadable(what, "trailing_bytes", start, f"{length - start} bytes")
    raise unreadable("a block of an Avro file cannot be so", "corrupt", start, actual)


def _long(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        try:
            byte = data[at]
        except IndexError:
            raise unreadable("an Avro file ends inside a number", "truncated", at) from None
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise unreadable("a number in an Avro file is too long", "corrupt", at)
    return (value >> 1) ^ -(value & 1), at
