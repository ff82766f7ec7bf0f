"""Where a change stands in its source's log: numbers, whatever text the source has for them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

Position = tuple[int, int]

_POSTGRES = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
_SQL_SERVER = re.compile(r"([0-7][0-9A-Fa-f]{7}):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{4})")
_RS_ID = re.compile(r" *(?:0x)?([0-9A-Fa-f]{1,8})\.([0-9A-Fa-f]{1,8})\.([0-9A-Fa-f]{1,4}) *")
_LOG_FILE = re.compile(r".*\.([0-9]{1,18})")
_MOST = (1 << 63) - 1
_SEQUENCE, _BLOCK, _OFFSET = 23, 28, 12
"""Bits of an Oracle log's number, of a block in it (128 GB of them), and of a byte in a block."""


def of_lsn(text: str) -> Position:
    """Of Postgres ``16/CB002DB0``, of SQL Server ``00000025:00000728:0003``."""
    if found := _POSTGRES.fullmatch(text):
        return int(found[1], 16), int(found[2], 16)
    if found := _SQL_SERVER.fullmatch(text):
        return int(found[1] + found[2], 16), int(found[3], 16)
    raise ValueError(f"{text!r} is no LSN")


def of_scn(scn: int, rs_id: str | None) -> Position:
    """Of Oracle: the SCN, and the record's log, block and offset packed into 63 bits."""
    if not 0 <= scn <= _MOST:
        raise ValueError(f"{scn} is no SCN")
    if not (rs_id or "").strip():
        return scn, 0
    found = _RS_ID.fullmatch(rs_id or "")
    if not found:
        raise ValueError(f"{rs_id!r} is no rs_id")
    log, block, offset = (int(part, 16) for part in found.groups())
    if log >> _SEQUENCE or block >> _BLOCK or offset >> _OFFSET:
        raise ValueError(f"rs_id {rs_id!r} is beyond what can be kept")
    return scn, (log << _BLOCK | block) << _OFFSET | offset


def of_log_file(name: str, place: int | None) -> Position:
    """Of MySQL: the number of the log file, and the place in it."""
    found = _LOG_FILE.fullmatch(name)
    if not found or place is None or not 0 <= place <= _MOST:
        raise ValueError(f"{name!r}, {place} is no place in a binary log")
    return int(found[1]), place


_KINDS: Sequence[tuple[tuple[str, ...], Callable[..., Position]]] = (
    (("lsn",), of_lsn),
    (("scn", "rs_id"), of_scn),
    (("log_file", "log_position"), of_log_file),
)


def positions(meta: Mapping[str, pa.Array], count: int) -> list[Position | str | None]:
    """The position of each event; a text says what is wrong with it, ``None`` that it has none."""
    found: list[Position | str | None] = [None] * count
    for names, read in _KINDS:
        first = meta[names[0]]
        if first.null_count == count:
            continue
        columns = [meta[name].to_pylist() for name in names]
        for index, values in enumerate(zip(*columns, strict=True)):
            if found[index] is None and values[0] not in (None, ""):
                found[index] = _read(read, values)
    return found


def _read(read: Callable[..., Position], values: Sequence[Any]) -> Position | str:
    try:
        return read(*values)
    except ValueError as error:
        return str(error)
