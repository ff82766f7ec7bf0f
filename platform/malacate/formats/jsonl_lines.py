"""The bytes of a JSON lines file as whole lines. Memory is bounded by a block and one line."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from malacate.errors import UnreadableFile

BLOCK = 1 << 20
_MARK = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"{\0", b"\0{")


@dataclass(frozen=True)
class Lines:
    """Whole lines, each with its newline; ``first`` is a line number, ``offset`` in bytes.

    Where ``size`` is set, ``data`` is the head of a single line of so many bytes.
    """

    first: int
    offset: int
    data: bytes
    size: int = 0

    def split(self) -> Iterator[tuple[int, int, bytes]]:
        """Number, offset and bytes of each line that is not blank."""
        at = self.offset
        for number, line in enumerate(self.data.split(b"\n")[:-1], self.first):
            if line.strip():
                yield number, at, line.removesuffix(b"\r")
            at += len(line) + 1


def lines(blocks: Iterator[bytes], cap: int, path: Path) -> Iterator[Lines]:
    """The lines of ``blocks``; a last one without newline is a line. Of one over ``cap``, a head.

    Raises ``UnreadableFile`` for what is no JSON lines file at all.
    """
    fresh = True
    for found in _whole(blocks, cap):
        if fresh:
            _check(found.data, path)
            fresh = False
        if found.first == 1 and found.data.startswith(_MARK):
            found = Lines(1, len(_MARK), found.data.removeprefix(_MARK), found.size)
        yield found
    if fresh:
        raise _refused(
            "the file is empty", "Ask for it again, or release it.", "empty_object", path
        )


def _whole(blocks: Iterator[bytes], cap: int) -> Iterator[Lines]:
    number, offset, held, size = 1, 0, bytearray(), 0
    for block in blocks:
        if size > len(held) and b"\n" in block:
            rest, _, block = block.partition(b"\n")
            size += len(rest)
            yield Lines(number, offset, bytes(held), size)
            number, offset, held, size = number + 1, offset + size + 1, bytearray(), 0
        end = block.rfind(b"\n") + 1
        if end:
            data = bytes(held) + block[:end]
            yield Lines(number, offset, data)
            number, offset = number + data.count(b"\n"), offset + len(data)
            held, size = bytearray(), 0
        size += len(block) - end
        held += block[end : end + max(0, cap - len(held))]
    if size > len(held):
        yield Lines(number, offset, bytes(held), size)
    elif held:
        yield Lines(number, offset, bytes(held) + b"\n")


def _check(head: bytes, path: Path) -> None:
    if head.startswith(_WIDE):
        advice = "Ask for it in UTF-8: JSON has no other encoding between systems."
        raise _refused("the file is UTF-16", advice, "bad_encoding", path)
    first = head.removeprefix(_MARK).lstrip()
    if first.startswith(b"[") or first.split(b"\n", 1)[0].strip() == b"{":
        advice = (
            "Have it written with one object on each line: `jq -c '.[]'` does that to an array."
        )
        raise _refused(
            "the file is one JSON text, not lines of JSON", advice, "not_json_lines", path
        )


def _refused(what: str, advice: str, reason: str, path: Path) -> UnreadableFile:
    return UnreadableFile(what, advice, object=path.name, position="line 1", reason=reason)
