"""Which lake, warehouse and ledger: chosen by ``MALACATE_TARGET`` from a ``targets.yaml``."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from malacate.contracts.document import load
from malacate.errors import ConfigError
from malacate.ingest import Ingest
from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.orchestration.environment import by_reference, home, resolve
from malacate.orchestration.stores import store
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Warehouse

TARGETS = "targets.yaml"
"""Where a company says what its targets are, beside its declarations."""

_KEYS = ("lake", "warehouse", "ledger")


@dataclass(frozen=True)
class Target:
    """Three URLs, as written: references are resolved when something is opened."""

    name: str
    lake: str
    warehouse: str
    ledger: str

    def open_lake(self) -> Lake:
        """The lake: in a folder, or in a bucket with drafts and copies in this home."""
        url = resolve(self.lake)
        if "://" not in url:
            return Lake(Path(url))
        return Lake(BucketPlace(store(self.lake), home() / self.name / "tmp"))

    def open_warehouse(self) -> Warehouse:
        """The warehouse of the URL's scheme."""
        url = resolve(self.warehouse)
        scheme, _, place = url.partition("://")
        if scheme == "bigquery":
            from malacate.orchestration import bigquery

            return bigquery.warehouse(url, self.open_lake())
        if scheme != "duckdb":
            raise ConfigError(
                f"no warehouse speaks {scheme!r}",
                "Use duckdb:///path/to/file.duckdb or bigquery://project?location=EU.",
                object=self.name, reason="unknown_warehouse",
            )  # fmt: skip
        return DuckDBWarehouse(Path(place), self.open_lake().root)

    def open_ledger(self) -> Ledger:
        """The ledger; created if it is not there."""
        return Ledger(resolve(self.ledger))

    def open(self, progress: Callable[[str, int], None] | None = None) -> Ingest:
        """All three, joined by the one path."""
        parts = self.open_ledger(), self.open_lake(), self.open_warehouse()
        return Ingest(*parts, progress=progress) if progress else Ingest(*parts)


def chosen(targets: Path) -> Target:
    """The target named by ``MALACATE_TARGET`` (``local`` by default) in the file ``targets``."""
    name = os.environ.get("MALACATE_TARGET", "local")
    document = load(targets)
    known: dict[str, Any] = document.data
    if name not in known:
        raise ConfigError(
            f"there is no target {name!r}",
            f"Set MALACATE_TARGET to one of {', '.join(known)}.",
            object=str(targets),
            reason="unknown_target",
        )
    document.known((name,), known[name], _KEYS)
    missing = [key for key in _KEYS if key not in known[name]]
    if missing:
        raise document.error((name,), f"target {name!r} lacks {missing}", "Give each a URL.")
    home().mkdir(parents=True, exist_ok=True)
    return Target(name, **{key: by_reference(known[name][key]) for key in _KEYS})
