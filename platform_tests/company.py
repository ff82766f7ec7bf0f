"""A small company in a folder: declarations, contracts, drops, and all that runs on them."""

import contextlib
import importlib
import os
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from malacate import cli
from malacate.components.declared import load_declared, raw_assets
from malacate.ingest import Ingest, Route
from malacate.orchestration.resources import Platform
from malacate.orchestration.target import chosen

TARGETS = """
local:
  lake: ${MALACATE_HOME}/lake
  warehouse: duckdb://${MALACATE_HOME}/warehouse.duckdb
  ledger: sqlite:///${MALACATE_HOME}/ledger.sqlite
"""
PLATFORM = """
from pathlib import Path

import dagster as dg

from malacate.orchestration.io_managers import LakeIOManager, WarehouseIOManager
from malacate.orchestration.resources import Platform


@dg.definitions
def resources():
    platform = Platform(targets=str(Path(__file__).parents[1] / "targets.yaml"))
    managers = {
        "warehouse": WarehouseIOManager(platform=platform),
        "lake": LakeIOManager(platform=platform),
    }
    return dg.Definitions(
        resources={"platform": platform, **managers}, executor=dg.in_process_executor
    )
"""
SHOP = """
type: malacate.components.FileDrops
attributes:
  source: shop
  folder: ${SHOP_DROPS}
  tables:
    - name: sale
      files: ["sales/*.csv"]
      format: {name: csv}
    - name: refund
      files: ["refunds/*.csv"]
      format: {name: csv}
"""
CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: shop
name: Sales of a shop
version: 1.0.0
status: active
team: {name: sales}
schema:
  - name: sale
    description: One row per sale.
    properties:
      - {name: sale_id, logicalType: integer, physicalType: bigint, primaryKey: true,
         description: Number of the sale}
      - {name: weight_t, logicalType: number, physicalType: double, required: true,
         description: What was sold, logicalTypeOptions: {minimum: 0},
         customProperties: [{property: unit, value: t}]}
      - {name: buyer, logicalType: string, physicalType: varchar, classification: pii.direct}
      - {name: sold_at, logicalType: timestamp, physicalType: timestamptz}
  - name: refund
    description: One row per refund.
    properties:
      - {name: sale_id, logicalType: integer, physicalType: bigint, primaryKey: true}
      - {name: amount, logicalType: number, physicalType: "decimal(12,2)"}
"""
SILVER = """
import dagster as dg
import pyarrow as pa


@dg.asset(key=["silver", "sale"], deps=[["raw", "shop", "sale"]], io_manager_key="warehouse")
def sale(platform: dg.ResourceParam[object]) -> pa.Table:
    query = "select sale_id, weight_t from raw_shop.sale order by sale_id"
    return platform.target.open_warehouse().query(query)
"""
HEADER = "sale_id,weight_t,buyer,sold_at"
Sale = tuple[Any, ...]
Answer = tuple[int, str, str]
Command = Callable[..., Answer]


def sales(*rows: Sale, header: str = HEADER) -> str:
    """The text of a file of sales."""
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def sale(number: int, weight: float = 1.5, buyer: str = "ana") -> Sale:
    return number, weight, buyer, "2026-01-02T03:04:05Z"


@dataclass
class Company:
    """Its folder, and what tests ask of it."""

    folder: Path
    name: str = field(default_factory=lambda: f"company_{uuid.uuid4().hex[:8]}")

    def __post_init__(self) -> None:
        self.write("targets.yaml", TARGETS)
        self.write("defs/platform.py", PLATFORM)
        self.write("__init__.py", "")
        self.write("defs/__init__.py", "")
        self.drops.mkdir(parents=True)
        toml = f'directory_type = "project"\n\n[project]\nroot_module = "{self.name}"\n'
        (self.folder / "dg.toml").write_text(toml)
        location = f"load_from:\n  - python_module: {{module_name: {self.name}.definitions}}\n"
        (self.folder / "workspace.yaml").write_text(location)

    @classmethod
    def shop(cls, folder: Path) -> "Company":
        """One that sells: two drops of CSV, and a silver table in Python."""
        made = cls(folder)
        made.write("defs/shop/defs.yaml", SHOP)
        made.write("defs/shop/contract.odcs.yaml", CONTRACT)
        made.write("defs/silver.py", SILVER)
        return made

    @property
    def package(self) -> Path:
        return self.folder / self.name

    @property
    def declarations(self) -> Path:
        return self.package / "defs"

    @property
    def drops(self) -> Path:
        return self.folder / "drops"

    def write(self, name: str, text: str) -> Path:
        path = self.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
        return path

    def drop(self, name: str, data: str | bytes) -> Path:
        """Put a file there as a whole, as a careful producer does."""
        path = self.drops / name
        path.parent.mkdir(parents=True, exist_ok=True)
        working = path.with_name(f".{path.name}")
        working.write_bytes(data if isinstance(data, bytes) else data.encode())
        working.replace(path)
        return path

    @cached_property
    def definitions(self) -> dg.Definitions:
        return load_declared(self.declarations)

    @property
    def platform(self) -> Platform:
        return Platform(targets=str(self.package / "targets.yaml"))

    @property
    def ingest(self) -> Ingest:
        return chosen(self.package / "targets.yaml").open()

    def route(self, key: str) -> Route:
        declared = raw_assets(self.declarations)
        return next(one.route for one in declared if one.key.to_user_string() == key)

    def rows(self, table: str, columns: str = "* exclude (_batch_id)") -> list[dict[str, Any]]:
        query = f"select {columns} from {table} order by all"
        return list(self.ingest.warehouse.query(query).to_pylist())

    def materialize(self, instance: dg.DagsterInstance, *keys: str) -> "Ran":
        """Run the assets ``keys`` (all without one) in this process; failures are kept."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        chosen_keys = [dg.AssetKey(key.split("/")) for key in keys] or None
        done = job.execute_in_process(
            instance=instance, asset_selection=chosen_keys, raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )  # fmt: skip
        return Ran(done)


@dataclass(frozen=True)
class Ran:
    """What a run told."""

    result: dg.ExecuteInProcessResult

    @property
    def is_success(self) -> bool:
        return self.result.success

    def made(self) -> list[str]:
        events = self.result.get_asset_materialization_events()
        return sorted(e.asset_key.to_user_string() for e in events if e.asset_key)

    def metadata(self, key: str) -> Mapping[str, Any]:
        wanted = dg.AssetKey(key.split("/"))
        (made,) = self.result.asset_materializations_for_node("__".join(wanted.path))
        return {name: value.value for name, value in made.metadata.items()}

    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        return {e.check_name: e for e in self.result.get_asset_check_evaluations()}

    def failed(self) -> set[str]:
        return {name for name, e in self.checks().items() if not e.passed}

    def error(self) -> str:
        """The message at the bottom of the first failure."""
        event = next(e for e in self.result.all_events if e.is_step_failure)
        error = event.step_failure_data.error
        while error is not None and error.cause is not None:
            error = error.cause
        return error.message if error else ""


@contextlib.contextmanager
def at_home(company: Company, **variables: str) -> Iterator[Company]:
    """Work in the company's folder, with its home and variables, and nothing of this machine's."""
    kept, here = dict(os.environ), Path.cwd()
    for name in ("MALACATE_TARGET", "DAGSTER_HOME"):
        os.environ.pop(name, None)
    os.environ.update({"MALACATE_HOME": str(company.folder / "home"), **variables})
    sys.path.insert(0, str(company.folder))
    importlib.invalidate_caches()
    os.chdir(company.folder)
    try:
        yield company
    finally:
        os.chdir(here)
        sys.path.remove(str(company.folder))
        os.environ.clear()
        os.environ.update(kept)


@contextlib.contextmanager
def opened_shop(**variables: str) -> Iterator[Company]:
    """A shop in a new folder, to work in."""
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company.shop(Path(folder).resolve())
        with at_home(company, SHOP_DROPS=str(company.drops), **variables):
            yield company


def run_to_end(company: Company, keys: Sequence[str], instance: dg.DagsterInstance) -> Ran:
    """Materialize, and fail with what went wrong."""
    ran = company.materialize(instance, *keys)
    assert ran.is_success, ran.error()
    return ran


def newer(path: Path, text: str) -> None:
    """Write the file again, some time later."""
    path.write_text(text)
    later = time.time_ns() + 1_000_000_000
    os.utime(path, ns=(later, later))


@pytest.fixture
def shop() -> Iterator[Company]:
    """A shop that no other test has seen."""
    with opened_shop() as company:
        yield company


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Dagster without a past."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def malacate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``malacate`` with arguments: its exit code, what it printed, and its complaints."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["malacate", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return int(str(ended.value.code or 0)), told.out, told.err

    return run
