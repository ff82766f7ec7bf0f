"""Types for values of formats without a schema: what a person starts a contract from."""

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from malacate.formats.jsonl_values import Number


def drafted(found: Mapping[str, Iterable[Any]]) -> dict[str, pa.DataType | None]:
    """A type for each name that holds all its values; ``None`` (text) where no other does."""
    return {name: _kind([v for v in values if v is not None]) for name, values in found.items()}


def _kind(values: list[Any]) -> pa.DataType | None:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return pa.bool_()
    if kinds != {Number}:
        return None
    if any(set(value) & set(".eE") for value in values):
        return pa.float64()
    digits = max(len(value.lstrip("-")) for value in values)
    if digits <= 18:
        return pa.int64()
    return pa.decimal128(38, 0) if digits <= 38 else None
