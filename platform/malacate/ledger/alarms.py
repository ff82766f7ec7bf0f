"""Incidents in the ledger, noted with their alarms and with what is known of each sensor."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.engine import insert, take_turns
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import ALARM, ALL_JUDGED, BATCH, HEARD, INCIDENT, JUDGED

Row = dict[str, Any]

_TURN = 7_230_117
"""As ``engine`` locks for creating tables."""

_ALL_AGAIN_AFTER, _LOOKED_BACK = 600.0, 86_400.0


def take_turn(connection: sa.Connection) -> None:
    """Wait for whoever folds incidents or takes alarms; nobody else does until the commit."""
    take_turns(connection, _TURN)


def hear(
    connection: sa.Connection, watch: str, last: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    """Keep the newest reading of each sensor, and when the newest came; return those of all."""
    mine = sa.select(HEARD).where(HEARD.c.watch == watch)
    known = {row.subject: _heard(row.last_us, row.came_us) for row in connection.execute(mine)}
    newest = {s: one if s not in known else _later(one, known[s]) for s, one in last.items()}
    newer = {s: one for s, one in newest.items() if one != known.get(s)}
    if newer:
        upsert = insert(connection)(HEARD)
        set_ = {name: upsert.excluded[name] for name in ("last_us", "came_us")}
        connection.execute(
            upsert.on_conflict_do_update(index_elements=["watch", "subject"], set_=set_),
            [
                {"watch": watch, "subject": s, "last_us": at, "came_us": came}
                for s, (at, came) in newer.items()
            ],
        )
    return known | newer


def near(connection: sa.Connection, watch: str, first_us: int, last_us: int) -> list[Row]:
    """Incidents of a watch that overlap a span and are no part of another."""
    found = connection.execute(_near(watch, first_us, last_us))
    return [dict(row) for row in found.mappings()]


def near_of(
    connection: sa.Connection, watch: str, first_us: int, last_us: int, rule: str,
    subjects: Sequence[str],
) -> list[Row]:  # fmt: skip
    """Those of ``near`` that are of a rule and of one of the subjects; no others are read."""
    c, rows = INCIDENT.c, list[Row]()
    for start in range(0, len(subjects), 500):
        mine = (c.rule == rule, c.subject.in_(subjects[start : start + 500]))
        found = connection.execute(_near(watch, first_us, last_us).where(*mine))
        rows += [dict(row) for row in found.mappings()]
    return rows


def _near(watch: str, first_us: int, last_us: int) -> sa.Select[Any]:
    c = INCIDENT.c
    here = (c.watch == watch, c.part_of.is_(None), c.last_us >= first_us, c.first_us <= last_us)
    return sa.select(INCIDENT).where(*here)


def known(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
    """Which incidents there are already."""
    found = set[str]()
    for start in range(0, len(keys), 500):
        some = INCIDENT.c.key.in_(keys[start : start + 500])
        found |= set(connection.scalars(sa.select(INCIDENT.c.key).where(some)))
    return found


def open_incidents(
    connection: sa.Connection, rows: Sequence[Row], channels: Sequence[str], now: float
) -> None:
    """Note new incidents, each with an alarm for every channel, held until ``settle``."""
    if not rows:
        return
    connection.execute(sa.insert(INCIDENT), [{**row, "noted": now} for row in rows])
    held = {"state": "held", "attempts": 0, "next_try": 0.0, "noted": now}
    alarms = [{"key": row["key"], "channel": name, **held} for row in rows for name in channels]
    if alarms:
        connection.execute(sa.insert(ALARM), alarms)


def lengthen(
    connection: sa.Connection, key: str, first_us: int, last_us: int, came_us: int | None
) -> None:
    """An incident lasted longer than was known; if it was too old to be told, look again."""
    one = sa.update(INCIDENT).where(INCIDENT.c.key == key)
    connection.execute(one.values(first_us=first_us, last_us=last_us, came_us=came_us))
    stale = (ALARM.c.key == key) & (ALARM.c.state == "stale")
    connection.execute(sa.update(ALARM).where(stale).values(state="held"))


def settle(
    connection: sa.Connection, watch: str, channels: Sequence[str], since_us: int | None
) -> None:
    """What is held of a watch becomes due, or stale if all of it came before ``since_us``."""
    mine = sa.select(INCIDENT.c.key).where(INCIDENT.c.watch == watch)
    held = (ALARM.c.state == "held") & ALARM.c.channel.in_(channels)
    if since_us is not None:
        old = ALARM.c.key.in_(mine.where(INCIDENT.c.came_us < since_us))
        connection.execute(sa.update(ALARM).where(held, old).values(state="stale"))
    due = sa.update(ALARM).where(held, ALARM.c.key.in_(mine))
    connection.execute(due.values(state="due"))


def join(connection: sa.Connection, key: str, other: str) -> None:
    """An incident is part of another; what nobody is about to tell of it needs no telling."""
    part = (INCIDENT.c.key == key) | (INCIDENT.c.part_of == key)
    connection.execute(sa.update(INCIDENT).where(part).values(part_of=other))
    waits = (ALARM.c.key == key) & ALARM.c.state.in_(("due", "held")) & ALARM.c.message.is_(None)
    connection.execute(sa.update(ALARM).where(waits).values(state="joined"))


def mark_judged(connection: sa.Connection, watch: str, batch_ids: Iterable[str]) -> None:
    """A watch has seen these batches."""
    rows = [{"watch": watch, "batch_id": one} for one in batch_ids]
    if rows:
        connection.execute(insert(connection)(JUDGED).on_conflict_do_nothing(), rows)


def unjudged(
    ledger: Ledger, watch: str, source: str, table: str, limit: int, now: float
) -> list[str]:
    """Loaded batches that a watch has not seen, oldest first.

    For ten minutes after it had seen all, only what ended since a day before that is looked at:
    a batch that a clock, or a long commit, puts before it is found ten minutes later.
    """
    mark = ledger.select(sa.select(ALL_JUDGED.c.at).where(ALL_JUDGED.c.watch == watch))
    if mark and 0 <= now - mark[0]["at"] < _ALL_AGAIN_AFTER:
        since = BATCH.c.ended >= mark[0]["at"] - _LOOKED_BACK
        return _unjudged(ledger, watch, source, table, limit, since)
    found = _unjudged(ledger, watch, source, table, limit)
    if not found:
        _mark_all_judged(ledger, watch, now)
    return found


def _mark_all_judged(ledger: Ledger, watch: str, now: float) -> None:
    with ledger.together() as connection:
        upsert = insert(connection)(ALL_JUDGED).values(watch=watch, at=now)
        later = upsert.on_conflict_do_update(index_elements=["watch"], set_={"at": now})
        connection.execute(later)


def _unjudged(
    ledger: Ledger, watch: str, source: str, table: str, limit: int, *where: sa.ColumnElement[bool]
) -> list[str]:
    seen = sa.select(JUDGED.c.batch_id).where(
        JUDGED.c.watch == watch, JUDGED.c.batch_id == BATCH.c.batch_id
    )
    c = BATCH.c
    mine = (c.source == source, c.table_name == table, c.state == "loaded", *where)
    query = sa.select(c.batch_id).where(*mine, ~sa.exists(seen.correlate(BATCH)))
    return [
        row["batch_id"] for row in ledger.select(query.order_by(c.ended, c.ordinal).limit(limit))
    ]


def standing(ledger: Ledger, watch: str, open_since_us: int | None = None) -> list[Row]:
    """Incidents of a watch, newest first: those that are open at an instant, or all."""
    c = INCIDENT.c
    mine = (c.watch == watch) & c.part_of.is_(None)
    if open_since_us is not None:
        mine &= (c.last_us + c.quiet_us >= open_since_us) & (c.quiet_us > 0)
    return ledger.select(sa.select(INCIDENT).where(mine).order_by(c.last_us.desc(), c.key))


def newest(ledger: Ledger, watches: Sequence[str], limit: int) -> list[Row]:
    """Incidents that were noted last, each with the ``states`` of its alarms."""
    c = INCIDENT.c
    mine = sa.select(INCIDENT).where(c.watch.in_(watches), c.part_of.is_(None))
    rows = ledger.select(mine.order_by(c.noted.desc(), c.last_us.desc(), c.key).limit(limit))
    of = ALARM.c.key.in_([row["key"] for row in rows])
    found = ledger.select(sa.select(ALARM.c.key, ALARM.c.state).where(of))
    states = {row["key"]: {x["state"] for x in found if x["key"] == row["key"]} for row in rows}
    return [{**row, "states": sorted(states[row["key"]])} for row in rows]


def last_heard(ledger: Ledger, watch: str) -> dict[str, tuple[int, int]]:
    """As ``hear`` tells it."""
    query = sa.select(HEARD).where(HEARD.c.watch == watch)
    rows = ledger.select(query)
    return {row["subject"]: _heard(row["last_us"], row["came_us"]) for row in rows}


def _heard(last_us: int, came_us: int | None) -> tuple[int, int]:
    return last_us, last_us if came_us is None else came_us


def _later(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return max(one[0], other[0]), max(one[1], other[1])
