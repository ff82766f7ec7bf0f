"""Which lake, warehouse and ledger: chosen by ``MALACATE_TARGET`` from a ``targets.yaml``."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pydantic

from malacate.contracts.document import Document, load
from malacate.errors import ConfigError
from malacate.ingest import Ingest
from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.orchestration.cost import Spender, meter
from malacate.orchestration.environment import by_reference, home, resolve
from malacate.orchestration.stores import store
from malacate.warehouse.cost import LIST_PRICE, Meter, Terms
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Warehouse

TARGETS = "targets.yaml"
"""Where a company says what its targets are, beside its declarations."""

_KEYS = ("lake", "warehouse", "ledger")
_BILLED = ("budgets", "usd_per_tib")
"""Keys of a target whose warehouse bills what is read."""


@dataclass(frozen=True)
class Target:
    """Three URLs, as written: references are resolved when something is opened.

    ``budgets`` are patterns of asset keys, each with the bytes that a run may have billed.
    """

    name: str
    lake: str
    warehouse: str
    ledger: str
    budgets: tuple[tuple[str, int], ...] = ()
    usd_per_tib: float = LIST_PRICE

    @property
    def engine(self) -> str:
        """The warehouse's kind, by its URL: ``duckdb``, ``bigquery``."""
        return self.warehouse.partition("://")[0]

    def terms(self, asset: str) -> Terms:
        """The budget of a run of ``asset``, by the first pattern that its key matches."""
        found = (size for pattern, size in self.budgets if fnmatchcase(asset, pattern))
        return Terms(next(found, None), self.usd_per_tib)

    def open_lake(self) -> Lake:
        """The lake: in a folder, or in a bucket with drafts and copies in this home."""
        url = resolve(self.lake)
        if "://" not in url:
            return Lake(Path(url))
        return Lake(BucketPlace(store(self.lake), home() / self.name / "tmp"))

    def open_warehouse(self, spender: Spender | None = None) -> Warehouse:
        """The warehouse of the URL's scheme; ``spender`` pays for what it is asked.

        Without one, it is held to the budget of ``cli`` and nothing is noted: who only reads needs
        no ledger.
        """
        url = resolve(self.warehouse)
        scheme, _, place = url.partition("://")
        if scheme == "bigquery":
            from malacate.orchestration import bigquery

            paid = Meter("cli", self.terms("cli"))
            if spender is not None:
                paid = meter(spender, self.terms(spender.asset), self.open_ledger)
            return bigquery.warehouse(url, self.open_lake(), paid)
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

    def open(
        self,
        progress: Callable[[str, int], None] | None = None,
        spender: Spender | None = None,
    ) -> Ingest:
        """All three, joined by the one path."""
        parts = self.open_ledger(), self.open_lake(), self.open_warehouse(spender or Spender())
        return Ingest(*parts, progress=progress) if progress else Ingest(*parts)


def target_name() -> str:
    """What ``MALACATE_TARGET`` says, ``local`` by default."""
    return os.environ.get("MALACATE_TARGET", "local")


def chosen(targets: Path) -> Target:
    """The target named by ``MALACATE_TARGET`` in the file ``targets``."""
    name = target_name()
    document = load(targets)
    known: dict[str, Any] = document.data
    if name not in known:
        raise ConfigError(
            f"there is no target {name!r}",
            f"Set MALACATE_TARGET to one of {', '.join(known)}.",
            object=str(targets),
            reason="unknown_target",
        )
    is_billed = str(known[name].get("warehouse", "")).startswith("bigquery:")
    document.known((name,), known[name], (*_KEYS, *(_BILLED if is_billed else ())))
    missing = [key for key in _KEYS if key not in known[name]]
    if missing:
        raise document.error((name,), f"target {name!r} lacks {missing}", "Give each a URL.")
    home().mkdir(parents=True, exist_ok=True)
    lake, warehouse, ledger = (by_reference(known[name][key]) for key in _KEYS)
    return Target(name, lake, warehouse, ledger, **_billed(document, name, known[name]))


def _billed(document: Document, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """Budgets and price, as far as they are given."""
    checked: dict[str, tuple[pydantic.TypeAdapter[Any], str]] = {
        "budgets": (pydantic.TypeAdapter(dict[str, pydantic.ByteSize]), '"raw/*": 10 GB'),
        "usd_per_tib": (pydantic.TypeAdapter(pydantic.NonNegativeFloat), "6.25"),
    }
    values = {}
    for key in given.keys() & checked.keys():
        adapter, example = checked[key]
        try:
            values[key] = adapter.validate_python(given[key])
        except pydantic.ValidationError as error:
            place = (name, key, *error.errors()[0]["loc"])
            what = f"{key}: {error.errors()[0]['msg']}"
            raise document.error(place, what, f"Write it as {example}.") from error
    if "budgets" in values:
        values["budgets"] = tuple((one, int(size)) for one, size in values["budgets"].items())
    return values
