"""The tables of a replication slot as one step: one look at the slot, all of its tables, then the
slot is advanced.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg

from malacate.errors import ConfigError, MalacateError
from malacate.ingest import Ingest, Report
from malacate.orchestration import keyless
from malacate.orchestration.cost import Spender, within_budget
from malacate.orchestration.raw_assets import (
    POOL,
    RETRIES,
    RawAsset,
    origin_of,
    results_of,
    specs_of,
)
from malacate.orchestration.resources import Platform
from malacate.orchestration.sensors import Runs
from malacate.sources.cdc.slot import ReplicationSlot, relation_of
from malacate.sources.cdc.slot_lag import Lag

LOOKS = 1000
"""How often a run looks at the slot again while there is more; the next run goes on."""

_CHECKS = {
    "slot_keeps_up": "less WAL waits to be read than the ceiling",
    "slot_is_safe": "the source neither fills its disk for the slot, nor is about to drop it",
}


@dataclass(frozen=True)
class SlotAssets:
    """A slot, the raw tables that it feeds, and how many bytes of WAL may wait for them."""

    slot: ReplicationSlot
    raw: Sequence[RawAsset]
    interval_seconds: int
    ceiling_bytes: int

    @property
    def name(self) -> str:
        """Of the step, and of what asks for it."""
        return f"raw__{self.raw[0].route.table.source}__{self.slot.server.name}"

    @property
    def keyless(self) -> list[dg.AssetKey]:
        """States whose rows are told apart by their content alone."""
        bare = {table.name.table for table in self.slot.tables if not table.key}
        return [one.keys[-1] for one in self.raw if one.delivers in bare]

    def definitions(self, engine: str) -> dg.Definitions:
        """Assets, checks, the tables at the source, and the doorbell."""
        shown = [replace(one, kinds=one.kinds | {engine}) for one in self.raw]
        made = _step(replace(self, raw=shown))
        origins = [origin_of(one) for one in self.raw]
        return dg.Definitions(assets=[made, *origins], sensors=[_doorbell(self)])


def take_in(ingest: Ingest, assets: SlotAssets) -> dict[dg.AssetKey, Report]:
    """Read until the slot has no more; advance it each time all of its tables have published.

    Raises the first failure once the other tables are in; then the slot stays where it is.
    """
    slot, reports = assets.slot, dict[dg.AssetKey, Report]()
    slot.require(positions(ingest, assets))
    for _ in range(LOOKS):
        failures: list[MalacateError] = []
        for one in assets.raw:
            try:
                reports[one.key] = ingest.run(one.route)
            except MalacateError as error:
                failures.append(error)
        has_more = slot.settle(positions(ingest, assets))
        if failures:
            raise failures[0]
        if not has_more:
            break
    return reports


def positions(ingest: Ingest, assets: SlotAssets) -> dict[str, str | None]:
    """Up to where each table of the slot is published, read back from the warehouse."""
    by_name = {one.delivers: one.route.table.name for one in assets.raw}
    return {
        relation_of(table): ingest.warehouse.position(by_name[table.name.table])
        for table in assets.slot.tables
    }


def _step(assets: SlotAssets) -> dg.AssetsDefinition:
    pairs = [specs_of(one) for one in assets.raw]
    checks = [check for _, some in pairs for check in some]
    checks += [
        dg.AssetCheckSpec(name, asset=one.key, description=text)
        for one in assets.raw
        for name, text in _CHECKS.items()
    ]
    checks += [
        dg.AssetCheckSpec(keyless.NAME, asset=key, description=keyless.DESCRIPTION)
        for key in assets.keyless
    ]

    @dg.multi_asset(
        name=assets.name,
        specs=[spec for some, _ in pairs for spec in some],
        check_specs=checks,
        can_subset=True,
        pool=POOL,
        retry_policy=RETRIES,
    )
    def slot_tables(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        spender = Spender.of(assets.raw[0].key, context.run.run_id)
        ingest = platform.ingest(
            lambda name, rows: context.log.debug(f"{name}: {rows} rows"), spender
        )
        try:
            with within_budget():
                reports = take_in(ingest, assets)
        except ConfigError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        lag = assets.slot.lag()
        for one in assets.raw:
            if not context.selected_asset_keys.intersection(one.keys):
                continue
            for result in _results(assets, one, ingest, reports[one.key], lag, spender):
                yield from _asked_for(context, result)
            told = [str(batch["batch_id"]) for batch in reports[one.key].batches]
            ingest.ledger.mark_reported(told)

    return slot_tables


def _asked_for(
    context: dg.AssetExecutionContext, result: dg.MaterializeResult[None]
) -> Iterator[dg.MaterializeResult[None]]:
    """What of a result a run was asked for: all tables are read, the others are told later."""
    if result.asset_key not in context.selected_asset_keys:
        return
    asked = {(check.asset_key, check.name) for check in context.selected_asset_check_keys}
    checks = [
        check
        for check in result.check_results or ()
        if (check.asset_key or result.asset_key, check.check_name) in asked
    ]
    yield result._replace(check_results=checks)


def _results(
    assets: SlotAssets,
    one: RawAsset,
    ingest: Ingest,
    report: Report,
    lag: Lag | None,
    spender: Spender,
) -> Iterator[dg.MaterializeResult[None]]:
    with within_budget():
        log, state = results_of(one, ingest, report, spender)
    yield dg.MaterializeResult(
        asset_key=log.asset_key,
        metadata={**(log.metadata or {}), **_shown(assets, one, lag)},
        check_results=[*(log.check_results or ()), *_verdicts(assets, one, lag)],
    )
    bare = [keyless.verdict(key) for key in assets.keyless if key == state.asset_key]
    yield dg.MaterializeResult(
        asset_key=state.asset_key,
        metadata=state.metadata,
        check_results=[*(state.check_results or ()), *bare],
    )


def _shown(assets: SlotAssets, one: RawAsset, lag: Lag | None) -> dict[str, Any]:
    if lag is None:
        return {}
    newest = assets.slot.newest.get(one.delivers)
    return {
        "slot": lag.slot,
        "slot_position": lag.position,
        "slot_unread_bytes": lag.unread_bytes,
        "slot_retained_bytes": lag.retained_bytes,
        "slot_wal_status": lag.wal_status,
        "slot_reader_pid": lag.reader_pid or 0,
        **({} if lag.safe_bytes is None else {"slot_safe_wal_bytes": lag.safe_bytes}),
        **({} if newest is None else {"newest_change_age_seconds": round(time.time() - newest)}),
    }


def _verdicts(assets: SlotAssets, one: RawAsset, lag: Lag | None) -> Iterator[dg.AssetCheckResult]:
    most = assets.ceiling_bytes
    told = {
        "slot_keeps_up": (
            lag is not None and lag.keeps_up(most),
            lag.unread_bytes if lag else "no slot",
            "Is its sensor on? Let it run more often, or raise max_lag_bytes.",
        ),
        "slot_is_safe": (
            lag is not None and lag.is_safe(most),
            f"{lag.retained_bytes}, {lag.wal_status}" if lag else "no slot",
            "End long transactions at the source, run the slot's tables, or raise "
            "max_slot_wal_keep_size there. `malacate doctor` names what is missing.",
        ),
    }
    for name, (passed, actual, advice) in told.items():
        yield dg.AssetCheckResult(
            passed=passed,
            asset_key=one.key,
            check_name=name,
            metadata={"expected": f"<= {most} bytes", "actual": actual}
            | ({} if passed else {"what_to_do": advice}),
        )


def _doorbell(assets: SlotAssets) -> dg.SensorDefinition:
    name = assets.slot.server.name
    tags = {"malacate/slot": name}

    @dg.sensor(
        name=f"{assets.name}__changes",
        target=dg.AssetSelection.assets(*(key for one in assets.raw for key in one.keys)),
        minimum_interval_seconds=assets.interval_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Asks for a run when the log of the slot {name}'s server has moved.",
    )
    def slot_sensor(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        runs, end = Runs.of(context.instance, tags), str(assets.slot.server.state().flushed)
        if end == context.cursor and not runs.failed:
            return dg.SkipReason("nothing was written at the source")
        if why := runs.wait(assets.interval_seconds):
            return dg.SkipReason(why)
        return dg.SensorResult(run_requests=[dg.RunRequest(tags=tags)], cursor=end)

    return slot_sensor
