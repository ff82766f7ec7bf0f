"""Names of objects as text that can be stored, printed and turned back, whatever bytes they have.

Order and prefixes are those of the bytes, never of the text.
"""

from urllib.parse import quote_from_bytes, unquote_to_bytes

_PLAIN = bytes(set(range(32, 127)) - {ord("%")}).decode()


def readable(raw: bytes) -> str:
    """``raw`` as text: itself where it is plain, else percent-encoded; one to one."""
    return quote_from_bytes(raw, safe=_PLAIN) if _odd(raw) else raw.decode()


def raw(name: str) -> bytes:
    """The bytes that ``readable`` made ``name`` of."""
    return unquote_to_bytes(name)


def _odd(raw: bytes) -> bool:
    try:
        return "%" in (text := raw.decode()) or not text.isprintable()
    except UnicodeDecodeError:
        return True
