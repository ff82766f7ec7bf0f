"""What the models of a dbt build cost, as its run results tell; dbt tells nothing of its tests."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dagster_dbt import DbtCliInvocation

from malacate.errors import OutOfBudget
from malacate.ledger import costs
from malacate.ledger.ledger import Ledger
from malacate.orchestration.cost import told
from malacate.orchestration.target import Target
from malacate.warehouse.cost import size
from malacate.warehouse.protocol import Warehouse

MAXIMUM_BYTES = "MALACATE_BIGQUERY_MAXIMUM_BYTES"
"""The variable that ``profiles.yml`` has the bytes from that a statement of dbt may have billed."""

_STOPPED = ("bytesbilledlimitexceeded", "limit for bytes billed")


def strictest(target: Target, assets: Iterable[str]) -> int | None:
    """The least of the budgets of these models: dbt's adapter has one limit for all statements."""
    budgets = (target.terms(asset).budget for asset in assets)
    return min((budget for budget in budgets if budget is not None), default=None)


@dataclass
class DbtCost:
    """The cost of one build, noted in the ledger; ``names`` are the asset keys of models by id."""

    target: Target
    warehouse: Warehouse
    run: str
    build: DbtCliInvocation
    most: int | None

    @property
    def is_billed(self) -> bool:
        """Whether there is anything to tell."""
        return self.warehouse.dialect == "bigquery"

    @cached_property
    def _ledger(self) -> Ledger:
        return self.target.open_ledger()

    def note(self, names: Mapping[str, str]) -> None:
        """Keep what dbt told of each model, as far as the build came."""
        for one in self._results() if self.is_billed else ():
            asset, answer = names.get(one["unique_id"]), one["adapter_response"]
            if asset and answer.get("job_id"):
                costs.note(self._ledger, asset, self.run, self._spent(asset, answer))

    def metadata(self, asset: str) -> dict[str, Any]:
        """What the UI shows of a model."""
        return told(costs.of_run(self._ledger, asset, self.run)) if self.is_billed else {}

    def require_within(self, names: Mapping[str, str]) -> None:
        """Raise ``OutOfBudget`` for a model that BigQuery stopped for its cost."""
        for one in self._results() if self.is_billed else ():
            said = str(one.get("message"))
            if any(words in said.lower() for words in _STOPPED):
                raise OutOfBudget(
                    "a statement of dbt would cost more than it may; it was not run",
                    "Prune it by the partitions of what it reads, or raise the budget of the model "
                    "in targets.yaml.",
                    source=names.get(one["unique_id"], one["unique_id"]),
                    expected=f"at most {size(self.most)}, the strictest budget of the models",
                    actual=said[:300],
                    reason="over_budget",
                )

    def _results(self) -> list[dict[str, Any]]:
        try:
            results: list[dict[str, Any]] = self.build.get_artifact("run_results.json")["results"]
        except FileNotFoundError:
            return []
        return results

    def _spent(self, asset: str, answer: Mapping[str, Any]) -> dict[str, Any]:
        from malacate.orchestration import bigquery

        job, place = answer["job_id"], answer["location"]
        billed = int(answer.get("bytes_billed") or 0)
        return {
            "job_id": job,
            "kind": "model",
            "url": bigquery.page(answer["project_id"], place, job),
            "bytes_estimated": bigquery.estimated(self.warehouse, job, place),
            "accuracy": "UNKNOWN",
            "bytes_billed": billed,
            "slot_ms": answer.get("slot_ms"),
            "usd": self.target.terms(asset).usd(billed),
        }
