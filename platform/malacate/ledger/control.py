"""Questions about the state of every file, answered by the database: cheap at a million rows."""

import time
from typing import Any

import sqlalchemy as sa

from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH

SHOWN = 50
"""Examples that one question lists, at most; its count is of all."""

Answer = tuple[int, list[dict[str, Any]]]
"""How many there are, and the first of them."""

_FILES = BATCH.c.kind == "object"

_SHOWN = ("source", "table_name", "object", "state", "reason", "first_seen", "attempts", "error")


def states(ledger: Ledger) -> list[dict[str, Any]]:
    """Files per source, table and state; as ``Ledger.status`` tells of all batches."""
    return ledger.status(_FILES)


def stuck(ledger: Ledger, seconds: float) -> Answer:
    """What waits, or is being worked on, for longer than ``seconds``; the oldest first."""
    c = BATCH.c
    before = time.time() - seconds
    waits = sa.func.coalesce(c.waiting_since, c.first_seen)
    late = (c.state.in_(("seen", "processing")), c.first_seen < before, waits < before)
    return _answer(ledger, _FILES, *late)


def ended_badly(ledger: Ledger) -> Answer:
    """Whole files in quarantine and rejected ones that no newer loaded version makes up for."""
    c, newer = BATCH.c, BATCH.alias("newer")
    same = (newer.c.source == c.source, newer.c.table_name == c.table_name)
    later = (newer.c.object == c.object, newer.c.ordinal > c.ordinal, newer.c.state == "loaded")
    made_up = sa.exists(sa.select(sa.literal(1)).where(*same, *later).correlate(BATCH))
    return _answer(ledger, c.state.in_(("quarantined", "rejected")), ~made_up)


def unremoved(ledger: Ledger, source: str, table: str) -> Answer:
    """Loaded drops that were to be removed at their store and still stand there."""
    c = BATCH.c
    mine = (c.source == source, c.table_name == table, c.kind == "object")
    return _answer(ledger, *mine, c.state == "loaded", c.drop_removed.is_(None))


def repeated(ledger: Ledger) -> Answer:
    """Loaded files whose bytes were loaded before under another name, with that name."""
    first = BATCH.alias("first")
    here = (BATCH.c.dup_of.is_not(None), BATCH.c.state == "loaded")
    joined = BATCH.join(first, first.c.batch_id == BATCH.c.dup_of)
    columns = (BATCH.c.source, BATCH.c.table_name, BATCH.c.object)
    query = sa.select(*columns, first.c.object.label("same_as")).select_from(joined).where(*here)
    count = ledger.select(sa.select(sa.func.count().label("n")).select_from(BATCH).where(*here))
    return count[0]["n"], ledger.select(query.order_by(BATCH.c.first_seen.desc()).limit(SHOWN))


def _answer(ledger: Ledger, *where: sa.ColumnElement[bool]) -> Answer:
    count = ledger.select(sa.select(sa.func.count().label("n")).select_from(BATCH).where(*where))
    shown = sa.select(*(BATCH.c[name] for name in _SHOWN)).where(*where)
    return count[0]["n"], ledger.select(shown.order_by(BATCH.c.first_seen).limit(SHOWN))
