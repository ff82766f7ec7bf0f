"""What the UI shows of a dbt model: rows, columns, and where each column comes from.

Read from the warehouse once dbt has let go of it. dagster-dbt's own fetchers keep a connection to
the DuckDB file open in this process, which locks out every writer after them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import dagster as dg
import pyarrow as pa
import sqlglot
from sqlglot import exp
from sqlglot.lineage import Node, lineage
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import build_scope

from malacate.contracts.types import sql_type
from malacate.errors import ContractError
from malacate.names import TableName
from malacate.orchestration.dbt_cost import DbtCost
from malacate.warehouse.protocol import Warehouse


def described(
    events: Iterable[Any],
    warehouse: Warehouse,
    manifest_nodes: Callable[[], Mapping[str, Mapping[str, Any]]],
    cost: DbtCost | None = None,
) -> Iterator[Any]:
    """The events of a dbt build, models with their metadata; an error of dbt is raised last.

    With a ``cost``, models come with what they cost, and ``OutOfBudget`` if one may not.
    """
    kept, error = _exhaust(events)
    nodes, catalog = manifest_nodes(), _Catalog(warehouse)
    models = {name: node for name, node in nodes.items() if node["resource_type"] == "model"}
    names = {name: "/".join(_table(node).key) for name, node in models.items()}
    if cost is not None:
        cost.note(names)
    for event in kept:
        name = str(_value(event, "unique_id"))
        if name not in models:
            yield event
        else:
            spent = cost.metadata(names[name]) if cost is not None else {}
            told = {**catalog.metadata(models[name]), **spent}
            yield event.with_metadata({**event.metadata, **told})
    if error is not None and cost is not None:
        cost.require_within(names)
    if error is not None:
        raise error


def _table(node: Mapping[str, Any]) -> TableName:
    return TableName(node["schema"], node["alias"])


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
    """Columns of the tables of the warehouse as they stand after a build."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._known: dict[TableName, dict[str, str]] = {}

    def metadata(self, node: Mapping[str, Any]) -> dict[str, Any]:
        """Rows, columns with their docs, and lineage of one model."""
        name = _table(node)
        columns = self._columns(name)
        if not columns:
            return {}
        counted = self._warehouse.query(f"select count(*) as n from {name.sql('duckdb')}")
        return {
            "dagster/row_count": int(counted.to_pylist()[0]["n"]),
            "dagster/column_schema": _documented(columns, node["columns"]),
            "dagster/column_lineage": self._lineage(node, columns),
            "dagster/table_name": str(name),
        }

    def _columns(self, name: TableName) -> dict[str, str]:
        """Types by column, in the words of a contract; none if there is no such table."""
        if name not in self._known:
            rows = f"select * from {name.sql('duckdb')} where false"
            there = self._warehouse.exists(name)
            schema = self._warehouse.query(rows).schema if there else ()
            self._known[name] = {field.name: _kind(field.type) for field in schema}
        return self._known[name]

    def _lineage(self, node: Mapping[str, Any], columns: Iterable[str]) -> dg.TableColumnLineage:
        dialect = self._warehouse.dialect
        parsed = sqlglot.parse_one(node["compiled_code"], dialect=dialect)
        schema = self._schema(parsed, node["database"])
        whole = qualify(parsed, schema=schema, dialect=dialect)
        scope = build_scope(whole)
        deps = {}
        for column in columns:
            root = lineage(column, whole, schema=schema, dialect=dialect, scope=scope)
            deps[column] = list(dict.fromkeys(_leaves(root)))
        return dg.TableColumnLineage(deps)

    def _schema(self, parsed: exp.Expr, database: str) -> dict[str, Any]:
        """Columns of the tables that a model reads, as the lineage wants them."""
        schema: dict[str, Any] = {}
        for table in parsed.find_all(exp.Table):
            if table.db:
                columns = self._columns(TableName(table.db, table.name))
                tables = schema.setdefault(table.catalog or database, {}).setdefault(table.db, {})
                tables[table.name] = dict.fromkeys(columns, "unknown")
        return schema


def _kind(kind: pa.DataType) -> str:
    try:
        return sql_type(kind)
    except ContractError:
        return str(kind)


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
        told.append(dg.TableColumn(name, kind, description=text, tags=tags))
    return dg.TableSchema(told)
