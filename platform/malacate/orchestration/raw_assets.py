"""A route as a Dagster asset: ingest, tell what happened, check it, all in one step."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import dagster as dg

from malacate.contracts.table import Table
from malacate.errors import ConfigError
from malacate.ingest import Ingest, Report, Route
from malacate.orchestration.checks import Promises
from malacate.orchestration.cost import Spender, of_run, within_budget
from malacate.orchestration.metadata import (
    column_lineage,
    column_schema,
    derived_lineage,
    of_report,
    of_table,
)
from malacate.orchestration.resources import Platform
from malacate.orchestration.schedule import by_cron
from malacate.warehouse.hourly import HourlyStats
from malacate.warehouse.protocol import Warehouse

POOL = "warehouse"
"""Steps that write the warehouse take turns: a DuckDB file has one writer."""

RETRIES = dg.RetryPolicy(
    max_retries=2, delay=2, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
)
"""How often a step that loads raw tables is tried again within its run."""


@dataclass(frozen=True)
class RawAsset:
    """How one route is shown: the kinds of its source, and what its deliveries are.

    They may repeat keys, and be files. ``delivers`` is the source table's name where the raw table
    has another one. ``cron`` says when it is due, where no doorbell says so. ``of_derived`` tells
    more of the derived table, after a run. ``beside`` are hours of its rows that an engine computes
    beside the warehouse, as an asset of their own.
    """

    route: Route
    kinds: frozenset[str]
    repeats: bool = False
    of_files: bool = False
    delivers: str = ""
    cron: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    of_derived: Callable[[Warehouse, Report], Mapping[str, Any]] = lambda warehouse, report: {}
    beside: HourlyStats | None = None

    @property
    def promises(self) -> Promises:
        """What is checked of its table."""
        return Promises(self.route.table, self.repeats, of_files=self.of_files)

    @property
    def key(self) -> dg.AssetKey:
        """``raw/<source>/<table>``."""
        return dg.AssetKey(list(self.route.table.name.key))

    @property
    def keys(self) -> list[dg.AssetKey]:
        """Its table, and the one derived from it: they are made by one step."""
        derives = self.route.derives
        derived = [dg.AssetKey(list(derives.target.name.key))] if derives is not None else []
        return [self.key, *derived]

    @property
    def origin(self) -> dg.AssetKey:
        """The table at the source, as an external asset."""
        name = self.delivers or self.route.table.name.table
        return dg.AssetKey(["source", self.route.table.source, name])


def definitions_of(raw: list[RawAsset], engine: str) -> dg.Definitions:
    """Assets of the routes, in a warehouse of this kind, and the source tables they come from."""
    made = [_asset(replace(one, kinds=one.kinds | {engine})) for one in raw]
    return dg.Definitions(assets=[*made, *(origin_of(one) for one in raw)])


def origin_of(raw: RawAsset) -> dg.AssetSpec:
    """The table at its source."""
    table = raw.route.table
    return dg.AssetSpec(
        raw.origin,
        description=f"As it stands in the source system {table.source}.",
        group_name=table.source,
        kinds={"source"},
        metadata={"dagster/column_schema": column_schema(table)},
    )


def specs_of(raw: RawAsset) -> tuple[list[dg.AssetSpec], list[dg.AssetCheckSpec]]:
    """Its table and the one derived from it, with what is checked of them."""
    route = raw.route
    specs = [_spec(route.table, raw.key, [raw.origin], raw)]
    checks = raw.promises.specs(raw.key)
    if route.derives is not None:
        target = route.derives.target
        derived_key = dg.AssetKey(list(target.name.key))
        specs.append(_spec(target, derived_key, [raw.key], raw))
        checks += Promises(target, is_derived=True).specs(derived_key)
    return specs, checks


def _asset(raw: RawAsset) -> dg.AssetsDefinition:
    route = raw.route
    specs, checks = specs_of(raw)

    @dg.multi_asset(
        name="__".join(raw.key.path),
        specs=specs,
        check_specs=checks,
        pool=POOL,
        retry_policy=RETRIES,
    )
    def raw_table(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        spender = Spender.of(raw.key, context.run.run_id)
        ingest = platform.ingest(
            lambda name, rows: context.log.debug(f"{name}: {rows} rows"), spender
        )
        try:
            with within_budget():
                report = ingest.run(route)
        except ConfigError as error:
            # Trying again changes no file and no variable.
            raise dg.Failure(str(error), allow_retries=False) from error
        for warning in report.warnings:
            context.log.warning(str(warning))
        for batch in report.of("quarantined") + report.of("rejected") + report.of("skipped"):
            context.log.warning(f"{batch['object']} is {batch['state']}: {batch['error']}")
        with within_budget():
            results = results_of(raw, ingest, report, spender)
        yield from results
        ingest.ledger.mark_reported([str(batch["batch_id"]) for batch in report.batches])

    return raw_table


def _spec(
    table: Table, key: dg.AssetKey, upstream: list[dg.AssetKey], raw: RawAsset
) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=upstream,
        description=table.description or None,
        group_name=table.source,
        owners=[f"team:{table.owner}"] if table.owner else None,
        kinds=set(raw.kinds),
        tags={"layer": "raw", **raw.tags},
        code_version=table.version or None,
        freshness_policy=_freshness(table),
        automation_condition=by_cron(raw.cron) if raw.cron else None,
        metadata={
            "dagster/column_schema": column_schema(table),
            "dagster/table_name": str(table.name),
        },
    )


def _freshness(table: Table) -> dg.FreshnessPolicy | None:
    if table.fresh_within is None:
        return None
    return dg.FreshnessPolicy.time_window(fail_window=table.fresh_within)


def results_of(
    raw: RawAsset, ingest: Ingest, report: Report, spender: Spender
) -> list[dg.MaterializeResult[None]]:
    """What is told of its table, and of the derived one: one step made them, at one cost."""
    table, derives, warehouse = raw.route.table, raw.route.derives, ingest.warehouse
    made = [(raw.key, of_table(warehouse, table), raw.promises.results(ingest, report))]
    shown = [{"dagster/column_lineage": column_lineage(table, raw.origin), **of_report(report)}]
    if derives is not None:
        checked = Promises(derives.target, is_derived=True).results(ingest, report)
        made.append((raw.keys[1], of_table(warehouse, derives.target), checked))
        lineage = {"dagster/column_lineage": derived_lineage(derives, raw.key)}
        shown.append({**raw.of_derived(warehouse, report), **lineage})
    cost = of_run(ingest.ledger, spender)
    if cost and derives is not None:
        cost["cost_is_of"] = " and ".join(key.to_user_string() for key in raw.keys)
    return [
        dg.MaterializeResult(
            asset_key=key, metadata={**counted, **cost, **more}, check_results=checks
        )
        for (key, counted, checks), more in zip(made, shown, strict=True)
    ]
