"""Files dropped for a declared source, taken in as a user's are, and what became of each."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from platform_tests.company import Company, at_home

from malacate.components.declared import CONTRACT, Observable, components, raw_assets
from malacate.contracts.draft import draft
from malacate.ingest import Route

DEFS = """
type: malacate.components.FileDrops
attributes:
  source: {source}
  folder: {folder}
  tables:
    - name: haul
      files: ["*"]
      format: {form}
"""
Edits = Mapping[str, Mapping[str, Any]]


@dataclass
class Became:
    """What became of one dropped file; ``rows`` have their columns under delivered names."""

    state: str
    reason: str
    error: str
    rows_read: int
    kept: bytes | None
    rows: list[dict[str, Any]] = field(default_factory=list)
    aside: dict[int, str] = field(default_factory=dict)

    @property
    def is_aside(self) -> bool:
        return self.state == "quarantined"


@dataclass
class Dropping:
    """A company whose sources are folders of files of one kind each."""

    company: Company

    def declare(self, source: str, form: str, sample: bytes, edits: Edits | None = None) -> Route:
        """Declare a source in YAML; its contract is what ``malacate contract draft`` writes of the
        sample, with what a person changed in it: ``edits``, by the column's delivered name.
        """
        folder = self.company.drops / source
        first = self.company.drop(f"{source}/sample", sample)
        home = f"defs/{source}"
        self.company.write(
            f"{home}/defs.yaml", DEFS.format(source=source, folder=folder, form=form)
        )
        ((_, declared),) = components(self.company.package / home)
        assert isinstance(declared, Observable)
        contract = reviewed(draft(source, declared.observed()), edits or {})
        self.company.write(f"{home}/{CONTRACT}", contract)
        first.unlink()
        (asset,) = raw_assets(self.company.package / home)
        return asset.route

    def take_in(self, route: Route, files: Mapping[str, bytes]) -> dict[str, Became]:
        """Drop files, run the route once, and look at what is published."""
        for name, data in files.items():
            self.company.drop(f"{route.table.source}/{name}", data)
        ingest = self.company.ingest
        batches = ingest.run(route).batches
        found = {}
        for batch in batches:
            kept = ingest.lake.root / str(batch["landing"])
            found[str(batch["object"])] = Became(
                str(batch["state"]), str(batch["reason"] or ""), str(batch["error"] or ""),
                int(str(batch["rows_read"] or 0)), kept.read_bytes() if kept.is_file() else None,
            )  # fmt: skip
        assert found.keys() == files.keys()
        names = [column.delivered_as for column in route.table.columns]
        for name, rows in self._published(route).items():
            found[name].rows = [dict(zip(names, row, strict=True)) for row in rows]
        for name, position, reason in self._set_aside(route):
            found[name].aside[position] = reason
        return found

    def _published(self, route: Route) -> dict[str, list[tuple[Any, ...]]]:
        table = self._query(
            f"select t.* exclude (_batch_id), l.object from {route.table.name} t "
            "join malacate.loads l on l.batch_id = t._batch_id order by t.rowid"
        )
        found: dict[str, list[tuple[Any, ...]]] = {}
        for *row, name in zip(*map(_values, table.columns), strict=True):
            found.setdefault(name, []).append(tuple(row))
        return found

    def _set_aside(self, route: Route) -> list[tuple[str, int, str]]:
        name = route.table.name
        table = self._query(
            "select l.object, q.position, q.reason from malacate.quarantine q "
            f"join malacate.loads l using (batch_id) where q.schema_name = '{name.schema}'"
        )
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def _query(self, text: str) -> pa.Table:
        return self.company.ingest.warehouse.query(text)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Python's values; instants as microseconds, which no calendar ends."""
    if pa.types.is_timestamp(column.type):
        assert column.type.unit == "us"
        column = column.cast(pa.int64())
    return list(column.to_pylist())


def reviewed(contract: str, edits: Edits) -> str:
    """A drafted contract after a person's changes; an edit of an unknown column adds it."""
    document = yaml.safe_load(contract)
    columns = document["schema"][0].setdefault("properties", [])
    by_name = {column.get("physicalName", column["name"]): column for column in columns}
    for name, edit in edits.items():
        if name not in by_name:
            columns.append(by_name.setdefault(name, {"name": name.lower(), "physicalName": name}))
        by_name[name] |= edit
    return yaml.safe_dump(document, sort_keys=False)


@contextlib.contextmanager
def dropping() -> Iterator[Dropping]:
    """A company in a new folder, to work in."""
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        with at_home(company):
            yield Dropping(company)
