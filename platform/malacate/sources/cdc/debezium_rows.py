"""Changes told by Debezium -> columns of the log; a moved key is two rows, a deletion first."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from malacate.batch import Evolution
from malacate.contracts.changes import ROW_HASH
from malacate.contracts.drift import align
from malacate.contracts.table import Column, Table
from malacate.formats.csv_cells import Bad
from malacate.formats.jsonl_values import as_text
from malacate.sources.cdc.datastream_payload import promised, undeclared
from malacate.sources.cdc.datastream_rows import held_up
from malacate.sources.cdc.datastream_texts import Unfit, columns_of
from malacate.sources.cdc.debezium_events import Event
from malacate.sources.cdc.debezium_values import Spelling, Undeclared, is_unavailable, spelled

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Half:
    """A row of the log to be: a change, or one half of a change that moved a key."""

    event: Event
    op: str
    row: Row
    is_key_change: bool
    missing: tuple[str, ...] = ()


def halves_of(
    event: Event, table: Table, moved: Mapping[Any, int], spelling: Spelling
) -> list[Half]:
    """The one or two rows that an event becomes."""
    before, after = event.before or {}, event.after or {}
    if event.op == "T":
        return [Half(event, "T", {}, False)]
    if event.op == "D":
        return [Half(event, "D", _known(before, spelling), bool(moved.get(event.position)))]
    row, missing = _sent(table, before, after, spelling.unavailable)
    if event.op == "U" and _moves(table, before, after):
        return [
            Half(event, "D", _known(before, spelling), True),
            Half(event, "I", row, True, missing),
        ]
    # Only a row whose key was changed is made anew without some of its values.
    is_move = event.op == "I" and bool(moved.get(event.position) or missing)
    return [Half(event, event.op, row, is_move, missing)]


def _known(row: Row, spelling: Spelling) -> Row:
    return {k: v for k, v in row.items() if not is_unavailable(v, spelling.unavailable)}


def _sent(table: Table, before: Row, after: Row, marker: str) -> tuple[Row, tuple[str, ...]]:
    """The row without values that were not sent, unless the old row has them; and their columns."""
    row, missing = dict(after), []
    for column in promised(table):
        name = next((n for n in _names(column) if n in after), None)
        if name is not None and not is_unavailable(after[name], marker):
            continue
        row.pop(name or "", None)
        old = next((n for n in _names(column) if n in before), None)
        value = before[old] if old is not None else None
        if name is not None and value is not None and not is_unavailable(value, marker):
            row[name] = value
        else:
            missing.append(column.name)
    return row, tuple(missing)


def _names(column: Column) -> tuple[str, ...]:
    return (column.delivered_as, column.name, *column.aliases)


def _key_names(table: Table, row: Row) -> list[str]:
    by_name = table.by_name
    return [n for key in table.key for n in dict.fromkeys(_names(by_name[key])) if n in row]


def _moves(table: Table, before: Row, after: Row) -> bool:
    """Whether an update says another key than it had; without a key a row is another row then."""
    if table.key == (ROW_HASH.name,):
        return any(value is not None for value in before.values()) and before != after
    names = _key_names(table, before)
    return any(before[name] not in (None, after.get(name)) for name in names)


def columns_of_halves(
    halves: Sequence[Half], log: Table, table: Table, spelling: Spelling, name: str,
    evolutions: list[Evolution], known: dict[str, None],
) -> tuple[dict[str, pa.Array], Bad]:  # fmt: skip
    """All columns of the log, and what does not fit."""
    _note(halves, table, name, evolutions, known)
    columns: dict[str, pa.Array] = {}
    bad: Bad = {}
    is_gone = [half.op == "D" for half in halves]
    for column in promised(table):
        values: list[Any] = []
        unfit: Bad = {}
        for index, half in enumerate(halves):
            try:
                values.append(_value(half, column, spelling, name))
            except Unfit as error:
                values.append(None)
                detail = f"{column.name} is no {column.sql_type}: {error}"
                unfit[index] = ("does_not_fit", detail)
        columns[column.name], more = columns_of(column, values, spelling.binary)
        bad = {**held_up({**more, **unfit}, column, table, is_gone), **bad}
    kinds = {column.name: column.type for column in log.columns}
    told = [_envelope(half, index, table, name) for index, half in enumerate(halves)]
    names = _envelope_names(log)
    columns |= {one: pa.array([row[one] for row in told], kinds[one]) for one in names}
    return columns, bad


def _value(half: Half, column: Column, spelling: Spelling, name: str) -> Any:
    came = next((n for n in _names(column) if n in half.row), None)
    if came is None:
        return None
    meant = half.event.meant.get(came) if half.event.meant else None
    try:
        return spelled(half.row[came], meant, column, spelling)
    except Undeclared as error:
        raise undeclared(column, str(error), name) from error


def _note(
    halves: Sequence[Half], table: Table, name: str,
    evolutions: list[Evolution], known: dict[str, None],
) -> None:  # fmt: skip
    """Hold names that no column knows against the contract, once each."""
    columns = promised(table)
    if not known:
        known.update(dict.fromkeys(n for column in columns for n in _names(column)))
    fresh = {key for half in halves for key in half.row} - known.keys()
    if not fresh:
        return
    delivered = [column.delivered_as for column in columns]
    bare = replace(table, columns=tuple(columns))
    evolutions += align(bare, dict.fromkeys([*delivered, *sorted(fresh)]), name).evolutions
    known.update(dict.fromkeys(fresh))


def _envelope_names(log: Table) -> list[str]:
    names = [column.name for column in log.columns]
    return names[names.index("_op") :]


def _envelope(half: Half, index: int, table: Table, name: str) -> dict[str, Any]:
    event = half.event
    hi, lo, order = event.position
    seq = -1 if event.is_snapshot else 2 * order + (half.op != "D")
    return {
        "_op": half.op,
        "_is_key_change": half.is_key_change,
        "_position_hi": hi,
        "_position_lo": lo,
        "_seq": seq,
        "_is_snapshot": event.is_snapshot,
        "_source_at": event.source_at,
        "_read_at": event.read_at,
        "_event_id": _identity(half, seq, table),
        "_file": name,
        "_file_row": event.place,
        "_missing": ",".join(half.missing) or None,
    }


def _identity(half: Half, seq: int, table: Table) -> str:
    """Debezium numbers no events: one is known by its place, its operation and its key."""
    event = half.event
    names = _key_names(table, half.row) or sorted(half.row)
    key = as_text({name: _text(half.row[name]) for name in names})
    digest = hashlib.sha256(f"{event.named}|{key}".encode()).hexdigest()[:16]
    hi, lo, _ = event.position
    return f"{event.connector}:{hi:x}:{lo:x}:{seq}:{half.op}:{digest}"


def _text(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else value
