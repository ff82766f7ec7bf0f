"""What statements of the warehouse cost: one row per job, however often it is noted."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from malacate.ledger.engine import insert
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import COST


def note(ledger: Ledger, asset: str, run: str, values: Mapping[str, Any]) -> None:
    """Keep a statement of a run; ``values`` are columns of ``COST``. Noted again, it is replaced.

    Its instant is that of the first note.
    """
    now = datetime.now(UTC)
    row = {**values, "asset": asset, "run": run}
    with ledger.together() as connection:
        upsert = insert(connection)(COST).values(
            **row, at=now.timestamp(), day_on=now.date().isoformat()
        )
        connection.execute(upsert.on_conflict_do_update(index_elements=["job_id"], set_=row))


def of_run(ledger: Ledger, asset: str, run: str) -> list[dict[str, Any]]:
    """The statements of one run of an asset, oldest first."""
    mine = (COST.c.asset == asset, COST.c.run == run)
    return ledger.select(sa.select(COST).where(*mine).order_by(COST.c.at))


def by_day(ledger: Ledger) -> list[dict[str, Any]]:
    """Statements, bytes and USD of each asset and day (UTC)."""
    c = COST.c
    sums = [
        sa.cast(sa.func.coalesce(sa.func.sum(column), 0), column.type).label(column.name)
        for column in (c.bytes_estimated, c.bytes_billed)
    ]
    usd = sa.func.coalesce(sa.func.sum(c.usd), 0.0).label("cost_usd")
    group = (c.day_on, c.asset)
    query = sa.select(*group, sa.func.count().label("statements"), *sums, usd)
    return ledger.select(query.group_by(*group).order_by(*group))
