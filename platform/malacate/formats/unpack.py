"""The bytes of a file, unpacked as its first bytes say; its name says nothing.

Every member is read to its checksum. Not here: archives of several files.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from backports import zstd

from malacate.errors import UnreadableFile
from malacate.formats.caps import Caps

_MEMORY = 256 << 20
_BROKEN = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError)


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Gzip:
    """zlib's own object, with the manners of the others."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(31)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + data, max_length)


_KINDS: dict[str, tuple[bytes, Callable[[], _Unpacker]]] = {
    "gzip": (b"\x1f\x8b", _Gzip),
    "zstd": (b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
    "bzip2": (b"BZh", bz2.BZ2Decompressor),
    "xz": (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, _MEMORY)),
}
_HEAD = 6


def packed_as(head: bytes) -> str:
    """The name of the packing that the first bytes of a file show, or none."""
    return next((kind for kind, (magic, _) in _KINDS.items() if head.startswith(magic)), "")


def blocks(path: Path, caps: Caps, size: int) -> Iterator[bytes]:
    """The content in blocks of at most ``size`` bytes.

    Raises ``UnreadableFile``: ``truncated``, ``bad_gzip`` (and so on), ``too_large``,
    ``decompression_bomb``.
    """
    out = 0
    with path.open("rb") as file:
        kind = packed_as(file.read(_HEAD))
        file.seek(0)
        for block in _unpacked(file, kind, path, size) if kind else _plain(file, size):
            out += len(block)
            caps.check_bytes(out, path.name)
            if kind:
                caps.check_ratio(out, file.tell(), path.name)
            yield block


def _plain(file: BinaryIO, size: int) -> Iterator[bytes]:
    while block := file.read(size):
        yield block


def _unpacked(file: BinaryIO, kind: str, path: Path, size: int) -> Iterator[bytes]:
    fresh = _KINDS[kind][1]
    unpacker, rest = fresh(), b""
    while True:
        if unpacker.eof:
            if not (rest := _next_member(file, unpacker.unused_data, size)):
                return
            unpacker = fresh()
        elif unpacker.needs_input and not (rest := file.read(size)):
            raise _broken(path, kind, "it ends before its content does", "truncated")
        try:
            block = unpacker.decompress(rest, size)
        except _BROKEN as error:
            raise _broken(path, kind, str(error), f"bad_{kind}") from error
        rest = b""
        if block:
            yield block


def _next_member(file: BinaryIO, rest: bytes, size: int) -> bytes:
    """What follows a member; tapes and some writers fill up with zeros behind the last."""
    while not (rest := rest.lstrip(b"\0")):
        if not (rest := file.read(size)):
            return b""
    return rest


def _broken(path: Path, kind: str, actual: str, reason: str) -> UnreadableFile:
    return UnreadableFile(
        f"the {kind} file is damaged",
        "Ask for it again.",
        object=path.name,
        actual=actual,
        reason=reason,
    )
