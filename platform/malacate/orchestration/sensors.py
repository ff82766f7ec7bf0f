"""Doorbells: a sensor notes what it saw in the ledger and asks for one run. It is no queue.

Losing every cursor changes cost, not results: the run claims its work from the ledger.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import dagster as dg

from malacate.batch import Found
from malacate.ledger.tables import BATCH
from malacate.orchestration.raw_assets import RawAsset, definitions_of
from malacate.orchestration.resources import Platform
from malacate.sources.protocol import Known


@dataclass(frozen=True)
class Ring:
    """What a tick decided: ask for a run under ``run_key``, or not, and why."""

    run_key: str | None
    why: str


def decide(waiting: Sequence[Found], tries: int) -> Ring:
    """One run for all that waits. The key is made of object versions, and of how often the oldest
    was tried: a failed run is asked for again, a running one is not doubled.
    """
    if not waiting:
        return Ring(None, "nothing new")
    digest = hashlib.sha256()
    for batch_id in sorted(found.batch_id for found in waiting):
        digest.update(batch_id.encode())
    return Ring(f"{digest.hexdigest()[:32]}-{tries}", f"{len(waiting)} waiting")


def doorbell(raw: RawAsset, seconds: int) -> dg.SensorDefinition:
    """A sensor over one route's drops, looking every ``seconds``."""
    route = raw.route

    @dg.sensor(
        name=f"{'__'.join(raw.key.path)}__drops",
        target=dg.AssetSelection.assets(*raw.keys),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks for new drops of {route.table.name} and asks for one run.",
    )
    def drop_sensor(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> dg.SensorResult | dg.SkipReason:
        ledger = platform.target.open_ledger()
        new = ledger.note(route.source.discover(Known()), route.replaces_older)
        c = BATCH.c
        mine = (c.source == route.table.source, c.table_name == route.table.name.table)
        due = ledger.due(*mine)
        ring = decide([found for found, _ in due], max((tries for _, tries in due), default=0))
        if ring.run_key is None:
            return dg.SkipReason(ring.why)
        context.log.info(f"{new} new, {ring.why}")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=ring.run_key)])

    return drop_sensor


def with_doorbells(raw: list[RawAsset], seconds: int) -> dg.Definitions:
    """Assets of the routes, each with its doorbell."""
    bells = [doorbell(one, seconds) for one in raw]
    return dg.Definitions.merge(definitions_of(raw), dg.Definitions(sensors=bells))
