"""What the service would read and bill for a statement; bqemulator tells 0 bytes of all.

A table is its rows times the width of its columns (a text counts for 20 bytes; bqemulator counts no
rows of tables that only scripts filled), and each statement reads all columns of all tables that it
names: no pruning. Billed are 10 MB a table at least,
whole MB above; cloud.google.com/bigquery/pricing, on demand.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlglot
from platform_tests.emulators.bigquery_words import Request, accepted
from sqlglot import exp
from sqlglot.errors import SqlglotError

MB = 1024**2
_WIDTHS = {"STRING": 20, "BYTES": 20, "NUMERIC": 16, "BIGNUMERIC": 32, "BOOL": 1, "BOOLEAN": 1}

Ask = Callable[[str], dict[str, Any]]
"""What the emulator answers to GET of a path."""


@dataclass(frozen=True)
class Cost:
    """Of one statement or script."""

    read: int
    billed: int
    is_script: bool

    @property
    def statistics(self) -> dict[str, Any]:
        told = str(self.read)
        return {
            "totalBytesProcessed": told,
            "query": {
                "totalBytesProcessed": told,
                "estimatedBytesProcessed": told,
                "totalBytesProcessedAccuracy": "UPPER_BOUND" if self.is_script else "PRECISE",
            },
        }


def cost(sql: str, project: str, ask: Ask) -> Cost:
    """What ``sql`` would read of the tables as they stand."""
    try:
        statements = [one for one in sqlglot.parse(sql, read="bigquery") if one]
    except SqlglotError:
        return Cost(0, 0, False)
    sizes = [
        _size(project, table.db, table.name, ask)
        for one in statements
        for table in {t.sql(): t for t in one.find_all(exp.Table) if t.db}.values()
    ]
    known = [size for size in sizes if size is not None]
    billed = sum(max(10, -(-size // MB)) * MB for size in known)
    return Cost(sum(known), billed, len(statements) > 1)


def _size(project: str, dataset: str, table: str, ask: Ask) -> int | None:
    told = ask(f"/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}")
    if "schema" not in told:
        return None
    width = sum(_WIDTHS.get(one["type"], 8) for one in told["schema"].get("fields", ()))
    return int(told.get("numRows", 0)) * width


def dry(request: Request, told: Cost) -> dict[str, Any]:
    """What a dry run is answered."""
    return {**accepted(request), "statistics": told.statistics, "status": {"state": "DONE"}}


def billed(job: dict[str, Any], told: Cost) -> dict[str, Any]:
    """A job as the emulator tells of it, with its cost."""
    statistics = job.setdefault("statistics", {})
    query = {**statistics.get("query", {}), **told.statistics["query"]}
    began, ended = (int(statistics.get(name, 0)) for name in ("startTime", "endTime"))
    slot_ms = str(max(1, ended - began))
    query |= {"totalBytesBilled": str(told.billed), "totalSlotMs": slot_ms}
    statistics |= {"totalBytesProcessed": str(told.read), "totalSlotMs": slot_ms, "query": query}
    return job


def stopped(request: Request, told: Cost) -> dict[str, Any] | None:
    """The job, failed, if more would be billed for it than it may be."""
    most = request.configuration.get("query", {}).get("maximumBytesBilled")
    if most is None or told.billed <= int(most):
        return None
    said = f"Query exceeded limit for bytes billed: {most}. {told.billed} or higher required."
    error = {"reason": "bytesBilledLimitExceeded", "message": said}
    now = str(time.time_ns() // 1_000_000)
    failed = {"state": "DONE", "errorResult": error, "errors": [error]}
    known = accepted(request)
    return {**known, "statistics": {**known["statistics"], "endTime": now}, "status": failed}
