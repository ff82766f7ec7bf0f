"""Values of JSON -> Arrow columns of a contract, exactly; what a column cannot hold is named."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import pyarrow as pa

from malacate.contracts.table import Column
from malacate.errors import ConfigError
from malacate.formats.csv_cells import Bad, Cells
from malacate.formats.jsonl_values import Number, as_text

Values = Sequence[Any]


@dataclass
class Columns:
    """``unknown`` gathers keys of nested objects that no contract column has, by their path."""

    unknown: dict[str, None] = field(default_factory=dict)

    def values(self, column: Column, values: Values) -> tuple[pa.Array, Bad]:
        """``values`` in the column's type, null where they cannot be, and why they cannot.

        A text column takes numbers as they are written, and all else as JSON text.
        """
        kind = column.type
        if pa.types.is_struct(kind):
            return self._structs(column, values)
        if pa.types.is_map(kind):
            return self._maps(column, values)
        if pa.types.is_list(kind):
            return self._lists(column, values)
        allowed = _allowed(kind)
        text = [_text(v) if type(v) in allowed else None for v in values]
        bad = _unfit(column, values, allowed)
        found, more = Cells(column).values(pa.array(text, pa.string()))
        return found, {**more, **bad}

    def _structs(self, column: Column, values: Values) -> tuple[pa.Array, Bad]:
        bad = _unfit(column, values, {dict})
        rows = [v if type(v) is dict else None for v in values]
        inner = list(column.type)
        self._note(column.name, rows, {f.name for f in inner})
        children = []
        for part in inner:
            child = _within(column, part.name, part.type)
            found, more = self.values(
                child, [None if r is None else r.get(part.name) for r in rows]
            )
            children.append(found)
            bad = {**more, **bad}
        mask = pa.array([row is None for row in rows], pa.bool_())
        if not inner:
            return pa.array(rows, column.type), bad
        return pa.StructArray.from_arrays(children, fields=inner, mask=mask), bad

    def _note(self, name: str, rows: Values, known: set[str]) -> None:
        for key in set[str]().union(*(row for row in rows if row is not None)) - known:
            self.unknown[f"{name}.{key}"] = None

    def _lists(self, column: Column, values: Values) -> tuple[pa.Array, Bad]:
        bad = _unfit(column, values, {list})
        rows = [v if type(v) is list else None for v in values]
        offsets, owners = _layout(rows)
        child = _within(column, "[]", column.type.value_type)
        found, more = self.values(child, [item for row in rows if row for item in row])
        array = pa.ListArray.from_arrays(offsets, found, type=column.type)
        return array, {**_owned(more, owners), **bad}

    def _maps(self, column: Column, values: Values) -> tuple[pa.Array, Bad]:
        if not pa.types.is_string(column.type.key_type):
            raise ConfigError(
                f"a JSON file cannot carry {column.name} {column.sql_type}",
                "Declare its keys varchar: the keys of a JSON object are text.",
                reason="unknown_type",
            )
        bad = _unfit(column, values, {dict})
        rows = [v if type(v) is dict else None for v in values]
        offsets, owners = _layout(rows)
        keys = pa.array([key for row in rows if row for key in row], pa.string())
        child = _within(column, "{}", column.type.item_type)
        found, more = self.values(child, [v for row in rows if row for v in row.values()])
        array = pa.MapArray.from_arrays(offsets, keys, found, type=column.type)
        return array, {**_owned(more, owners), **bad}


def _within(column: Column, name: str, kind: pa.DataType) -> Column:
    sign = "" if name in ("[]", "{}") else "."
    return replace(column, name=f"{column.name}{sign}{name}", type=kind)


def _allowed(kind: pa.DataType) -> set[type]:
    """What may come for a type; numbers in quotes only where JSON's own are rounded by many."""
    if pa.types.is_string(kind):
        return {str, Number, bool, dict, list}
    if pa.types.is_boolean(kind):
        return {bool}
    if pa.types.is_decimal(kind):
        return {str, Number}
    return {Number} if pa.types.is_integer(kind) or pa.types.is_floating(kind) else {str}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else as_text(value)


def _unfit(column: Column, values: Values, allowed: set[type]) -> Bad:
    detail = f"{column.name} is not {column.sql_type}"
    return {
        row: ("does_not_fit", f"{detail} but {_word(value)}")
        for row, value in enumerate(values)
        if value is not None and type(value) not in allowed
    }


def _word(value: Any) -> str:
    words = {
        Number: "a number",
        str: "text",
        bool: "a boolean",
        dict: "an object",
        list: "an array",
    }
    return words[type(value)]


def _layout(rows: Values) -> tuple[pa.Array, list[int]]:
    """Where each row's items begin, null for no row; and the row that each item is of."""
    ends = list(accumulate((len(row or ()) for row in rows), initial=0))
    starts = [None if row is None else at for row, at in zip(rows, ends, strict=False)]
    owners = [index for index, row in enumerate(rows) for _ in row or ()]
    return pa.array([*starts, ends[-1]], pa.int32()), owners


def _owned(bad: Bad, owners: list[int]) -> Bad:
    return {owners[item]: why for item, why in reversed(bad.items())}
