"""The JSON objects of a change file, one by one and in their own bytes.

A file holds one object a line, or one JSON text: an array, or objects one after the other.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malacate.batch import Reject
from malacate.errors import UnreadableFile
from malacate.formats.caps import Caps, too_deep
from malacate.formats.jsonl_lines import BLOCK, lines
from malacate.formats.jsonl_values import Refused, deeper, parsed
from malacate.formats.unpack import blocks

LINE = 128 << 20
"""The most bytes that one event may have; Datastream's own limit is 100 MB."""

TEXT = 512 << 20
"""The most bytes of a file that is one JSON text, which is held whole."""

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}]', re.DOTALL)
_BETWEEN = re.compile(rb"(?:[\s,\[\]]|null)*+")
_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Told:
    """One event: its place from 0, its bytes, and its object; ``None`` for ``null``."""

    place: int
    raw: bytes
    value: dict[str, Any] | None


def told(path: Path, caps: Caps) -> Iterator[Told | Reject]:
    """Every event of a JSON file, packed or not; what is no object is rejected in its bytes.

    Raises ``UnreadableFile`` for a file that is no JSON, or one text that is not whole.
    """
    whole = _is_one_text(next(blocks(path, caps, BLOCK), b""))
    pieces = _of_text(path, caps) if whole else _of_lines(path, caps)
    for place, (raw, offset) in enumerate(pieces):
        if raw.strip() == b"null":
            yield Told(place, raw, None)
            continue
        if deeper(raw, caps.depth):
            raise too_deep(place + 1, caps.depth, path.name)
        try:
            if len(raw) > LINE:
                raise Refused("too_large", f"the event has more than {LINE} bytes")
            yield Told(place, raw, parsed(raw, offset))
        except Refused as error:
            yield Reject(place, error.reason, str(error), raw)


def _is_one_text(head: bytes) -> bool:
    """Whether objects are not told apart by lines: an array, or an object over several lines."""
    found = head.removeprefix(_MARK).lstrip()
    if found.startswith(b"["):
        return True
    some = [line for line in found.split(b"\n", 16)[:16] if line.strip()]
    if len(some) < 2 or some[0].rstrip().endswith((b"}", b"null")):
        return False
    return not some[1].startswith((b"{", b"null"))


def _of_lines(path: Path, caps: Caps) -> Iterator[tuple[bytes, int]]:
    for block in lines(blocks(path, caps, BLOCK), LINE + 1, path):
        if block.size:
            yield block.data, block.offset
            continue
        for _, offset, line in block.split():
            yield line, offset


def _of_text(path: Path, caps: Caps) -> Iterator[tuple[bytes, int]]:
    text = bytearray()
    for block in blocks(path, caps, BLOCK):
        text += block
        if len(text) > TEXT:
            raise _refused(path, "too_large", f"more than {TEXT} bytes in one JSON text", 0)
    data = bytes(text).removeprefix(_MARK)
    end = level = start = 0
    for token in _TOKEN.finditer(data):
        sign = token.group()
        if level == 0 and sign == b"{":
            yield from _nulls(data, end, token.start(), path)
            start = token.start()
        if level or sign == b"{":
            level += (sign in b"{[") - (sign in b"}]")
            if not level:
                end = token.end()
                yield data[start:end], start
    if level:
        raise _refused(path, "truncated", "the text ends inside an object", start)
    yield from _nulls(data, end, len(data), path)
    if data.rstrip().endswith(b"]") is not data.lstrip().startswith(b"["):
        raise _refused(path, "truncated", "the array has no end, or no beginning", len(data))


def _nulls(data: bytes, start: int, end: int, path: Path) -> Iterator[tuple[bytes, int]]:
    """Every ``null`` between two objects; anything but them, commas and brackets is no JSON."""
    between = data[start:end]
    if not _BETWEEN.fullmatch(between):
        raise _refused(path, "bad_json", "something stands between two objects", start)
    for _ in range(between.count(b"null")):
        yield b"null", start


def _refused(path: Path, reason: str, actual: str, at: int) -> UnreadableFile:
    return UnreadableFile(
        "a file of JSON changes cannot be read",
        "Ask for it again; if it comes the same, have it written with one object on each line.",
        object=path.name,
        position=f"byte {at}",
        actual=actual,
        reason=reason,
    )
