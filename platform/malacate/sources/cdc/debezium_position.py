"""Where Debezium's events stand in their source's log, from the ``source`` block of each."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from malacate.sources.cdc.datastream_position import of_log_file, of_lsn, of_scn
from malacate.sources.cdc.datastream_rows import Named

Place = tuple[int, int, int]
"""High and low part of a position, and the order of changes in it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, tzinfo=UTC)
_CHANGE = re.compile(r"([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{4})")
_UNITS = {"ns": 1000, "us": 1, "ms": 0.001}
_LOGS, _SERIALS = 0x80, 1 << 6


def place_of(source: Mapping[str, Any]) -> Place | None:
    """The place of a change; ``None`` where its source names none that is known here.

    Raises ``ValueError`` for one that is none.
    """
    for name, read in _SOURCES.items():
        if source.get(name) not in (None, ""):
            return read(source)
    return None


def _postgres(source: Mapping[str, Any]) -> Place:
    """The LSN of the change itself, which no other change of its row shares."""
    lsn = whole(source["lsn"])
    if lsn is None or not 0 <= lsn < 1 << 64 or lsn >> 32 >= 1 << 31:
        raise ValueError(f"{source['lsn']!r} is no LSN")
    return lsn >> 32, lsn & 0xFFFF_FFFF, 0


def _sql_server(source: Mapping[str, Any]) -> Place:
    """The LSN of the commit; in a transaction, the LSN of the change and its number there."""
    hi, lo = of_lsn(str(source["commit_lsn"]))
    change = source.get("change_lsn")
    if not change:
        return hi, lo, 0
    found = _CHANGE.fullmatch(str(change))
    serial = whole(source.get("event_serial_no")) or 0
    if not found or not 0 <= serial < _SERIALS:
        raise ValueError(f"{change!r}, {serial} is no place in a transaction")
    log, block, slot = (int(part, 16) for part in found.groups())
    behind = (hi >> 32) - log
    if not 0 <= behind < _LOGS:
        raise ValueError(f"{change!r} is too far from its commit to be kept")
    # A key change is a deletion and an insertion of one number, an update has a number of its own.
    order = ((_LOGS - 1 - behind) << 32 | block) << 16 | slot
    return hi, lo, order * _SERIALS + serial


def _oracle(source: Mapping[str, Any]) -> Place:
    scn = whole(source["scn"])
    if scn is None:
        raise ValueError(f"{source['scn']!r} is no SCN")
    rs_id = source.get("rs_id")
    return *of_scn(scn, str(rs_id) if rs_id else None), whole(source.get("ssn")) or 0


def _mysql(source: Mapping[str, Any]) -> Place:
    hi, lo = of_log_file(str(source["file"]), whole(source.get("pos")))
    return hi, lo, whole(source.get("row")) or 0


_SOURCES: Mapping[str, Callable[[Mapping[str, Any]], Place]] = {
    "commit_lsn": _sql_server, "lsn": _postgres, "scn": _oracle, "file": _mysql,
}  # fmt: skip


def named(source: Mapping[str, Any]) -> Named:
    """The table that an event is of."""
    return Named(*(str(source.get(name) or "") for name in ("db", "schema", "table")))


def is_snapshot(source: Mapping[str, Any]) -> bool:
    """Whether a row was read by a snapshot: ``true``, ``first``, ``last``, ``incremental`` ..."""
    return str(source.get("snapshot") or "false").lower() != "false"


def instant_of(times: Mapping[str, Any]) -> datetime | None:
    """The finest of ``ts_ns``, ``ts_us``, ``ts_ms`` that is an instant at all."""
    for unit, share in _UNITS.items():
        value = whole(times.get(f"ts_{unit}"))
        if value is None:
            continue
        micros = value // share if share >= 1 else value * 1000
        try:
            found = _EPOCH + timedelta(microseconds=int(micros))
        except OverflowError:
            continue
        if found < _LAST:
            return found
    return None


def whole(value: Any) -> int | None:
    """A whole number, told as one or as text."""
    if isinstance(value, bool) or value is None:
        return None
    text = str(value)
    return int(text) if text.removeprefix("-").isdecimal() and len(text) < 21 else None
