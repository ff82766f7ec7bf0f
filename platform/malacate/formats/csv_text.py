"""The bytes of a text file as text: decompressed, decoded, in blocks, and refused where broken."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from malacate.errors import UnreadableFile
from malacate.formats.caps import Caps
from malacate.formats.unpack import blocks

BLOCK = 1 << 20


def texts(path: Path, encoding: str, caps: Caps) -> Iterator[str]:
    """The decoded text of a file in blocks, without byte order mark, unpacked where packed."""
    decoder = codecs.getincrementaldecoder(encoding)()
    offset, fresh = 0, True
    for block in blocks(path, caps, BLOCK):
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
