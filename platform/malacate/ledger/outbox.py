"""Alarms that are due, taken before they are sent: the attempt counts, and nobody else has them.

Who dies with some is followed by another, who sends them again: the same ones as one message.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.alarms import Row, take_turn
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM, INCIDENT

MOST_TOGETHER = 500
"""Alarms that one message tells of."""


def due(ledger: Ledger, channels: Sequence[str]) -> int:
    """How many alarms could be sent now, or once what waits is judged."""
    query = sa.select(sa.func.count().label("n")).select_from(ALARM)
    here = (_due(time.time()) | (ALARM.c.state == "held")) & ALARM.c.channel.in_(channels)
    return int(ledger.select(query.where(here))[0]["n"])


def take(ledger: Ledger, channel: str, lease_seconds: float) -> list[Row]:
    """What is to be told next on a channel as one message, with its incidents; none if nothing is.

    That is the oldest alarm that is due, with those of its storm: of the same watch, rule and
    site, opened within its ``storm_us``. Taken again, they are the same.
    """
    now = time.time()
    with ledger.together() as connection:
        take_turn(connection)
        waits = _with_incident(_due(now), ALARM.c.channel == channel)
        order = (ALARM.c.noted, INCIDENT.c.opened_us, ALARM.c.key)
        first = connection.execute(waits.order_by(*order).limit(1)).mappings().first()
        if first is None:
            return []
        found = _told_with(connection, dict(first))
        keys = sorted(row["key"] for row in found)
        values = {
            "message": first["message"] or _message(keys),
            "attempts": first["attempts"] + 1,
            "next_try": now + lease_seconds,
        }
        mine = ALARM.c.key.in_(keys) & (ALARM.c.channel == channel)
        connection.execute(sa.update(ALARM).where(mine).values(**values))
    return [{**row, **values} for row in found]


def mark_sent(ledger: Ledger, message: str, channel: str) -> None:
    """The channel took a message."""
    with ledger.together() as connection:
        values = {"state": "sent", "sent": time.time(), "error": None}
        connection.execute(sa.update(ALARM).where(_of(message, channel)).values(**values))


def mark_failed(ledger: Ledger, message: str, channel: str, error: str, wait: float) -> None:
    """The channel did not take a message; it is tried again after ``wait`` seconds."""
    with ledger.together() as connection:
        values = {"next_try": time.time() + wait, "error": error}
        connection.execute(sa.update(ALARM).where(_of(message, channel)).values(**values))


def states(ledger: Ledger) -> list[Row]:
    """How many alarms of each channel are in each state."""
    group = (ALARM.c.channel, ALARM.c.state)
    query = sa.select(
        *group, sa.func.count().label("alarms"), sa.func.max(ALARM.c.error).label("error")
    )
    return ledger.select(query.group_by(*group).order_by(*group))


def _due(now: float) -> sa.ColumnElement[bool]:
    return (ALARM.c.state == "due") & (ALARM.c.next_try <= now)


def _of(message: str, channel: str) -> sa.ColumnElement[bool]:
    here = (ALARM.c.channel == channel) & (ALARM.c.state == "due")
    return here & (ALARM.c.message == message)


def _with_incident(*where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    also = [column for column in INCIDENT.c if column.name not in ("key", "noted")]
    both = ALARM.join(INCIDENT, INCIDENT.c.key == ALARM.c.key)
    return sa.select(ALARM, *also).select_from(both).where(*where)


def _told_with(connection: sa.Connection, first: Row) -> list[Row]:
    """An alarm, and those that are told with it."""
    c, mine = INCIDENT.c, (ALARM.c.channel == first["channel"], ALARM.c.state == "due")
    if first["message"]:
        together = (ALARM.c.message == first["message"],)
    elif first["storm_us"] is None:
        return [first]
    else:
        opened, within = first["opened_us"], first["storm_us"]
        together = (
            ALARM.c.message.is_(None),
            *(c[name] == first[name] for name in ("watch", "rule", "site")),
            c.storm_us.is_not(None),
            c.opened_us.between(opened - within, opened + within),
        )
    query = _with_incident(*mine, *together).order_by(c.opened_us, ALARM.c.key)
    rows = connection.execute(query.limit(MOST_TOGETHER)).mappings()
    return [dict(row) for row in rows]


def _message(keys: Sequence[str]) -> str:
    """A message's name, of what it tells alone: an incident's own, where it tells of one."""
    return keys[0] if len(keys) == 1 else hashlib.sha256("\n".join(keys).encode()).hexdigest()
