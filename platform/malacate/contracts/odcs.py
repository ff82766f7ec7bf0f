"""Open Data Contract Standard v3 files -> ``Table``. Types and rules stand elsewhere."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pydantic
from open_data_contract_standard.model import (
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
)
from pydantic import TypeAdapter

from malacate.contracts import values
from malacate.contracts.document import Document, Place, known_fields, load
from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.errors import ConfigError
from malacate.names import TableName, legal

_UNITS = {
    "m": timedelta(minutes=1), "min": timedelta(minutes=1), "minute": timedelta(minutes=1),
    "h": timedelta(hours=1), "hour": timedelta(hours=1), "hours": timedelta(hours=1),
    "d": timedelta(days=1), "day": timedelta(days=1), "days": timedelta(days=1),
}  # fmt: skip


def read_contract(path: Path, source: str) -> dict[str, Table]:
    """The tables that the contract at ``path`` promises for ``source``, by name.

    Raises ``ConfigError`` with file and line for anything it cannot take literally.
    """
    document = load(path)
    contract = _model(document)
    legal(source, "source")
    tables = [
        _table(document, contract, ("schema", i), item, source)
        for i, item in enumerate(contract.schema_ or [])
    ]
    names = [table.name.table for table in tables]
    for i, name in enumerate(names):
        if name in names[:i]:
            place = ("schema", i)
            raise document.error(place, f"table {name!r} stands twice", "Keep one.", "two_tables")
    return dict(zip(names, tables, strict=True))


def _model(document: Document) -> OpenDataContractStandard:
    if not isinstance(document.data, dict):
        raise document.error((), "a contract is a mapping", "Start it with `apiVersion: v3.1.0`.")
    known_fields(document, (), document.data, OpenDataContractStandard)
    try:
        return OpenDataContractStandard(**document.data)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        raise document.error(
            tuple(first["loc"]), first["msg"], "See the Open Data Contract Standard, version 3."
        ) from error


def _table(
    document: Document,
    contract: OpenDataContractStandard,
    place: Place,
    item: SchemaObject,
    source: str,
) -> Table:
    custom = _custom(document, place, item, values.TABLE)
    try:
        name = legal(item.name or "", "table")
    except ConfigError as error:
        raise document.error((*place, "name"), error.what, error.advice, error.reason) from error
    properties = item.properties or []
    if not properties:
        raise document.error(place, f"table {name!r} has no columns", "List its properties.")
    places = [(*place, "properties", i) for i in range(len(properties))]
    columns = [_column(document, at, prop) for at, prop in zip(places, properties, strict=True)]
    _no_two_columns(document, places, columns)
    return Table(
        name=TableName(f"raw_{source}", name),
        columns=tuple(columns),
        key=_key(properties),
        description=item.description or "",
        physical_name=item.physicalName or "",
        extra_columns=custom.get("extraColumns", "reject"),
        owner=_owner(contract),
        fresh_within=_freshness(document, contract, name),
        quarantine_limit=float(custom.get("quarantineLimit", 0.05)),
        version=contract.version or "",
        partitioned_by=_partition(document, place, properties, columns),
        origin=f"{document.path}:{document.line(place)}",
    )


def _column(document: Document, place: Place, item: SchemaProperty) -> Column:
    custom = _custom(document, place, item, values.COLUMN)
    options = item.logicalTypeOptions or {}
    document.known((*place, "logicalTypeOptions"), options, values.OPTIONS)
    values.require(document, (*place, "logicalTypeOptions"), options, values.OPTIONS)
    try:
        name = legal(item.name or "", "column")
        kind = arrow_type(item.physicalType or "")
    except ConfigError as error:
        raise document.error(place, error.what, error.advice, error.reason) from error
    required = bool(item.required or item.primaryKey)
    if required and custom.get("since"):
        advice = "Older deliveries lack it: drop `required`, or drop `since`."
        raise document.error(place, f"{name!r} is required and dated `since`", advice, "impossible")
    return Column(
        name=name,
        type=kind,
        required=required,
        description=item.description or "",
        unit=str(custom.get("unit", "")),
        classification=item.classification or "",
        physical_name=item.physicalName or "",
        aliases=tuple(custom.get("aliases", ())),
        since=str(custom.get("since", "")),
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        pattern=options.get("pattern", ""),
        max_length=options.get("maxLength"),
        allowed=tuple(str(choice.value) for choice in item.enum or ()),
        format=str(custom.get("format", "")),
        immutable=bool(custom.get("immutable", False)),
    )


def _custom(
    document: Document,
    place: Place,
    item: SchemaObject | SchemaProperty,
    allowed: Mapping[str, TypeAdapter[Any]],
) -> Mapping[str, Any]:
    given: dict[str, Any] = {}
    for index, entry in enumerate(item.customProperties or ()):
        at = (*place, "customProperties", index)
        one = {entry.property or "": entry.value}
        document.known(at, one, allowed)
        values.require(document, at, one, allowed)
        given |= one
    return given


def _no_two_columns(document: Document, places: list[Place], columns: list[Column]) -> None:
    seen: dict[str, str] = {}
    for place, column in zip(places, columns, strict=True):
        for name in {column.name, column.delivered_as, *column.aliases}:
            if name in seen:
                what = f"{column.name!r} and {seen[name]!r} both claim the name {name!r}"
                raise document.error(place, what, "Give each its own.", "two_columns")
            seen[name] = column.name


def _key(properties: list[SchemaProperty]) -> tuple[str, ...]:
    keys = [p for p in properties if p.primaryKey]
    return tuple(p.name or "" for p in sorted(keys, key=lambda p: p.primaryKeyPosition or 0))


def _partition(
    document: Document, place: Place, properties: list[SchemaProperty], columns: list[Column]
) -> str:
    """The column whose days or months a warehouse may keep apart; empty if none is named."""
    named = [column for column, item in zip(columns, properties, strict=True) if item.partitioned]
    if not named:
        return ""
    if len(named) > 1 or not (
        pa.types.is_date(named[0].type) or pa.types.is_timestamp(named[0].type)
    ):
        what = f"the table is partitioned by {', '.join(column.name for column in named)}"
        advice = "Name one column with `partitioned: true`, a date or a timestamp."
        raise document.error(place, what, advice, "bad_partition")
    return named[0].name


def _owner(contract: OpenDataContractStandard) -> str:
    team = contract.team
    return (team.name or "") if team is not None and not isinstance(team, list) else ""


def _freshness(
    document: Document, contract: OpenDataContractStandard, table: str
) -> timedelta | None:
    for index, promise in enumerate(contract.slaProperties or ()):
        if promise.property in ("freshness", "latency") and promise.element in (None, table):
            given = {"value": promise.value, "unit": promise.unit}
            values.require(document, ("slaProperties", index), given, values.PROMISE)
            return float(str(promise.value)) * _UNITS[promise.unit or "h"]
    return None
