"""CSV text as records, each with the line on which it begins.

Nothing is converted or dropped here. Memory is bounded by a block and one record.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import NamedTuple

from malacate.errors import UnreadableFile
from malacate.formats import csv_text


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
        if len(self._tail) > csv_text.BLOCK:
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
