"""Hours that are computed beside the warehouse: the asset of their table, whatever the engine."""

from collections.abc import Iterator
from typing import Any, Protocol

import dagster as dg

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ingest import Route
from malacate.lake.lake import Lake
from malacate.orchestration.checks import Promises
from malacate.orchestration.cost import Spender, of_run, within_budget
from malacate.orchestration.hours_shown import of_load
from malacate.orchestration.metadata import (
    column_schema,
    derived_lineage,
    of_report,
    of_table,
)
from malacate.orchestration.raw_assets import RETRIES
from malacate.orchestration.resources import Platform
from malacate.sources.hours import HoursDue, Launch
from malacate.warehouse.hourly import HourlyStats

POOL = "pipelines"
"""Engines take turns; while one is at work, others may write the warehouse."""


class Engine(Protocol):
    """What computes hours."""

    @property
    def kind(self) -> str:
        """Its name, on the asset."""

    def require_sound(self, stats: HourlyStats) -> None:
        """Raise ``ConfigError`` for what it could not be started with."""

    def launch(
        self, context: dg.AssetExecutionContext, lake: Lake, told: list[dict[str, Any]]
    ) -> Launch:
        """Does jobs on ``lake``; what each counted is added to ``told``."""


def hours_asset(readings: Table, stats: HourlyStats, engine: Engine) -> dg.AssetsDefinition:
    """The asset of the hours, which follows that of ``readings``."""
    table, upstream = stats.table, dg.AssetKey(list(readings.name.key))
    key, promises = dg.AssetKey(list(table.name.key)), Promises(table)

    @dg.multi_asset(
        name="__".join(key.path),
        specs=[_spec(table, key, upstream, engine.kind)],
        check_specs=promises.specs(key),
        pool=POOL,
        retry_policy=RETRIES,
    )
    def hours(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        spender, told = Spender.of(key, context.run.run_id), list[dict[str, Any]]()
        ingest = platform.ingest(spender=spender)
        launch = engine.launch(context, ingest.lake, told)
        due = HoursDue(readings, stats, ingest.lake, ingest.warehouse, launch)
        try:
            with within_budget():
                report = ingest.run(Route(table, due, WriteMode.UPSERT))
        except ConfigError as error:
            # Trying again changes no file and no variable.
            raise dg.Failure(str(error), allow_retries=False) from error
        with within_budget():
            shown = of_load(stats, readings, ingest.warehouse, report)
            counted = {**of_table(ingest.warehouse, table), **of_report(report), **_counts(told)}
            checked = promises.results(ingest, report)
        lineage = {"dagster/column_lineage": derived_lineage(stats, upstream)}
        cost = of_run(ingest.ledger, spender)
        yield dg.MaterializeResult(
            asset_key=key, metadata={**shown, **counted, **lineage, **cost}, check_results=checked
        )
        ingest.ledger.mark_reported([str(batch["batch_id"]) for batch in report.batches])

    return hours


def _spec(table: Table, key: dg.AssetKey, upstream: dg.AssetKey, kind: str) -> dg.AssetSpec:
    within = table.fresh_within
    return dg.AssetSpec(
        key,
        deps=[upstream],
        description=table.description or None,
        group_name=table.source,
        owners=[f"team:{table.owner}"] if table.owner else None,
        kinds={kind, "python"},
        tags={"layer": "raw"},
        code_version=table.version or None,
        freshness_policy=dg.FreshnessPolicy.time_window(fail_window=within) if within else None,
        automation_condition=dg.AutomationCondition.eager(),
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": str(table.name),
        },
    )


def _counts(told: list[dict[str, Any]]) -> dict[str, Any]:
    """What the launches of a run counted, summed up."""
    names = dict.fromkeys(name for one in told for name in one)
    summed = {name: [one[name] for one in told if name in one] for name in names}
    return {
        "launches": len(told),
        **{name: of[-1] if isinstance(of[-1], str) else sum(of) for name, of in summed.items()},
    }
