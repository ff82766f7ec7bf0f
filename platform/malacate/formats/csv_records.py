"""CSV bytes as records: decompressed, decoded and split with the line each begins on.

Nothing is converted or dropped here. Memory is bounded by a block and one record.
"""

import codecs
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import BinaryIO, NamedTuple

from malacate.errors import UnreadableFile

BLOCK = 1 << 20
BOMB_RATIO = 200
BOMB_FROM = 10 << 20
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Plain:
    """Records of one line each, none with a quote: ``lines`` begin on line ``first``."""

    first: int
    lines: list[str]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, part: slice) -> "Plain":
        start = part.indices(len(self.lines))[0]
        return Plain(self.first + start, self.lines[part])

    def records(self) -> list["Record"]:
        """The same records, one by one."""
        return [Record(n, line, len(line)) for n, line in enumerate(self.lines, self.first)]


class Record(NamedTuple):
    """One record without its line end: of its ``size`` characters ``text`` may be the head.

    ``cells`` are its cells as written, quotes included, if splitting it has told them.
    """

    line: int
    text: str
    size: int
    cells: Sequence[str] | None = None


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


class _State(Enum):
    START = auto()
    PLAIN = auto()
    QUOTED = auto()
    CLOSING = auto()


@dataclass
class Splitter:
    """Text to records. A quote opens a field only as its first character; elsewhere it is text.

    Of a record longer than ``limit`` characters only the head is held.
    """

    path: Path
    delimiter: str
    quote: str
    limit: int
    whole: re.Pattern[str] | None = None
    """Matches a record as long as the header, each cell a group; known once the header is."""
    line: int = 1
    unended: bool = False
    _tail: str = ""
    _held: list[str] = field(default_factory=list)
    _size: int = 0
    _first: int = 0
    _state: _State = _State.START

    def split(self, blocks: Iterator[str]) -> Iterator[Plain | list[Record]]:
        """The records of ``blocks``, those of a block together."""
        for text in blocks:
            yield self._feed(self._tail + text)
        self.unended = bool(self._tail or self._held)
        if self.unended:
            yield list(self._ended(self._tail))
        if self._state is not _State.START:
            raise self._unclosed()

    def _feed(self, text: str) -> Plain | list[Record]:
        lines = text.split("\n")
        self._tail = lines.pop()
        found: Plain | list[Record]
        if self._held or self.quote in text:
            found = [record for line in lines for record in self._ended(line)]
        else:
            found = Plain(self.line, lines)
            self.line += len(lines)
            if "\r" in text:
                found = Plain(found.first, [line.removesuffix("\r") for line in lines])
        if len(self._tail) > BLOCK:
            self._hold(self._tail)
            self._tail = ""
        return found

    def _ended(self, line: str) -> Iterator[Record]:
        """A physical line has ended: so has the record, unless a quote is open."""
        if not self._held and (record := self._on_one_line(line.removesuffix("\r"))):
            yield record
            self.line += 1
            return
        self._hold(line)
        if self._state is _State.QUOTED:
            self._hold("\n")
        else:
            held = "".join(self._held)
            text = held.removesuffix("\r")
            yield Record(self._first, text, self._size - len(held) + len(text))
            self._held, self._size, self._state = [], 0, _State.START
        self.line += 1

    def _on_one_line(self, line: str) -> Record | None:
        if self.quote not in line:
            return Record(self.line, line, len(line), line.split(self.delimiter))
        match = self.whole and self.whole.fullmatch(line)
        return Record(self.line, line, len(line), match.groups()) if match else None

    def _hold(self, piece: str) -> None:
        if not self._held:
            self._first = self.line
        if self._size < self.limit or not self._held:
            self._held.append(piece)
        self._size += len(piece)
        self._state = self._scan(piece, self._state)

    def _scan(self, piece: str, state: _State) -> _State:
        at, opening = 0, self.delimiter + self.quote
        while at < len(piece):
            if state is _State.QUOTED:
                if (at := piece.find(self.quote, at)) < 0:
                    return state
                state, at = _State.CLOSING, at + 1
            elif state is not _State.PLAIN and piece[at] == self.quote:
                state, at = _State.QUOTED, at + 1
            elif (at := piece.find(opening, at)) < 0:
                return _State.START if piece.endswith(self.delimiter) else _State.PLAIN
            else:
                state, at = _State.START, at + 1
        return state

    def _unclosed(self) -> UnreadableFile:
        return UnreadableFile(
            "a quote is never closed",
            "Ask for the file again: it was cut, or a quote in a text was not doubled.",
            object=self.path.name,
            position=f"line {self._first}",
            reason="unclosed_quote",
        )
