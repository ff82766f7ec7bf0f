"""The asset ``ops/alarms``: what was loaded is judged, what is due is sent, what is open is shown.

Where a collector watches already, it finds the same incidents: it opens none of them again.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from malacate.alarms.channels import channel
from malacate.alarms.loaded import Passed, judge_hours, judge_loaded, waiting
from malacate.alarms.rules import instant
from malacate.alarms.sender import send_due
from malacate.alarms.watch import Watch
from malacate.errors import MalacateError
from malacate.ledger import alarms, outbox
from malacate.ledger.ledger import Ledger
from malacate.orchestration.control import markdown
from malacate.orchestration.cost import Spender, of_run
from malacate.orchestration.environment import resolve
from malacate.orchestration.resources import Platform
from malacate.orchestration.sensors import Runs
from malacate.orchestration.target import Target

KEY = dg.AssetKey(["ops", "alarms"])
SHOWN = 20
"""Incidents in the table: those that were noted last, open or not."""

_SENT, _JUDGED = "every_alarm_is_sent", "every_batch_is_judged"
_TAGS = {"malacate/asked_by": "ops__alarms"}


def alarm_assets(
    declared: Callable[[], list[Watch]], after: Sequence[str], seconds: int = 10
) -> dg.Definitions:
    """The asset, and its sensor, which looks every ``seconds``; ``after`` are the tables watched.

    ``declared`` is asked for the watches when they are needed.
    """
    specs = [
        dg.AssetCheckSpec(_SENT, asset=KEY, description="no alarm that is due waits"),
        dg.AssetCheckSpec(_JUDGED, asset=KEY, description="what was loaded could be judged"),
    ]

    @dg.asset(
        key=KEY,
        deps=[dg.AssetKey(key.split("/")) for key in after],
        group_name="ops",
        kinds={"python"},
        check_specs=specs,
        description="Alarms of what was loaded: incidents, and what was sent of them.",
    )
    def alarm(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[None]]:
        watches, ledger = declared(), platform.target.open_ledger()
        pays = Spender.of(KEY, context.run.run_id)
        done = _judged_and_sent(watches, platform.target, ledger, pays)
        for line in [*done.untold, *done.unjudged]:
            context.log.warning(line)
        counts = {
            "batches_judged": sum(one.batches for one in done.passed),
            "incidents_opened": sum(one.opened for one in done.passed),
        }
        yield dg.MaterializeResult(
            metadata={**counts, **_shown(ledger, watches), **of_run(ledger, pays)},
            check_results=_checks(ledger, done),
        )

    return dg.Definitions(assets=[alarm], sensors=[_sensor(declared, seconds)])


def _sensor(declared: Callable[[], list[Watch]], seconds: int) -> dg.SensorDefinition:
    @dg.sensor(
        name="ops__alarms",
        target=dg.AssetSelection.assets(KEY),
        minimum_interval_seconds=seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for a run where loaded readings are not judged, or alarms are due.",
    )
    def alarm_sensor(
        context: dg.SensorEvaluationContext, platform: Platform
    ) -> dg.RunRequest | dg.SkipReason:
        ledger, watches = platform.target.open_ledger(), declared()
        unjudged = any(waiting(watch, ledger, 1) for watch in watches)
        if not unjudged and not outbox.due(ledger, _channels(watches)):
            return dg.SkipReason("nothing new")
        if wait := Runs.of(context.instance, _TAGS).wait(seconds):
            return dg.SkipReason(wait)
        return dg.RunRequest(tags=_TAGS)

    return alarm_sensor


@dataclass(frozen=True)
class _Done:
    """What passes over the watches did, and in words what they could not."""

    passed: list[Passed]
    untold: list[str]
    unjudged: list[str]


def _judged_and_sent(
    watches: Sequence[Watch], target: Target, ledger: Ledger, pays: Spender
) -> _Done:
    """Hours come last, and what is wrong with them fails nothing: what readings say never waits
    for a warehouse that is busy.
    """
    lake, names = target.open_lake(), _channels(watches)
    passed = [judge_loaded(one, ledger, lake) for one in watches if one.trend is None]
    untold, unjudged = _sent(ledger, names), list[str]()
    for watch in watches:
        if watch.trend is not None and waiting(watch, ledger, 1):
            try:
                warehouse = target.open_warehouse(pays)
                passed.append(judge_hours(watch, watch.trend, ledger, warehouse))
            except MalacateError as error:
                unjudged.append(f"raw/{watch.name}: {error}")
    return _Done(passed, [*untold, *_sent(ledger, names)], unjudged)


def _channels(watches: Iterable[Watch]) -> list[str]:
    return sorted({name for watch in watches for name in watch.channels})


def _sent(ledger: Ledger, names: Sequence[str]) -> list[str]:
    """Send what is due; what went wrong."""
    untold = []
    for name in names:
        try:
            send_due(ledger, name, channel(name, resolve))
        except MalacateError as error:
            untold.append(str(error))
    return untold


def _checks(ledger: Ledger, done: _Done) -> list[dg.AssetCheckResult]:
    rows = outbox.states(ledger)
    due = sum(row["alarms"] for row in rows if row["state"] in ("due", "held"))
    waits = "; ".join(done.untold) or "another sender has them, or they wait for their turn"
    receiver = "Look at what receives the webhook; it is tried again until it answers."
    warehouse = "Nothing is lost: it is judged once the warehouse can be read."
    return [
        _check(_SENT, due, waits, receiver),
        _check(_JUDGED, len(done.unjudged), "; ".join(done.unjudged), warehouse),
    ]


def _check(name: str, actual: int, why: str, advice: str) -> dg.AssetCheckResult:
    told: dict[str, Any] = {"expected": 0, "actual": actual}
    return dg.AssetCheckResult(
        passed=not actual, asset_key=KEY, check_name=name, severity=dg.AssetCheckSeverity.ERROR,
        metadata=told | ({"what_to_do": advice, "why": why} if actual else {}),
    )  # fmt: skip


def _shown(ledger: Ledger, watches: Sequence[Watch]) -> dict[str, Any]:
    rules = Counter(
        row["rule"]
        for watch in watches
        if (now := watch.now_us(ledger)) is not None
        for row in alarms.standing(ledger, watch.name, now)
    )
    found = alarms.newest(ledger, [watch.name for watch in watches], SHOWN)
    newest = {"newest": found[0]["told"]} if found else {}
    return {
        "open_incidents": rules.total(),
        **{f"open_{rule}": number for rule, number in sorted(rules.items())},
        **newest,
        "incidents": dg.MetadataValue.md(markdown([_row(row) for row in found])),
        "alarms": dg.MetadataValue.md(markdown(outbox.states(ledger))),
    }


def _row(row: dict[str, Any]) -> dict[str, Any]:
    unit = row["unit"]
    return {
        "rule": row["rule"],
        "subject": row["subject"],
        "first": instant(row["first_us"]),
        "last": instant(row["last_us"]),
        "opened by": f"{row['value']:.2f} {unit}" if unit else row["told"],
        "limit": f"{row['bound']:.2f} {unit}" if unit else "",
        "alarms": ", ".join(row["states"]),
    }
