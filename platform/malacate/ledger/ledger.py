"""The queue: note what was found, claim it, say how it ended. No reading of sources here."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from malacate import crash
from malacate.errors import Fenced
from malacate.ledger.engine import create_tables, insert, open_engine
from malacate.ledger.owner import is_dead, this_process
from malacate.ledger.tables import ATTEMPT, BATCH
from malacate.ledger.work import Claim, Found

ENDED = ("loaded", "quarantined", "superseded", "vanished")
"""States that no worker takes up again by itself."""

_UNTOLD = {"ended": None, "is_reported": False}
"""It has not ended after all: what it comes to now has to be told, whatever was told before."""

_FOUND = ("source", "kind", "object", "version", "ordinal", "size", "lo", "hi")


@dataclass(frozen=True)
class Outcome:
    """How a batch ended: its state, its counts, and the reason if it is not loaded."""

    state: str
    rows_read: int = 0
    rows_loaded: int = 0
    rows_quarantined: int = 0
    landing: str = ""
    reason: str = ""
    error: str = ""


class Ledger:
    """The control database at ``url`` (SQLAlchemy: ``sqlite:///file`` or ``postgresql+psycopg://``).

    A claim holds for ``lease_seconds``. An object whose worker died ``max_crashes`` times is
    poison: it goes to quarantine instead of being claimed again.
    """

    def __init__(
        self,
        url: str,
        lease_seconds: float = 300.0,
        max_crashes: int = 3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = open_engine(url)
        self._lease = lease_seconds
        self._max_crashes = max_crashes
        self._clock = clock
        self._owner = this_process()
        create_tables(self._engine)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        with self._engine.begin() as connection:
            yield connection

    def note(self, found: Sequence[Found], supersede: bool = False) -> int:
        """Remember what was found; return how many of it is new.

        Seen again, only its count of deliveries grows. With ``supersede``, waiting versions older
        than a noted one of the same object are given up.
        """
        with self._transaction() as connection:
            known = self._known(connection, found)
            fresh = [f for f in {f.batch_id: f for f in found}.values() if f.batch_id not in known]
            if fresh:
                upsert = insert(connection)(BATCH).on_conflict_do_nothing()
                connection.execute(upsert, [self._row(f) for f in fresh])
            for batch_id in known:
                again = sa.update(BATCH).where(BATCH.c.batch_id == batch_id)
                connection.execute(again.values(deliveries=BATCH.c.deliveries + 1))
            for newer in fresh if supersede else ():
                self._give_up_older(connection, newer)
            crash.point("seen")
        return len(fresh)

    def _known(self, connection: sa.Connection, found: Sequence[Found]) -> set[str]:
        ids = [f.batch_id for f in found]
        known: set[str] = set()
        for start in range(0, len(ids), 500):
            some = sa.select(BATCH.c.batch_id).where(BATCH.c.batch_id.in_(ids[start : start + 500]))
            known.update(connection.scalars(some))
        return known

    def _row(self, found: Found) -> dict[str, Any]:
        return {
            **{name: getattr(found, name) for name in _FOUND},
            "batch_id": found.batch_id,
            "table_name": found.table,
            "state": "seen",
            "first_seen": self._clock(),
            "deliveries": 1,
            "epoch": 0,
            "attempts": 0,
            "crashes": 0,
            "next_try": 0.0,
            "is_reported": False,
        }

    def _give_up_older(self, connection: sa.Connection, newer: Found) -> None:
        """Only what nobody began: whoever died on one may have published it."""
        same = _same_object(newer)
        idle = (BATCH.c.state == "seen") & (BATCH.c.attempts == 0)
        values = {"state": "superseded", "reason": "superseded", "ended": self._clock()}
        values |= {"error": f"version {newer.version} came", "owner": None}
        older = sa.update(BATCH).where(same, idle, BATCH.c.ordinal < newer.ordinal)
        connection.execute(older.values(epoch=BATCH.c.epoch + 1, **values))

    def claim(
        self, source: str, table: str, limit: int = 1, tried: Collection[str] = ()
    ) -> list[Claim]:
        """Take up to ``limit`` batches, least tried and oldest first; nobody else gets them.

        ``tried`` are left out. A batch that a worker died on comes alone, so that it cannot take
        others down with it. ``next_try`` is advice to those who decide whether to run at all.
        """
        with self._transaction() as connection:
            rows = self._claimable(connection, source, table, limit, tried)
            claims: list[Claim] = []
            for row in rows:
                if row.kind == "object" and row.crashes >= self._max_crashes:
                    self._poison(connection, row)
                elif row.crashes and claims:
                    break
                else:
                    claims.append(self._take(connection, row))
                    if row.crashes:
                        break
            crash.point("claim_before_commit")
        crash.point("claimed")
        return claims

    def _claimable(
        self,
        connection: sa.Connection,
        source: str,
        table: str,
        limit: int,
        tried: Collection[str],
    ) -> Sequence[Any]:
        c = BATCH.c
        mine = (c.source == source) & (c.table_name == table)
        free = (c.state == "seen") | self._abandoned(connection, mine)
        query = sa.select(BATCH).where(mine, free, c.batch_id.not_in(tried))
        query = query.order_by(c.crashes, c.attempts, c.ordinal, c.object).limit(limit)
        return connection.execute(query.with_for_update(skip_locked=True)).all()

    def _abandoned(
        self, connection: sa.Connection, mine: sa.ColumnElement[bool]
    ) -> sa.ColumnElement[bool]:
        c = BATCH.c
        query = sa.select(c.owner).distinct().where(mine, c.state == "processing")
        busy: Iterable[str] = connection.execute(query).scalars()
        dead = [owner for owner in busy if is_dead(owner)]
        lapsed = (c.lease_until < self._clock()) | c.owner.in_(dead)
        return (c.state == "processing") & lapsed

    def _take(self, connection: sa.Connection, row: Any) -> Claim:
        now = self._clock()
        taken = {
            "state": "processing",
            "epoch": row.epoch + 1,
            "attempts": row.attempts + 1,
            "crashes": row.crashes + 1,
            "owner": self._owner,
            "lease_until": now + self._lease,
        }
        connection.execute(sa.update(BATCH).where(BATCH.c.batch_id == row.batch_id).values(**taken))
        attempt = {"batch_id": row.batch_id, "epoch": row.epoch + 1, "owner": self._owner}
        connection.execute(sa.insert(ATTEMPT).values(**attempt, started=now))
        return Claim(_found(row._mapping), row.epoch + 1, row.attempts + 1, row.crashes)

    def _poison(self, connection: sa.Connection, row: Any) -> None:
        values = {
            "state": "quarantined",
            "reason": "poison_crash",
            "error": f"{row.crashes} workers died on it; inspect the file, then release it",
            "ended": self._clock(),
        }
        connection.execute(
            sa.update(BATCH).where(BATCH.c.batch_id == row.batch_id).values(**values)
        )

    def renew(self, claim: Claim) -> None:
        """Hold the claim for another lease; raise ``Fenced`` if another worker has it now."""
        self._answer(claim, lease_until=self._clock() + self._lease)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """The batch ended. Raises ``Fenced`` if this worker was overtaken."""
        with self._transaction() as connection:
            now = self._clock()
            values = {**vars(outcome), "owner": None, "crashes": 0, "ended": now}
            self._update(connection, claim, values)
            self._end_attempt(connection, claim, outcome.state, outcome.error)

    def fail(self, claim: Claim, error: str, reason: str, backoff_seconds: float = 5.0) -> None:
        """A passing failure: the batch waits, twice as long each time (an hour at most)."""
        wait = min(backoff_seconds * 2 ** (claim.attempts - 1), 3600.0)
        with self._transaction() as connection:
            values = {"state": "seen", "owner": None, "crashes": claim.crashes, "error": error}
            again = {"reason": reason, "next_try": self._clock() + wait}
            self._update(connection, claim, {**values, **again})
            self._end_attempt(connection, claim, "failed", error)

    def give_up(self, batch_ids: Sequence[str], why: str) -> None:
        """These are not worth doing any more; whoever works on one is fenced."""
        values = {"state": "superseded", "reason": "superseded", "error": why, "owner": None}
        with self._transaction() as connection:
            update = sa.update(BATCH).where(BATCH.c.batch_id.in_(batch_ids))
            ended = {"ended": self._clock(), "epoch": BATCH.c.epoch + 1}
            connection.execute(update.values(**values, **ended))

    def give_back(self, claim: Claim, error: str) -> None:
        """Let go of a claim that this worker cannot finish, unless it has been answered."""
        with contextlib.suppress(Fenced):
            self.fail(claim, error, "interrupted", backoff_seconds=0.0)

    def _answer(self, claim: Claim, **values: Any) -> None:
        with self._transaction() as connection:
            self._update(connection, claim, values)

    def _update(self, connection: sa.Connection, claim: Claim, values: dict[str, Any]) -> None:
        holds = (BATCH.c.batch_id == claim.batch_id) & (BATCH.c.epoch == claim.epoch)
        holds &= BATCH.c.state == "processing"
        if connection.execute(sa.update(BATCH).where(holds).values(**values)).rowcount:
            return
        raise Fenced(
            "another worker took this batch over",
            "Nothing to do: its work is kept, this worker stops.",
            source=f"{claim.found.source}/{claim.found.table}",
            object=claim.found.object,
            position=f"epoch {claim.epoch}",
            reason="fenced",
        )

    def _end_attempt(
        self, connection: sa.Connection, claim: Claim, outcome: str, error: str
    ) -> None:
        one = (ATTEMPT.c.batch_id == claim.batch_id) & (ATTEMPT.c.epoch == claim.epoch)
        values = {"ended": self._clock(), "outcome": outcome, "error": error or None}
        connection.execute(sa.update(ATTEMPT).where(one).values(**values))

    def mend(self, loaded: Iterable[tuple[str, Outcome]]) -> int:
        """Take over how batches ended according to the warehouse; return how many that changed."""
        mended = 0
        with self._transaction() as connection:
            for batch_id, outcome in loaded:
                stale = (BATCH.c.batch_id == batch_id) & (BATCH.c.state != outcome.state)
                values = {**vars(outcome), "owner": None, "crashes": 0, "ended": self._clock()}
                update = sa.update(BATCH).where(stale).values(epoch=BATCH.c.epoch + 1, **values)
                mended += connection.execute(update).rowcount
        return mended

    def forget(self, batch_ids: Sequence[str]) -> None:
        """These are not loaded after all: their rows are lost everywhere, so they wait again."""
        values = {"state": "seen", "crashes": 0, "next_try": 0.0, **_UNTOLD}
        with self._transaction() as connection:
            update = sa.update(BATCH).where(BATCH.c.batch_id.in_(batch_ids))
            connection.execute(update.values(**values))

    def release(self, batch_ids: Sequence[str]) -> int:
        """Let quarantined, waiting or vanished batches be claimed again, at once."""
        values = {"state": "seen", "crashes": 0, "attempts": 0, "next_try": 0.0, "reason": None}
        values |= _UNTOLD
        free = BATCH.c.state.in_(("quarantined", "vanished", "seen"))
        with self._transaction() as connection:
            update = sa.update(BATCH).where(BATCH.c.batch_id.in_(batch_ids), free).values(**values)
            return connection.execute(update).rowcount

    def mark_reported(self, batch_ids: Sequence[str]) -> None:
        """These were told to the orchestrator; until then every run tells them again."""
        with self._transaction() as connection:
            some = BATCH.c.batch_id.in_(batch_ids)
            connection.execute(sa.update(BATCH).where(some).values(is_reported=True))

    def batches(self, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        """Rows of the ledger as dictionaries, oldest first."""
        query = sa.select(BATCH).where(*where).order_by(BATCH.c.first_seen, BATCH.c.ordinal)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def waiting(self, *where: sa.ColumnElement[bool]) -> list[Found]:
        """Rows of the ledger as what was found."""
        return [_found(row) for row in self.batches(*where)]

    def due(self, *where: sa.ColumnElement[bool]) -> list[tuple[Found, int]]:
        """What a run could take up now, with how often each was tried."""
        c, now = BATCH.c, self._clock()
        waits = (c.state == "seen") & (c.next_try <= now)
        lapsed = (c.state == "processing") & (c.lease_until < now)
        return [(_found(row), row["attempts"]) for row in self.batches(*where, waits | lapsed)]

    def attempts(self, batch_id: str) -> list[dict[str, Any]]:
        """Every claim of one batch, first to last."""
        query = sa.select(ATTEMPT).where(ATTEMPT.c.batch_id == batch_id).order_by(ATTEMPT.c.epoch)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def status(self) -> list[dict[str, Any]]:
        """Per source, table and state: batches, rows, oldest."""
        c = BATCH.c
        query = sa.select(
            c.source,
            c.table_name.label("table"),
            c.state,
            sa.func.count().label("batches"),
            sa.func.coalesce(sa.func.sum(c.rows_loaded), 0).label("rows_loaded"),
            sa.func.coalesce(sa.func.sum(c.rows_quarantined), 0).label("rows_quarantined"),
            sa.func.min(c.first_seen).label("oldest"),
        ).group_by(c.source, c.table_name, c.state)
        with self._engine.connect() as connection:
            ordered = query.order_by(c.source, c.table_name, c.state)
            return [dict(row) for row in connection.execute(ordered).mappings()]


def _found(row: Mapping[str, Any]) -> Found:
    return Found(table=row["table_name"], **{name: row[name] for name in _FOUND})


def _same_object(found: Found) -> sa.ColumnElement[bool]:
    c = BATCH.c
    return sa.and_(c.source == found.source, c.table_name == found.table, c.object == found.object)
