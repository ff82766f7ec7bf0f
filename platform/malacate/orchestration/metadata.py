"""What the UI shows of a table: its columns, where they come from, what a run did."""

from collections import Counter
from typing import Any

import dagster as dg

from malacate.contracts.table import Column, Table
from malacate.ingest import Report
from malacate.warehouse.protocol import Derivation, Warehouse

SHOWN_FILES = 50


def column_schema(table: Table) -> dg.TableSchema:
    """The contract's columns, with units and promises, as the UI shows them."""
    return dg.TableSchema([_column(table, column) for column in table.columns])


def _column(table: Table, column: Column) -> dg.TableColumn:
    bounds = [
        f"{name} {value}"
        for name, value in (
            ("min", column.minimum),
            ("max", column.maximum),
            ("pattern", column.pattern or None),
            ("one of", ", ".join(column.allowed) or None),
        )
        if value is not None
    ]
    facts = {"unit": column.unit, "classification": column.classification}
    return dg.TableColumn(
        column.name,
        column.sql_type,
        description=column.description or None,
        constraints=dg.TableColumnConstraints(
            nullable=not column.required, unique=table.key == (column.name,), other=bounds
        ),
        tags={name: _tag(value) for name, value in facts.items() if value},
    )


def _tag(value: str) -> str:
    return value.replace("/", "_per_").replace("%", "pct")


def column_lineage(table: Table, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Each column from the column of the same delivery at the source."""
    return dg.TableColumnLineage(
        {c.name: [dg.TableColumnDep(upstream, c.delivered_as)] for c in table.columns}
    )


def of_report(report: Report) -> dict[str, Any]:
    """Counts of a run, and a table of its batches."""
    states = Counter(str(batch["state"]) for batch in report.batches)
    records = [_record(batch) for batch in report.batches[-SHOWN_FILES:]]
    return {
        "batches": sum(states.values()),
        "rows_read": report.total("rows_read"),
        "rows_loaded": report.total("rows_loaded"),
        "rows_quarantined": report.total("rows_quarantined"),
        **{f"batches_{state}": count for state, count in sorted(states.items())},
        **({"batches_elsewhere": report.elsewhere} if report.elsewhere else {}),
        **({"longest_lag_seconds": max(lags)} if (lags := _lags(report)) else {}),
        **({"same_bytes_as_before": len(report.repeated)} if report.repeated else {}),
        **({"latest_batches": dg.MetadataValue.table(records)} if records else {}),
    }


def _lags(report: Report) -> list[int]:
    """Seconds from the writing of a drop to its rows in the table."""
    times = ((b["ended"], b["modified_ns"]) for b in report.of("loaded"))
    return [round(float(str(at)) - int(str(ns)) / 1e9) for at, ns in times if at and ns]


def _record(batch: dict[str, Any]) -> dg.TableRecord:
    shown = ("object", "state", "rows_loaded", "rows_quarantined", "attempts", "reason", "dup_of")
    return dg.TableRecord({name: batch[name] or "" for name in shown})


def derived_lineage(derivation: Derivation, upstream: dg.AssetKey) -> dg.TableColumnLineage:
    """Each column of a derived table from the columns it is computed of."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(upstream, name) for name in names]
            for column, names in derivation.lineage().items()
        }
    )


def of_table(warehouse: Warehouse, table: Table) -> dict[str, Any]:
    """Name, columns and rows of a table as it stands."""
    found = warehouse.query(f"select count(*) as n from {table.name.sql('duckdb')}")
    return {
        "dagster/row_count": int(found.column("n")[0].as_py()),
        "dagster/column_schema": column_schema(table),
        "dagster/table_name": str(table.name),
    }
