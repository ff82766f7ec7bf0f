"""Cells of a workbook -> text that a column's type is read from, without guessing.

A number in a workbook is a double. Excel writes it with up to 17 digits, so the text of 1.1 is
1.1000000000000001: the shortest text of that same double is what stands for it. Whole numbers
with more digits than a double holds, which only other writers make, are kept as written.
"""

import re
from datetime import datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from malacate.contracts.table import Column
from malacate.formats.xlsx_book import Cell

_DAY = 86_400_000
_LAST_DAY = 2_958_465
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


class Unfit(Exception):
    """A cell that a column cannot hold: the reason's code, and what is wrong."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def text_of(cell: Cell, column: Column, is_1904: bool) -> str:
    """The cell as text that the column's type is read from. Raises ``Unfit``."""
    name, kind = column.name, column.type
    if cell.kind == "formula":
        raise Unfit("formula_without_value", f"{name} is a formula that was never computed")
    if cell.kind == "error":
        raise Unfit("error_cell", f"{name} is {cell.text}")
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    wrong = cell.kind if cell.kind in ("text", "date", "boolean") and number else ""
    if pa.types.is_temporal(kind) and (cell.kind == "boolean" or _bare_number(cell, column)):
        wrong = cell.kind
    if wrong:
        raise Unfit("does_not_fit", f"{name} is not {column.sql_type} but a cell of {wrong}")
    if cell.kind == "boolean":
        return {"1": "true", "0": "false"}.get(cell.text, cell.text)
    if cell.kind == "text":
        return cell.text
    if _NUMBER.fullmatch(cell.text) is None:
        raise Unfit("does_not_fit", f"{name} is a cell of {cell.kind} without a number")
    if cell.kind == "date":
        return _instant(cell.text, kind, name, is_1904)
    return number_text(cell.text)


def _bare_number(cell: Cell, column: Column) -> bool:
    """A number that is not shown as a date: only a declared format says what it means."""
    return cell.kind == "number" and not column.format


def number_text(text: str) -> str:
    """A number without what only its storage as a double added: 1.0 is 1."""
    exact = Decimal(text)
    digits = len(exact.normalize().as_tuple().digits)
    if exact == exact.to_integral_value() and abs(exact.adjusted()) < 40:
        return f"{exact:.0f}"
    return str(Decimal(repr(float(text)))) if digits in (16, 17) else str(exact)


def _instant(text: str, kind: pa.DataType, name: str, is_1904: bool) -> str:
    """A serial day as ISO 8601, to the millisecond that Excel itself shows."""
    serial = float(text)
    days, clock = divmod(round(serial * _DAY), _DAY)
    if not is_1904 and days == 60:
        raise Unfit("does_not_fit", f"{name} is 29 February 1900, a day that never was")
    if not 0 <= days <= _LAST_DAY:
        raise Unfit("does_not_fit", f"{name} is outside the calendar of Excel")
    time = (datetime(1, 1, 1) + timedelta(milliseconds=clock)).time().isoformat("milliseconds")
    if pa.types.is_time(kind):
        if days:
            raise Unfit("does_not_fit", f"{name} is no time of day")
        return time
    # Excel counts a 29 February 1900.
    first = datetime(1904, 1, 1) if is_1904 else datetime(1899, 12, 31 if days < 60 else 30)
    day = (first + timedelta(days=days)).date().isoformat()
    midnight = not clock and not pa.types.is_timestamp(kind)
    return day if midnight else f"{day} {time}"
