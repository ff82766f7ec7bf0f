"""What one file may cost at most. What goes beyond is refused whole, with the cap's own reason."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from malacate.batch import Chunk
from malacate.errors import ConfigError, UnreadableFile

RATIO_FROM = 10 << 20
"""Below this many bytes unpacked no file is a bomb."""


@dataclass(frozen=True)
class Caps:
    """Caps of one file: ``bytes`` and ``rows`` of its content, ``seconds`` spent in reading it.

    ``ratio`` is bytes unpacked to bytes packed, once ``RATIO_FROM`` bytes are unpacked; ``depth``
    is how far JSON may be nested.
    """

    bytes: int = 64 << 30
    ratio: int = 200
    rows: int = 2_000_000_000
    depth: int = 64
    seconds: float = 6 * 3600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise ConfigError(
                    f"the cap on {field.name} cannot be used",
                    "Correct it under format, caps in the declaration.",
                    expected="a number above 0",
                    reason="bad_format",
                )
        if self.depth > 500:
            raise ConfigError(
                "the cap on depth is beyond what can be read",
                "Lower it under format, caps in the declaration.",
                expected="at most 500",
                reason="bad_format",
            )

    @classmethod
    def of(cls, declared: Mapping[str, Any]) -> "Caps":
        """The caps of a declaration; raise ``ConfigError`` for one that there is not."""
        names = [field.name for field in fields(cls)]
        if wrong := sorted(declared.keys() - set(names)):
            raise ConfigError(
                f"there is no cap {', '.join(map(repr, wrong))}",
                "Correct it under format, caps in the declaration.",
                expected=", ".join(names),
                reason="bad_format",
            )
        return cls(**declared)

    def check_bytes(self, size: int, name: str) -> None:
        """Raise ``too_large`` for a content of more than ``bytes``."""
        if size > self.bytes:
            raise _over("too_large", f"at most {self.bytes} bytes", f"{size} bytes or more", name)

    def check_ratio(self, unpacked: int, packed: int, name: str) -> None:
        """Raise ``decompression_bomb`` where few bytes become very many."""
        if unpacked > RATIO_FROM and unpacked > self.ratio * packed:
            wanted = f"at most {self.ratio} bytes for each one compressed"
            actual = f"{unpacked} bytes from {packed}"
            raise _over("decompression_bomb", wanted, actual, name)

    def bounded(self, chunks: Iterator[Chunk], name: str) -> Iterator[Chunk]:
        """The same chunks, until they are too many rows or take too long to read."""
        rows, spent = 0, 0.0
        while True:
            began = time.monotonic()
            chunk = next(chunks, None)
            spent += time.monotonic() - began
            if spent > self.seconds:
                actual = f"{spent:.1f} s and {rows} rows"
                raise _over("too_slow", f"at most {self.seconds:g} s of reading", actual, name)
            if chunk is None:
                return
            rows += chunk.rows_read
            if rows > self.rows:
                raise _over("too_many_rows", f"at most {self.rows} rows", f"{rows} or more", name)
            yield chunk


def too_deep(line: int, depth: int, name: str) -> UnreadableFile:
    """JSON nested further than ``depth``."""
    wanted = f"at most {depth} levels of nesting"
    return _over("too_deep", wanted, "more", name, f"line {line}")


def _over(reason: str, wanted: str, actual: str, name: str, position: str = "") -> UnreadableFile:
    return UnreadableFile(
        "the file goes beyond what one file may cost",
        "Look at who sent it; if it is genuine, raise the cap under format, caps and release it.",
        object=name,
        position=position,
        expected=wanted,
        actual=actual,
        reason=reason,
    )
