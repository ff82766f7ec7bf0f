"""What a run of an asset costs: who pays, what is noted of it in the ledger, what the UI shows."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import dagster as dg

from malacate.errors import OutOfBudget
from malacate.ledger import costs
from malacate.ledger.ledger import Ledger
from malacate.warehouse.cost import Meter, Spent, Terms


def _this_process() -> str:
    return f"process-{_PROCESS}"


_PROCESS = secrets.token_hex(6)


@dataclass(frozen=True)
class Spender:
    """Who pays for statements: an asset in a run; what runs outside of Dagster pays as ``cli``."""

    asset: str = "cli"
    run: str = field(default_factory=_this_process)

    @classmethod
    def of(cls, key: dg.AssetKey, run_id: str) -> "Spender":
        """A run of the asset ``key``."""
        return cls(key.to_user_string(), run_id)


def meter(spender: Spender, terms: Terms, open_ledger: Callable[[], Ledger]) -> Meter:
    """Holds a spender to its terms; the ledger is opened by the first statement."""
    ledger = cache(open_ledger)

    def note(spent: Spent) -> None:
        costs.note(ledger(), spender.asset, spender.run, asdict(spent))

    def before() -> int:
        rows = costs.of_run(ledger(), spender.asset, spender.run)
        return sum(row["bytes_billed"] or row["bytes_estimated"] or 0 for row in rows)

    return Meter(spender.asset, terms, note, before)


def of_run(ledger: Ledger, spender: Spender) -> dict[str, Any]:
    """What the UI shows of the statements of a run; nothing where the warehouse bills nothing."""
    return told(costs.of_run(ledger, spender.asset, spender.run))


def told(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Statements of one run, summed up, with the page of the one that stands for them.

    That is the last publish, or else the one that cost most.
    """
    if not rows:
        return {}
    known = [row for row in rows if row["url"]]
    first = max(known, key=lambda row: (row["kind"] == "publish", row["bytes_billed"]), default={})
    return {
        "bytes_estimated": sum(row["bytes_estimated"] or 0 for row in rows),
        "bytes_billed": sum(row["bytes_billed"] or 0 for row in rows),
        "bytes_billed_for_bookkeeping": sum(
            row["bytes_billed"] or 0 for row in rows if row["kind"] == "bookkeeping"
        ),
        "cost_usd": round(sum(row["usd"] or 0.0 for row in rows), 6),
        "slot_ms": sum(row["slot_ms"] or 0 for row in rows),
        "statements": len(rows),
        **({"bigquery_job": dg.MetadataValue.url(first["url"])} if first else {}),
    }


@contextmanager
def within_budget() -> Iterator[None]:
    """A budget that is spent fails the step at once: trying again would be refused again."""
    try:
        yield
    except OutOfBudget as error:
        raise dg.Failure(str(error), allow_retries=False) from error
