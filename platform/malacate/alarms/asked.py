"""What rules ask of the columns of a contract: a mistake is told before there are readings."""

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from malacate.contracts.table import Table
from malacate.errors import ConfigError


class Asked(NamedTuple):
    """A kind of column, in words and as a test of its type."""

    words: str
    is_met: Callable[[pa.DataType], bool]


NAME = Asked(
    "text, or what can be written as text",
    lambda kind: not pa.types.is_nested(kind) and not pa.types.is_binary(kind),
)
INSTANT = Asked("a timestamp, with its zone or in UTC", pa.types.is_timestamp)
NUMBER = Asked(
    "a double, a float, an integer or a decimal",
    lambda kind: (
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    ),
)


def require(table: Table, name: str, asked: Asked, unit: str = "") -> None:
    """Raise ``ConfigError`` where a column is none, of another kind, or in another unit."""
    column = table.by_name.get(name)
    if column is None:
        raise _unfit(table, name, f"a column: {asked.words}", "none")
    if unit and column.unit and column.unit != unit:
        raise _unfit(table, name, unit, column.unit)
    if not asked.is_met(column.type):
        raise _unfit(table, name, asked.words, column.sql_type)


def require_untold_of_people(table: Table, name: str) -> None:
    """Raise ``ConfigError`` for a column that an alarm may not tell."""
    column = table.by_name[name]
    if column.classification.startswith("pii"):
        raise ConfigError(
            f"an alarm would tell {name!r}, which is about a person",
            "Leave it out of `raised`: an alarm leaves the platform unmasked.",
            source=str(table.name),
            expected="columns that are not pii",
            actual=column.classification,
            reason="config",
        )


def _unfit(table: Table, name: str, expected: str, actual: str) -> ConfigError:
    return ConfigError(
        f"alarms cannot be judged by {name!r}",
        "Name a column of the contract that is of the kind, and in the unit, of the rule.",
        source=str(table.name),
        expected=expected,
        actual=actual,
        reason="config",
    )
