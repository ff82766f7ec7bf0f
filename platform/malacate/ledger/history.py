"""What happened to a batch, step by step: written with its answers, told in order."""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from malacate.ledger.engine import insert
from malacate.ledger.tables import ATTEMPT, BATCH, TRANSITION
from malacate.ledger.work import Step


def write(connection: sa.Connection, batch_id: str, epoch: int, steps: Iterable[Step]) -> None:
    """Write steps down; one that came before within the epoch is told as it was the last time."""
    rows = {
        step.name: {
            "batch_id": batch_id,
            "epoch": epoch,
            "step": step.name,
            "at": step.at,
            "ok": step.ok,
            "detail": step.detail,
        }
        for step in steps
    }
    if rows:
        _upsert(connection, list(rows.values()))


def _upsert(connection: sa.Connection, rows: list[dict[str, Any]]) -> None:
    new = insert(connection)(TRANSITION)
    kept = {name: new.excluded[name] for name in ("at", "ok", "detail")}
    keys = [TRANSITION.c.batch_id, TRANSITION.c.epoch, TRANSITION.c.step]
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_=kept), rows)


def tell(connection: sa.Connection, where: sa.ColumnElement[bool], step: Step) -> None:
    """Write one step down for every batch that ``where`` finds, at the epoch it is at."""
    rows = connection.execute(sa.select(BATCH.c.batch_id, BATCH.c.epoch).where(where)).all()
    told = {"step": step.name, "at": step.at, "ok": step.ok, "detail": step.detail}
    if rows:
        _upsert(connection, [{"batch_id": r.batch_id, "epoch": r.epoch, **told} for r in rows])


def steps_of(connection: sa.Connection, batch_id: str) -> list[dict[str, Any]]:
    """First sight, every claim with what it did and how it ended, and the state it is in."""
    batch = connection.execute(sa.select(BATCH).where(BATCH.c.batch_id == batch_id)).first()
    if batch is None:
        return []
    did = sa.select(TRANSITION).where(TRANSITION.c.batch_id == batch_id).order_by(TRANSITION.c.at)
    claims = sa.select(ATTEMPT).where(ATTEMPT.c.batch_id == batch_id).order_by(ATTEMPT.c.epoch)
    attempts = connection.execute(claims).all()
    told = [_step(0, "seen", batch.first_seen, True, f"version {batch.version}")]
    told += [_step(s.epoch, s.step, s.at, s.ok, s.detail) for s in connection.execute(did)]
    for attempt in attempts:
        told += _claimed(attempt)
    if batch.ended is not None and not _is_told(batch, attempts):
        told.append(_end(batch.epoch, batch.state, batch.ended, batch.error))
    order = {"seen": -1, "claimed": 0}
    return sorted(told, key=lambda s: (s["at"], s["epoch"], order.get(s["step"], 1)))


def _claimed(attempt: Any) -> list[dict[str, Any]]:
    begun = _step(attempt.epoch, "claimed", attempt.started, True, attempt.owner)
    if attempt.ended is None:
        return [begun]
    return [begun, _end(attempt.epoch, attempt.outcome, attempt.ended, attempt.error)]


def _is_told(batch: Any, attempts: Sequence[Any]) -> bool:
    return bool(attempts) and attempts[-1].outcome == batch.state


def _end(epoch: int, state: str, at: float, error: str | None) -> dict[str, Any]:
    well = state in ("loaded", "skipped", "superseded")
    return _step(epoch, state, at, well, error or "")


def _step(epoch: int, name: str, at: float, ok: bool, detail: str) -> dict[str, Any]:
    return {"step": name, "at": at, "ok": ok, "epoch": epoch, "detail": detail}
