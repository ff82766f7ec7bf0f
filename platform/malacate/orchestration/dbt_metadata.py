"""What the UI shows of a dbt model: rows, columns, and where each column comes from.

Read from the warehouse once dbt has let go of it, in one session. dagster-dbt's own fetchers keep
a connection to the DuckDB file open in this process, which locks out every writer after them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import sqlglot
from sqlglot import exp
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from malacate.names import TableName
from malacate.warehouse.protocol import Warehouse

_COLUMNS = (
    "select table_catalog, table_schema, table_name, column_name, data_type "
    "from information_schema.columns order by ordinal_position"
)


def described(
    events: Iterable[Any],
    warehouse: Warehouse,
    manifest_nodes: Callable[[], Mapping[str, Mapping[str, Any]]],
) -> Iterator[Any]:
    """The events of a dbt build, models with their metadata; an error of dbt is raised last."""
    kept, error = _exhaust(events)
    nodes, catalog = manifest_nodes(), _Catalog(warehouse)
    for event in kept:
        node = nodes.get(str(_value(event, "unique_id")))
        if node is None or node["resource_type"] != "model":
            yield event
        else:
            yield event.with_metadata({**event.metadata, **catalog.metadata(node)})
    if error is not None:
        raise error


def _exhaust(events: Iterable[Any]) -> tuple[list[Any], Exception | None]:
    kept: list[Any] = []
    try:
        kept.extend(events)
    except Exception as error:
        return kept, error
    return kept, None


def _value(event: Any, name: str) -> Any:
    found = (getattr(event, "metadata", None) or {}).get(name)
    return found.value if found is not None and hasattr(found, "value") else found


class _Catalog:
    """Columns of every table of the warehouse as they stand after a build."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._schema: dict[str, Any] = {}
        for row in warehouse.query(_COLUMNS).to_pylist():
            database = self._schema.setdefault(row["table_catalog"], {})
            tables = database.setdefault(row["table_schema"], {})
            tables.setdefault(row["table_name"], {})[row["column_name"]] = row["data_type"]

    def metadata(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Rows, columns with their docs, and lineage of one model."""
        name = TableName(node["schema"], node["alias"])
        columns = self._schema.get(node["database"], {}).get(name.schema, {}).get(name.table)
        if columns is None:
            return {}
        counted = self._warehouse.query(f"select count(*) as n from {name.sql('duckdb')}")
        return {
            "dagster/row_count": int(counted.to_pylist()[0]["n"]),
            "dagster/column_schema": _documented(columns, node["columns"]),
            "dagster/column_lineage": self._lineage(node, columns),
            "dagster/table_name": str(name),
        }

    def _lineage(self, node: Mapping[str, Any], columns: Iterable[str]) -> dg.TableColumnLineage:
        parsed = sqlglot.parse_one(node["compiled_code"], dialect="duckdb")
        whole = qualify(parsed, schema=self._schema, dialect="duckdb")
        scope = build_scope(whole)
        deps = {}
        for column in columns:
            root = lineage(column, whole, schema=self._schema, dialect="duckdb", scope=scope)
            deps[column] = list(dict.fromkeys(_leaves(root)))
        return dg.TableColumnLineage(deps)


def _leaves(root: Node) -> Iterator[dg.TableColumnDep]:
    for node in root.walk():
        table = node.expression
        if isinstance(table, exp.Table):
            key = dg.AssetKey(list(TableName(table.db, table.name).key))
            yield dg.TableColumnDep(key, exp.to_column(node.name).name)


def _documented(columns: Mapping[str, str], docs: Mapping[str, Any]) -> dg.TableSchema:
    told = []
    for name, kind in columns.items():
        doc = docs.get(name, {})
        unit = (doc.get("config", {}).get("meta") or doc.get("meta") or {}).get("unit")
        tags = {"unit": str(unit).replace("/", "_per_")} if unit else {}
        text = doc.get("description") or None
        told.append(dg.TableColumn(name, kind.lower(), description=text, tags=tags))
    return dg.TableSchema(told)
