"""What is promised of every table that is declared: by contracts of raw tables, by docs of models.

A warehouse is not asked: declarations are held against one another before anything runs.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from malacate.components.declared import raw_assets
from malacate.contracts.document import Document, load_all
from malacate.contracts.table import Column
from malacate.names import TableName

Columns = Mapping[str, Column]


def promised_columns(defs_folder: Path) -> dict[TableName, Columns]:
    """Columns by name of every table declared below ``defs_folder``; those of models have no type
    yet.
    """
    tables = (table for raw in raw_assets(defs_folder) for table in raw.route.tables)
    return {**{table.name: table.by_name for table in tables}, **dict(_models(defs_folder))}


def declarations(defs_folder: Path, component: str) -> Iterator[Document]:
    """Every document below ``defs_folder`` that declares such a component of this library."""
    for path in sorted(defs_folder.rglob("defs.yaml")):
        for document in load_all(path):
            if document.data.get("type") == f"malacate.components.{component}":
                yield document


def _models(defs_folder: Path) -> Iterator[tuple[TableName, Columns]]:
    for document in declarations(defs_folder, "DbtModels"):
        project = document.path.parent / document.data["attributes"]["project_dir"]
        yield from _documented(project.resolve() / "models")


def _documented(models: Path) -> Iterator[tuple[TableName, Columns]]:
    """The models of a folder per layer, with the columns that their docs name."""
    for path in sorted(models.glob("*/**/*.yml")):
        layer = path.relative_to(models).parts[0]
        for model in load_all(path)[0].data.get("models") or ():
            columns = {one["name"]: _column(one) for one in model.get("columns") or ()}
            yield TableName(layer, model["name"]), columns


def _column(told: Mapping[str, Any]) -> Column:
    meta = {**(told.get("meta") or {}), **((told.get("config") or {}).get("meta") or {})}
    return Column(
        told["name"],
        pa.null(),
        description=told.get("description") or "",
        unit=meta.get("unit") or "",
        classification=meta.get("classification") or "",
    )
