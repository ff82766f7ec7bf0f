"""The blocks of an Avro file, decompressed with a bound on what they may become."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Protocol

import cramjam
from backports import zstd

from malacate.errors import UnreadableFile

BLOCK_LIMIT = 64 << 20
"""The most bytes that one block may become."""

RATIO_LIMIT = 200
"""How many times its size a block may become, once that is more than ``RATIO_FROM`` bytes."""

RATIO_FROM = 10 << 20

_USUAL_RATIO = 12


class Damaged(Exception):
    """A block that its codec refuses."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...


def decompressed(codec: str, data: bytes) -> bytes:
    """One block's rows, never holding more than ``BLOCK_LIMIT`` of them.

    Raises ``UnreadableFile`` for a decompression bomb and ``Damaged`` for broken data.
    """
    if codec == "null":
        return _bounded(data, len(data))
    try:
        plain = _OF[codec](data) if codec in _OF else _streamed(codec, data)
    except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError) as error:
        raise Damaged(str(error)) from error
    return _bounded(plain, len(data))


_OPEN: dict[str, Callable[[], _Decompressor]] = {
    "deflate": lambda: zlib.decompressobj(-15),
    "zstandard": zstd.ZstdDecompressor,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def _streamed(codec: str, data: bytes) -> bytes:
    parts: list[bytes] = []
    size = 0
    while data:
        stream = _OPEN[codec]()
        parts.append(stream.decompress(data, BLOCK_LIMIT + 1 - size))
        size += len(parts[-1])
        if size > BLOCK_LIMIT:
            raise _bomb(f"more than {size} bytes from {len(data)}")
        if not stream.eof:
            raise Damaged("the compressed data ends early")
        # Some writers leave bytes of a zlib checksum behind the deflated data.
        data = b"" if codec == "deflate" else stream.unused_data
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _deflated(data: bytes) -> bytes:
    """Into a buffer that most blocks fit; what does not is unpacked again under the limit."""
    room = memoryview(bytearray(_USUAL_RATIO * len(data)))
    try:
        return bytes(room[: cramjam.deflate.decompress_into(data, room)])
    except cramjam.DecompressionError:
        return _streamed("deflate", data)


def _snappy(data: bytes) -> bytes:
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > BLOCK_LIMIT:
        raise _bomb(f"{size} bytes from {len(data)}")
    try:
        plain = bytes(cramjam.snappy.decompress_raw(data[:-4]))
    except cramjam.DecompressionError as error:
        raise Damaged(str(error)) from error
    if zlib.crc32(plain) != int.from_bytes(data[-4:], "big"):
        raise Damaged("the checksum is not that of the data")
    return plain


_OF: dict[str, Callable[[bytes], bytes]] = {"deflate": _deflated, "snappy": _snappy}


def _bounded(plain: bytes, size: int) -> bytes:
    bomb = len(plain) > RATIO_FROM and len(plain) > RATIO_LIMIT * size
    if bomb or len(plain) > BLOCK_LIMIT:
        raise _bomb(f"{len(plain)} bytes from {size}")
    return plain


def _bomb(actual: str) -> UnreadableFile:
    return UnreadableFile(
        "a block of an Avro file becomes far larger than it is",
        "If it is meant so, have the file written in smaller blocks.",
        expected=f"at most {BLOCK_LIMIT >> 20} MiB, and {RATIO_LIMIT} times its size",
        actual=actual,
        reason="decompression_bomb",
    )
