"""``Table`` -> Open Data Contract Standard text: a draft that a person reviews and completes."""

from typing import Any

import pyarrow as pa
import yaml

from malacate.contracts.table import Column, Table

_LOGICAL = (
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_integer, "integer"),
    (pa.types.is_floating, "number"),
    (pa.types.is_decimal, "number"),
    (pa.types.is_date, "date"),
    (pa.types.is_timestamp, "timestamp"),
    (pa.types.is_time, "time"),
    (pa.types.is_list, "array"),
    (pa.types.is_nested, "object"),
)


def draft(source: str, tables: list[Table]) -> str:
    """The contract's YAML; ``read_contract`` reads it back as the same tables."""
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": source,
        "name": source,
        "version": "1.0.0",
        "status": "draft",
        "schema": [_schema(table) for table in tables],
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)


def _schema(table: Table) -> dict[str, Any]:
    told = {
        "name": table.name.table,
        "physicalName": table.physical_name,
        "description": table.description,
        "properties": [_property(table, column) for column in table.columns],
    }
    return {key: value for key, value in told.items() if value}


def _property(table: Table, column: Column) -> dict[str, Any]:
    logical = next((name for test, name in _LOGICAL if test(column.type)), "string")
    told: dict[str, Any] = {"name": column.name, "logicalType": logical}
    told["physicalType"] = column.sql_type
    if column.physical_name != column.name:
        told["physicalName"] = column.physical_name
    if column.name in table.key:
        told |= {"primaryKey": True, "primaryKeyPosition": table.key.index(column.name) + 1}
    if column.required:
        told["required"] = True
    told["description"] = column.description
    return {key: value for key, value in told.items() if value}
