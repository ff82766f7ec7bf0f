"""Incidents and their alarms in the ledger: an outbox, written with what is known of each sensor.

An alarm is taken before it is sent: its attempt counts, and nobody else takes it for a while. Who
dies with it is followed by another, who sends it again.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.engine import insert, take_turns
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM, BATCH, HEARD, INCIDENT, JUDGED

Row = dict[str, Any]

_FOLDING = 7_230_117
"""As ``engine`` locks for creating tables: who folds incidents does it alone."""


def take_fold(connection: sa.Connection) -> None:
    """Wait until nobody else folds; until the transaction ends, nobody else does."""
    take_turns(connection, _FOLDING)


def hear(connection: sa.Connection, watch: str, last: Mapping[str, int]) -> dict[str, int]:
    """Keep the newest reading of each sensor; return those of all sensors of the watch."""
    mine = sa.select(HEARD.c.subject, HEARD.c.last_us).where(HEARD.c.watch == watch)
    known: dict[str, int] = {row.subject: row.last_us for row in connection.execute(mine)}
    newer = {s: at for s, at in last.items() if s not in known or at > known[s]}
    if newer:
        upsert = insert(connection)(HEARD)
        connection.execute(
            upsert.on_conflict_do_update(
                index_elements=["watch", "subject"], set_={"last_us": upsert.excluded.last_us}
            ),
            [{"watch": watch, "subject": s, "last_us": at} for s, at in newer.items()],
        )
    return known | newer


def near(connection: sa.Connection, watch: str, first_us: int, last_us: int) -> list[Row]:
    """Incidents of a watch that overlap a span and are no part of another."""
    c = INCIDENT.c
    here = (c.watch == watch, c.part_of.is_(None), c.last_us >= first_us, c.first_us <= last_us)
    return [dict(row) for row in connection.execute(sa.select(INCIDENT).where(*here)).mappings()]


def open_incidents(
    connection: sa.Connection, rows: Sequence[Row], channels: Sequence[str], now: float
) -> None:
    """Note new incidents, each with an alarm for every channel."""
    if not rows:
        return
    connection.execute(sa.insert(INCIDENT), [{**row, "noted": now} for row in rows])
    due = {"state": "due", "attempts": 0, "next_try": 0.0, "noted": now}
    alarms = [{"key": row["key"], "channel": name, **due} for row in rows for name in channels]
    if alarms:
        connection.execute(sa.insert(ALARM), alarms)


def lengthen(connection: sa.Connection, key: str, first_us: int, last_us: int) -> None:
    """An incident lasted longer than was known."""
    one = sa.update(INCIDENT).where(INCIDENT.c.key == key)
    connection.execute(one.values(first_us=first_us, last_us=last_us))


def join(connection: sa.Connection, key: str, other: str) -> None:
    """An incident is part of another; what was not told of it needs no telling."""
    part = (INCIDENT.c.key == key) | (INCIDENT.c.part_of == key)
    connection.execute(sa.update(INCIDENT).where(part).values(part_of=other))
    waits = (ALARM.c.key == key) & (ALARM.c.state == "due")
    connection.execute(sa.update(ALARM).where(waits).values(state="joined"))


def mark_judged(connection: sa.Connection, watch: str, batch_ids: Iterable[str]) -> None:
    """A watch has seen these batches."""
    rows = [{"watch": watch, "batch_id": one} for one in batch_ids]
    if rows:
        connection.execute(insert(connection)(JUDGED).on_conflict_do_nothing(), rows)


def unjudged(ledger: Ledger, watch: str, source: str, table: str, limit: int) -> list[str]:
    """Loaded batches that a watch has not seen, oldest first."""
    seen = sa.select(JUDGED.c.batch_id).where(
        JUDGED.c.watch == watch, JUDGED.c.batch_id == BATCH.c.batch_id
    )
    c = BATCH.c
    mine = (c.source == source, c.table_name == table, c.state == "loaded")
    query = sa.select(c.batch_id).where(*mine, ~sa.exists(seen.correlate(BATCH)))
    return [
        row["batch_id"] for row in ledger.select(query.order_by(c.ended, c.ordinal).limit(limit))
    ]


def due(ledger: Ledger, channels: Sequence[str]) -> int:
    """How many alarms could be sent now."""
    query = sa.select(sa.func.count().label("n")).select_from(ALARM)
    here = _due(time.time()) & ALARM.c.channel.in_(channels)
    return int(ledger.select(query.where(here))[0]["n"])


def take(ledger: Ledger, channel: str, lease_seconds: float) -> Row | None:
    """The oldest alarm of a channel that is due, with its incident; nobody else gets it."""
    now = time.time()
    waits = _due(now) & (ALARM.c.channel == channel)
    also = [column for column in INCIDENT.c if column.name not in ("key", "noted")]
    both = ALARM.join(INCIDENT, INCIDENT.c.key == ALARM.c.key)
    query = sa.select(ALARM, *also).select_from(both).where(waits)
    query = query.order_by(ALARM.c.noted, ALARM.c.key).limit(1)
    while found := ledger.select(query):
        (alarm,) = found
        values = {"attempts": alarm["attempts"] + 1, "next_try": now + lease_seconds}
        same = _one(alarm["key"], channel) & (ALARM.c.attempts == alarm["attempts"])
        with ledger.together() as connection:
            update = sa.update(ALARM).where(same, ALARM.c.state == "due").values(**values)
            if connection.execute(update).rowcount:
                return {**alarm, **values}
    return None


def mark_sent(ledger: Ledger, key: str, channel: str) -> None:
    """The channel took it."""
    with ledger.together() as connection:
        values = {"state": "sent", "sent": time.time(), "error": None}
        connection.execute(sa.update(ALARM).where(_one(key, channel)).values(**values))


def mark_failed(ledger: Ledger, key: str, channel: str, error: str, wait: float) -> None:
    """The channel did not take it; it is tried again after ``wait`` seconds."""
    with ledger.together() as connection:
        values = {"next_try": time.time() + wait, "error": error}
        connection.execute(sa.update(ALARM).where(_one(key, channel)).values(**values))


def standing(ledger: Ledger, watch: str, open_since_us: int | None = None) -> list[Row]:
    """Incidents of a watch, newest first: those that are open at an instant, or all."""
    c = INCIDENT.c
    mine = (c.watch == watch) & c.part_of.is_(None)
    if open_since_us is not None:
        mine &= c.last_us + c.quiet_us >= open_since_us
    return ledger.select(sa.select(INCIDENT).where(mine).order_by(c.last_us.desc(), c.key))


def last_heard(ledger: Ledger, watch: str) -> dict[str, int]:
    """The newest reading of each sensor of a watch."""
    query = sa.select(HEARD).where(HEARD.c.watch == watch)
    return {row["subject"]: row["last_us"] for row in ledger.select(query)}


def alarms(ledger: Ledger) -> list[Row]:
    """How many alarms of each channel are in each state."""
    group = (ALARM.c.channel, ALARM.c.state)
    query = sa.select(
        *group, sa.func.count().label("alarms"), sa.func.max(ALARM.c.error).label("error")
    )
    return ledger.select(query.group_by(*group).order_by(*group))


def _due(now: float) -> sa.ColumnElement[bool]:
    return (ALARM.c.state == "due") & (ALARM.c.next_try <= now)


def _one(key: str, channel: str) -> sa.ColumnElement[bool]:
    return (ALARM.c.key == key) & (ALARM.c.channel == channel)
