"""Silver and gold: the models of a dbt project as assets, their tests as checks."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import (
    DagsterDbtTranslator,
    DagsterDbtTranslatorSettings,
    DbtCliResource,
    DbtProject,
    dbt_assets,
)

from malacate.names import TableName
from malacate.orchestration.cost import Spender, within_budget
from malacate.orchestration.dbt_cost import MAXIMUM_BYTES, DbtCost, strictest
from malacate.orchestration.dbt_metadata import described
from malacate.orchestration.lineage import lineage_asset
from malacate.orchestration.raw_assets import POOL
from malacate.orchestration.resources import Platform
from malacate.orchestration.target import TARGETS, chosen

WAREHOUSE = "MALACATE_WAREHOUSE"
"""The variable that ``profiles.yml`` has the warehouse from: DuckDB's file, BigQuery's project."""

DBT = "MALACATE_DBT"
"""The variable that names a ``dbt`` in an environment of its own, with the target's adapter."""


class Translator(DagsterDbtTranslator):
    """``models/silver/x.sql`` is ``silver/x``; a source's table is the raw asset it names."""

    def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
        """The key of a model or source."""
        if dbt_resource_props["resource_type"] == "source":
            name = TableName(dbt_resource_props["schema"], dbt_resource_props["identifier"])
            return dg.AssetKey(list(name.key))
        return dg.AssetKey([dbt_resource_props["fqn"][1], dbt_resource_props["name"]])

    def get_automation_condition(
        self, dbt_resource_props: Mapping[str, Any]
    ) -> dg.AutomationCondition[Any] | None:
        """A model follows what it is made of."""
        return dg.AutomationCondition.eager()

    def get_asset_check_spec(
        self,
        asset_spec: dg.AssetSpec,
        manifest: Mapping[str, Any],
        unique_id: str,
        project: DbtProject | None,
    ) -> dg.AssetCheckSpec | None:
        """A test follows its model, so that no model is made without being tested."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(automation_condition=dg.AutomationCondition.eager())

    def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str | None:
        """Its layer."""
        return str(dbt_resource_props["fqn"][1])


class DbtModels(dg.Component, dg.Model, dg.Resolvable):
    """A dbt project; its manifest is parsed again whenever the project changed."""

    project_dir: str
    served_layer: str = "gold"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The models as one set of assets, with row counts, columns and column lineage."""
        folder = (context.path / self.project_dir).resolve()
        target = chosen(context.defs_module_path.parent / TARGETS)
        os.environ[WAREHOUSE] = target.open_warehouse().location
        project = DbtProject(project_dir=folder, profiles_dir=folder)
        parse_if_stale(project, folder)
        settings = DagsterDbtTranslatorSettings(enable_code_references=True)

        @dbt_assets(
            manifest=project.manifest_path,
            project=project,
            dagster_dbt_translator=Translator(settings),
            name="dbt_models",
            pool=POOL,
        )
        def models(context: dg.AssetExecutionContext, platform: Platform) -> Iterator[Any]:
            target = platform.target
            warehouse = target.open_warehouse(Spender("dbt", context.run.run_id))
            selected = [key.to_user_string() for key in context.selected_asset_keys]
            most = strictest(target, selected)
            os.environ.update({WAREHOUSE: warehouse.location, MAXIMUM_BYTES: str(most or "")})
            dbt = DbtCliResource(project_dir=project, dbt_executable=executable())
            build = dbt.cli(["build", "--exclude-resource-type", "unit_test"], context=context)
            with within_budget():
                yield from described(
                    build.stream(),
                    warehouse,
                    lambda: build.get_artifact("manifest.json")["nodes"],
                    DbtCost(target, warehouse, context.run.run_id, build, most),
                )

        served = [key for key in models.keys if key.path[0] == self.served_layer]
        return dg.Definitions(
            assets=[models, lineage_asset(self.served_layer, served, POOL, target.engine)]
        )


def executable() -> str:
    """The ``dbt`` that is named, or the one beside the running Python, on the PATH or not."""
    if named := os.environ.get(DBT):
        return named
    beside = Path(sys.executable).parent / "dbt"
    return str(beside) if beside.exists() else shutil.which("dbt") or "dbt"


def parse_if_stale(project: DbtProject, folder: Path) -> None:
    """Write ``target/manifest.json`` anew if the project's files are not those it was made of."""
    stamp = project.manifest_path.with_name("manifest.sha256")
    now = fingerprint(folder)
    if project.manifest_path.exists() and stamp.exists() and stamp.read_text() == now:
        return
    dbt = DbtCliResource(project_dir=project, dbt_executable=executable())
    dbt.cli(["parse", "--quiet"], target_path=project.manifest_path.parent).wait()
    working = stamp.with_suffix(f".{os.getpid()}")
    working.write_text(now)
    working.replace(stamp)


def fingerprint(folder: Path) -> str:
    """Changes with any file of the project, and with the warehouse that its names refer to."""
    digest = hashlib.sha256(os.environ[WAREHOUSE].encode())
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in ("target", "logs", "dbt_packages"):
            digest.update("/".join(parts).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
