"""Statements of the queue: what is free, taking it, poison.

All run inside the ledger's transaction.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.notes import found_of
from malacate.ledger.owner import is_dead
from malacate.ledger.tables import ATTEMPT, BATCH
from malacate.ledger.work import Claim


def claimable(
    connection: sa.Connection,
    mine: sa.ColumnElement[bool],
    now: float,
    limit: int,
    tried: Collection[str],
) -> Sequence[Any]:
    """Free batches, least tried and oldest first, locked where the database locks rows."""
    c = BATCH.c
    free = (c.state == "seen") | abandoned(connection, mine, now)
    query = sa.select(BATCH).where(mine, free, c.batch_id.not_in(tried))
    query = query.order_by(c.crashes, c.attempts, c.ordinal, c.object).limit(limit)
    return connection.execute(query.with_for_update(skip_locked=True)).all()


def abandoned(
    connection: sa.Connection, mine: sa.ColumnElement[bool], now: float
) -> sa.ColumnElement[bool]:
    """Claims that nobody holds any more: lapsed, or of a process that is dead."""
    c = BATCH.c
    query = sa.select(c.owner).distinct().where(mine, c.state == "processing")
    busy: Iterable[str] = connection.execute(query).scalars()
    dead = [owner for owner in busy if is_dead(owner)]
    lapsed = (c.lease_until < now) | c.owner.in_(dead)
    return (c.state == "processing") & lapsed


def take(connection: sa.Connection, row: Any, owner: str, now: float, lease: float) -> Claim:
    """Claim one batch: its epoch and its attempts grow in the same transaction."""
    taken = {
        "state": "processing",
        "epoch": row.epoch + 1,
        "attempts": row.attempts + 1,
        "crashes": row.crashes + 1,
        "owner": owner,
        "lease_until": now + lease,
    }
    connection.execute(sa.update(BATCH).where(BATCH.c.batch_id == row.batch_id).values(**taken))
    attempt = {"batch_id": row.batch_id, "epoch": row.epoch + 1, "owner": owner}
    connection.execute(sa.insert(ATTEMPT).values(**attempt, started=now))
    return Claim(found_of(row._mapping), row.epoch + 1, row.attempts + 1, row.crashes)


def poison(connection: sa.Connection, row: Any, now: float) -> None:
    """No worker survives it: nobody takes it up by himself again."""
    values = {
        "state": "quarantined",
        "reason": "poison_crash",
        "error": f"{row.crashes} workers died on it; inspect the file, then release it",
        "landing": None,
        "ended": now,
    }
    connection.execute(sa.update(BATCH).where(BATCH.c.batch_id == row.batch_id).values(**values))
