"""The asset ``ops/reconcile``: states of captured tables against their sources, a part each day.

Tables whose changes are not captured by us are compared by ``malacate reconcile`` alone: that
reads all of their source again.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from malacate.errors import MalacateError
from malacate.ingest import Ingest
from malacate.orchestration.control import markdown
from malacate.orchestration.cost import Spender, of_run, within_budget
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.resources import Platform
from malacate.orchestration.schedule import by_cron
from malacate.reconcile_changes import is_captured, reconcile_changes

KEY = dg.AssetKey(["ops", "reconcile"])

_CHECKS = {
    "nothing_lost": "no row of the source lacks in the state",
    "nothing_twice": "no row stands twice, or without one at the source",
    "nothing_wrong": "no row has other values than at the source",
    "every_table_was_compared": "every source answered, and none has lost changes",
}
_ADVICE = (
    "Run `malacate reconcile --full` for the table: it names every key, up to twenty. Then "
    "`malacate rebuild warehouse`; if it stays, `malacate doctor` looks at the source."
)
_COUNTS = ("source_rows", "target_rows", "quarantined", "lost", "twice", "wrong", "behind")
_SCHEMA = pa.schema(
    [
        ("state", pa.string()),
        ("ranges", pa.string()),
        *((name, pa.int64()) for name in _COUNTS),
        ("position", pa.string()),
        ("examples", pa.string()),
        ("problem", pa.string()),
    ]
)


def reconciliation(
    declared: Callable[[], Sequence[RawAsset]], pool: str, engine: str, cron: str = "20 4 * * *"
) -> dg.Definitions:
    """The asset and its checks, due by ``cron`` (UTC).

    ``declared`` tells all routes when it runs. It waits for its turn in ``pool``: a slot has one
    reader at a time.
    """
    specs = [dg.AssetCheckSpec(name, asset=KEY, description=text) for name, text in _CHECKS.items()]

    @dg.asset(
        key=KEY,
        group_name="ops",
        kinds={"python", engine},
        io_manager_key="warehouse",
        pool=pool,
        check_specs=specs,
        automation_condition=by_cron(cron),
        description="Captured tables against their sources: rows lost, twice, wrong, behind.",
    )
    def reconcile(
        context: dg.AssetExecutionContext, platform: Platform
    ) -> Iterator[dg.MaterializeResult[pa.Table]]:
        spender = Spender.of(KEY, context.run.run_id)
        ingest, turn = platform.ingest(spender=spender), _turn(context.instance)
        with within_budget():
            rows = [_row(one, ingest, turn) for one in declared() if is_captured(one.route)]
        yield dg.MaterializeResult(
            value=pa.Table.from_pylist(rows, _SCHEMA),
            metadata={
                "turn": turn,
                "tables": len(rows),
                **{name: sum(row[name] for row in rows) for name in _COUNTS},
                "compared": dg.MetadataValue.md(markdown(rows)),
                **of_run(ingest.ledger, spender),
            },
            check_results=_results(rows),
        )

    return dg.Definitions(assets=[reconcile])


def _turn(instance: dg.DagsterInstance) -> int:
    """One more than the last run's: so other ranges come."""
    last = instance.get_latest_materialization_event(KEY)
    told = last.asset_materialization if last else None
    value = told.metadata["turn"].value if told and "turn" in told.metadata else -1
    return int(str(value)) + 1


def _row(one: RawAsset, ingest: Ingest, turn: int) -> dict[str, Any]:
    """A table that cannot be compared is told as such, and the others are."""
    row: dict[str, Any] = dict.fromkeys(_SCHEMA.names, "") | dict.fromkeys(_COUNTS, 0)
    try:
        told = asdict(reconcile_changes(one.route, ingest, turn))
    except MalacateError as error:
        return {**row, "state": one.keys[-1].to_user_string(), "problem": str(error)}
    told["examples"] = "; ".join(told["examples"])
    return {**row, **{name: told[name] for name in row if name in told}, "state": told["table"]}


def _results(rows: Sequence[dict[str, Any]]) -> list[dg.AssetCheckResult]:
    counted = {f"nothing_{name}": name for name in ("lost", "twice", "wrong")}
    results = []
    for check in _CHECKS:
        name = counted.get(check, "problem")
        bad = [row for row in rows if row[name]]
        actual = sum(row[name] for row in bad) if check in counted else len(bad)
        told: dict[str, Any] = {"expected": 0, "actual": actual}
        if bad:
            shown = ("state", name, "examples", "position") if check in counted else ("state", name)
            table = markdown([{column: row[column] for column in shown} for row in bad])
            told |= {"tables": dg.MetadataValue.md(table), "what_to_do": _ADVICE}
        results.append(
            dg.AssetCheckResult(passed=not bad, asset_key=KEY, check_name=check, metadata=told)
        )
    return results
