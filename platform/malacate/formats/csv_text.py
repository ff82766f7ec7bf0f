"""The bytes of a text file as text: decompressed, decoded, in blocks, and refused where broken."""

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from malacate.errors import UnreadableFile

BLOCK = 1 << 20
BOMB_RATIO = 200
BOMB_FROM = 10 << 20
_GZIP = b"\x1f\x8b"


def texts(path: Path, encoding: str) -> Iterator[str]:
    """The decoded text of a file in blocks, without byte order mark; gzip is seen by its bytes."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, fresh = 0, True
    with path.open("rb") as file:
        for block in _blocks(file, path):
            text = _decode(decoder, block, offset, encoding, path)
            offset += len(block)
            if fresh and text:
                text, fresh = text.removeprefix("\ufeff"), False
            if text:
                yield text
    _decode(decoder, b"", offset, encoding, path, final=True)
    if not offset:
        raise empty(path)


def empty(path: Path) -> UnreadableFile:
    """A file that has not even a header."""
    return UnreadableFile(
        "the file is empty, without even a header",
        "Ask for it again, or release it if nothing was to come.",
        object=path.name,
        reason="empty_object",
    )


def _decode(
    decoder: codecs.IncrementalDecoder,
    block: bytes,
    offset: int,
    encoding: str,
    path: Path,
    final: bool = False,
) -> str:
    waiting = decoder.getstate()[0]
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        at = offset - len(waiting) + error.start
        raise UnreadableFile(
            f"the file is not {encoding}",
            "Declare the encoding it has (latin-1, cp1252, utf-16), or ask for it in this one.",
            object=path.name,
            position=f"byte {at}",
            actual=f"0x{error.object[error.start]:02x}: {error.reason}",
            reason="bad_encoding",
        ) from error


def _blocks(file: BinaryIO, path: Path) -> Iterator[bytes]:
    head = file.read(len(_GZIP))
    file.seek(0)
    if head == _GZIP:
        yield from _inflated(file, path)
        return
    while block := file.read(BLOCK):
        yield block


def _inflated(file: BinaryIO, path: Path) -> Iterator[bytes]:
    inflater, rest, out = zlib.decompressobj(31), b"", 0
    while rest := rest or file.read(BLOCK // 4):
        if inflater.eof:
            if not (rest := rest.lstrip(b"\0")):
                continue
            inflater = zlib.decompressobj(31)
        try:
            block = inflater.decompress(rest, BLOCK)
        except zlib.error as error:
            raise _broken_gzip(path, str(error), "bad_gzip") from error
        rest = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        out += len(block)
        _check_ratio(out, file.tell() - len(rest), path)
        if block:
            yield block
    if not inflater.eof:
        raise _broken_gzip(path, "it ends before its content does", "truncated")


def _broken_gzip(path: Path, actual: str, reason: str) -> UnreadableFile:
    return UnreadableFile(
        "the gzip file is damaged",
        "Ask for it again.",
        object=path.name,
        actual=actual,
        reason=reason,
    )


def _check_ratio(out: int, read: int, path: Path) -> None:
    if out > BOMB_FROM and out > BOMB_RATIO * read:
        raise UnreadableFile(
            "the file unpacks to far more than a table would",
            "Look at who sent it; ask for it uncompressed if it is genuine.",
            object=path.name,
            expected=f"at most {BOMB_RATIO} bytes for each one compressed",
            actual=f"{out} bytes from {read}",
            reason="decompression_bomb",
        )
