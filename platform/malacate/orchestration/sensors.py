"""Doorbells: a sensor notes what it saw in the ledger and asks for one run. It is no queue.

Losing every cursor changes cost, not results: the run claims its work from the ledger.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import dagster as dg
from sqlalchemy import ColumnElement

from malacate.batch import Found
from malacate.ledger.ledger import Ledger
from malacate.orchestration.environment import resolve
from malacate.orchestration.notices import Polled, poll
from malacate.orchestration.raw_assets import RawAsset, definitions_of
from malacate.orchestration.resources import Platform
from malacate.route import Route, note
from malacate.sources.discovery import Discovery
from malacate.sources.notices import Listener

_LOOKED_AT = 12

COUNTED = 1000
"""How many waiting batches a tick looks at, at most: enough to tell one set from another."""


@dataclass(frozen=True)
class Ring:
    """What a tick decided: ask for a run under ``run_key``, or not, and why."""

    run_key: str | None
    why: str


@dataclass(frozen=True)
class Runs:
    """What became of the runs that a doorbell asked for: how many failed since one did not, and
    when the last ended, in seconds since 1970.
    """

    is_at_work: bool
    failed: int
    ended: float

    @classmethod
    def of(cls, instance: dg.DagsterInstance, tags: Mapping[str, str]) -> "Runs":
        """Those with the tags, newest first."""
        found = instance.get_run_records(dg.RunsFilter(tags=dict(tags)), limit=_LOOKED_AT)
        runs = [one.dagster_run for one in found]
        failed = list(takewhile(lambda one: one.status is dg.DagsterRunStatus.FAILURE, runs))
        ended = (found[0].end_time or 0.0) if found else 0.0
        return cls(bool(runs) and not runs[0].is_finished, len(failed), ended)

    def wait(self, seconds: float) -> str:
        """Why none is asked for now: one is at work, or failed; then it is asked for again after
        twice the ``seconds``, four times, and so on, an hour at most.
        """
        if self.is_at_work:
            return "a run is at work"
        left = self.ended + min(seconds * 2**self.failed, 3600.0) - time.time()
        return f"{self.failed} failed; again in {left:.0f} s" if self.failed and left > 0 else ""


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


def rung(ledger: Ledger, *where: ColumnElement[bool]) -> Ring:
    """What the ledger asks for; nothing while a run is at work, which takes up what comes."""
    due = ledger.due(*where, limit=COUNTED)
    if due and (busy := ledger.busy(*where)):
        return Ring(None, f"a run is at work on {busy} of them")
    return decide([found for found, _ in due], max((tries for _, tries in due), default=0))


def doorbell(raw: RawAsset, seconds: int, hear: Callable[[Ledger], Polled]) -> dg.SensorDefinition:
    """A sensor over one route's drops, looking every ``seconds`` at a bounded part of them.

    ``hear`` takes in what the bucket itself told since the last tick.
    """
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
        for line in hear(ledger).told():
            context.log.warning(line)
        noted = note(route, ledger)
        for line in noted.told:
            context.log.warning(line)
        ring = rung(ledger, *route.batches)
        if ring.run_key is None:
            return dg.SkipReason(ring.why)
        context.log.info(f"{noted.new} new, {ring.why}")
        return dg.SensorResult(run_requests=[dg.RunRequest(run_key=ring.run_key)])

    return drop_sensor


def with_doorbells(
    raw: list[RawAsset], engine: str, seconds: int, notices: str = ""
) -> dg.Definitions:
    """Assets of the routes, each with its doorbell; one queue of ``notices`` serves them all."""

    def hear(ledger: Ledger) -> Polled:
        return poll(resolve(notices), [_listener(one.route) for one in raw], ledger)

    bells = [doorbell(one, seconds, hear) for one in raw]
    return dg.Definitions.merge(definitions_of(raw, engine), dg.Definitions(sensors=bells))


def _listener(route: Route) -> Listener:
    discovery: Discovery = route.source.discovery  # type: ignore[attr-defined]
    host, _, prefix = discovery.selection.store.uri.partition("://")[2].partition("/")
    container, at, account = host.partition("@")
    bucket = f"{account}/{container}" if at else host
    return Listener(bucket, prefix and f"{prefix}/", discovery, route.replaces_older)
