"""One line of JSON as values that lose nothing: a number stays the text that was written."""

import json
import re
from typing import Any

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_ODD = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


class Refused(Exception):
    """A line that is no row: ``reason`` is its code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def parsed(line: bytes, offset: int) -> dict[str, Any]:
    """The object on a line that begins at byte ``offset``; numbers as ``Number``.

    Raises ``Refused``. The line must not be nested deeper than Python recurses.
    """
    try:
        value = _DECODER.decode(line.decode())
    except UnicodeDecodeError as error:
        detail = f"byte {offset + error.start} is 0x{line[error.start]:02x}: {error.reason}"
        raise Refused("bad_encoding", detail) from error
    except json.JSONDecodeError as error:
        raise Refused("bad_json", f"{error.msg} at character {error.colno}") from error
    if not isinstance(value, dict):
        raise Refused("not_an_object", "the line holds no object")
    if _ODD.search(line.decode()):
        _check_text(value)
    return value


def deeper(line: bytes, depth: int) -> bool:
    """Whether objects and arrays in ``line`` are nested further than ``depth``."""
    if line.count(b"{") + line.count(b"[") <= depth:
        return False
    level = 0
    for sign in re.findall(rb"[][{}]", _STRING.sub(b"", line)):
        level += 1 if sign in b"[{" else -1
        if level > depth:
            return True
    return False


def as_text(value: Any) -> str:
    """A value as JSON, its numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{as_text(key)}: {as_text(inner)}" for key, inner in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(as_text, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _check_text(value: dict[str, Any]) -> None:
    text = as_text(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", "half of a surrogate pair is no character") from error
    if "\\u0000" in text.replace("\\\\", ""):
        raise Refused("nul_byte", "a text has a NUL character")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Refused("duplicate_key", f"a key comes twice: {', '.join(map(ascii, twice))}")
    return found


def _constant(text: str) -> None:
    raise Refused("not_finite", f"{text} is no JSON number")


_DECODER = json.JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=_constant, object_pairs_hook=_object
)
