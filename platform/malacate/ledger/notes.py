"""Statements for what was found: which is known, a new row, older versions given up.

All run inside the ledger's transaction.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.tables import BATCH
from malacate.ledger.work import Found

_FOUND = (
    "source", "kind", "object", "version", "ordinal", "size", "lo", "hi", "modified_ns", "promise",
)  # fmt: skip


def known(connection: sa.Connection, found: Sequence[Found]) -> set[str]:
    """Ids of those that the ledger has."""
    ids = [f.batch_id for f in found]
    standing: set[str] = set()
    for start in range(0, len(ids), 500):
        some = sa.select(BATCH.c.batch_id).where(BATCH.c.batch_id.in_(ids[start : start + 500]))
        standing.update(connection.scalars(some))
    return standing


def count_again(connection: sa.Connection, batch_ids: Collection[str]) -> None:
    """These were delivered once more."""
    ids = sorted(batch_ids)
    for start in range(0, len(ids), 500):
        some = BATCH.c.batch_id.in_(ids[start : start + 500])
        connection.execute(sa.update(BATCH).where(some).values(deliveries=BATCH.c.deliveries + 1))


def row_of(found: Found, now: float) -> dict[str, Any]:
    """A batch that nobody began."""
    return {
        **{name: getattr(found, name) for name in _FOUND},
        "batch_id": found.batch_id,
        "table_name": found.table,
        "state": "seen",
        "first_seen": now,
        "waiting_since": now,
        "deliveries": 1,
        "epoch": 0,
        "attempts": 0,
        "crashes": 0,
        "next_try": 0.0,
        "is_reported": False,
    }


def found_of(row: Mapping[str, Any]) -> Found:
    """A row of the ledger as what was found."""
    return Found(table=row["table_name"], **{name: row[name] for name in _FOUND})


def give_up_older(connection: sa.Connection, newer: Found, now: float) -> None:
    """Only what nobody ever began: whoever died on one may have published it."""
    c = BATCH.c
    same = (c.source == newer.source) & (c.table_name == newer.table) & (c.object == newer.object)
    idle = (c.state == "seen") & (c.epoch == 0)
    values = {"state": "superseded", "reason": "superseded", "ended": now, "owner": None}
    older = sa.update(BATCH).where(same, idle, c.ordinal < newer.ordinal)
    told = {"error": f"version {newer.version} came", "epoch": c.epoch + 1}
    connection.execute(older.values(**values, **told))
