"""The control database as those who work with it see it: each call is one transaction."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from malacate import crash
from malacate.errors import Fenced
from malacate.ledger import history, holds, notes, queue
from malacate.ledger.engine import create_tables, insert, open_engine
from malacate.ledger.holds import Holder
from malacate.ledger.owner import this_process
from malacate.ledger.tables import ATTEMPT, BATCH, LOOK
from malacate.ledger.work import Claim, Found, Outcome, Step

__all__ = ["ENDED", "FREED", "Holder", "Ledger", "Outcome"]

ENDED = ("loaded", "quarantined", "superseded", "vanished", "rejected", "skipped")
"""States that no worker takes up again by itself."""

FREED = ("quarantined", "vanished", "rejected", "skipped", "seen")
"""States that ``release`` takes a batch out of."""

_UNTOLD = {"ended": None, "is_reported": False}
"""It has not ended after all: what it comes to now has to be told, whatever was told before."""


class Ledger:
    """The control database at ``url`` (SQLAlchemy: ``sqlite:///file`` or ``postgresql+psycopg://``).

    A claim holds for ``lease_seconds``. An object whose worker died ``max_crashes`` times is
    poison: it goes to quarantine instead of being claimed again. One thread uses one ``Ledger``.
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
        self._open: sa.Connection | None = None
        create_tables(self._engine)

    @contextlib.contextmanager
    def together(self) -> Iterator[sa.Connection]:
        """Make all calls inside one transaction: all of them hold, or none."""
        if self._open is not None:
            yield self._open
            return
        with self._engine.begin() as connection:
            self._open = connection
            try:
                yield connection
            finally:
                self._open = None

    def note(self, found: Sequence[Found], supersede: bool = False) -> int:
        """Remember what was found; return how many of it is new.

        Seen again, only its count of deliveries grows. With ``supersede``, waiting versions older
        than a noted one of the same object are given up.
        """
        with self.together() as connection:
            known = notes.known(connection, found)
            fresh = [f for f in {f.batch_id: f for f in found}.values() if f.batch_id not in known]
            now = self._clock()
            if fresh:
                upsert = insert(connection)(BATCH).on_conflict_do_nothing()
                connection.execute(upsert, [notes.row_of(f, now) for f in fresh])
            notes.count_again(connection, known)
            for newer in fresh if supersede else ():
                notes.give_up_older(connection, newer, now)
            crash.point("seen")
        return len(fresh)

    def claim(
        self, source: str, table: str, limit: int = 1, tried: Collection[str] = ()
    ) -> list[Claim]:
        """Take up to ``limit`` batches, least tried and oldest first; nobody else gets them.

        ``tried`` are left out. A batch that a worker died on comes alone, so that it cannot take
        others down with it. ``next_try`` is advice to those who decide whether to run at all.
        """
        mine = (BATCH.c.source == source) & (BATCH.c.table_name == table)
        with self.together() as connection:
            now, claims = self._clock(), list[Claim]()
            for row in queue.claimable(connection, mine, now, limit, tried):
                if row.kind == "object" and row.crashes >= self._max_crashes:
                    queue.poison(connection, row, now)
                elif row.crashes and claims:
                    break
                else:
                    claims.append(queue.take(connection, row, self._owner, now, self._lease))
                    if row.crashes:
                        break
            crash.point("claim_before_commit")
        crash.point("claimed")
        return claims

    def hold(
        self, claim: Claim, sha256: str | None = None, instead_of: str | None = None
    ) -> Holder | None:
        """Take hold of the claim's bytes ``sha256``, or of its object; return who has it else.

        ``instead_of`` names a holder that does not load it after all. See ``holds``.
        """
        with self.together() as connection:
            return holds.hold(connection, claim.found, sha256, instead_of)

    def renew(self, claim: Claim) -> None:
        """Hold the claim for another lease; raise ``Fenced`` if another worker has it now."""
        self._answer(claim, lease_until=self._clock() + self._lease)

    def finish(self, claim: Claim, outcome: Outcome) -> None:
        """The batch ended; its steps are written. Raises ``Fenced`` if this worker was overtaken.

        Loaded bytes that another object brought before are told by ``dup_of``.
        """
        with self.together() as connection:
            values = {**outcome.known, "owner": None, "crashes": 0, "ended": self._clock()}
            if outcome.state == "loaded" and outcome.sha256:
                values["dup_of"] = holds.twin_of(connection, claim.found, outcome.sha256)
            self._update(connection, claim, values)
            self._end_attempt(connection, claim, outcome.state, outcome.error)

    def fail(self, claim: Claim, error: str, reason: str, backoff_seconds: float = 5.0) -> None:
        """A passing failure: the batch waits, twice as long each time (an hour at most)."""
        wait = min(backoff_seconds * 2 ** min(claim.attempts - 1, 20), 3600.0)
        with self.together() as connection:
            values = {"state": "seen", "owner": None, "crashes": claim.crashes, "error": error}
            again = {"reason": reason, "next_try": self._clock() + wait}
            self._update(connection, claim, {**values, **again})
            self._end_attempt(connection, claim, "failed", error)

    def give_up(self, batch_ids: Sequence[str], why: str) -> None:
        """These are not worth doing any more; whoever works on one is fenced."""
        values = {"state": "superseded", "reason": "superseded", "error": why, "owner": None}
        with self.together() as connection:
            update = sa.update(BATCH).where(BATCH.c.batch_id.in_(batch_ids))
            ended = {"ended": self._clock(), "epoch": BATCH.c.epoch + 1}
            connection.execute(update.values(**values, **ended))

    def give_back(self, claim: Claim, error: str) -> None:
        """Let go of a claim that this worker cannot finish, unless it has been answered."""
        with contextlib.suppress(Fenced):
            self.fail(claim, error, "interrupted", backoff_seconds=0.0)

    def _answer(self, claim: Claim, **values: Any) -> None:
        with self.together() as connection:
            self._update(connection, claim, values)

    def _update(self, connection: sa.Connection, claim: Claim, values: dict[str, Any]) -> None:
        holds_it = (BATCH.c.batch_id == claim.batch_id) & (BATCH.c.epoch == claim.epoch)
        holds_it &= BATCH.c.state == "processing"
        if connection.execute(sa.update(BATCH).where(holds_it).values(**values)).rowcount:
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
        self._write_steps(connection, claim)

    def _write_steps(self, connection: sa.Connection, claim: Claim) -> None:
        history.write(connection, claim.batch_id, claim.epoch, claim.steps)
        claim.steps.clear()

    def tell(self, claims: Iterable[Claim]) -> None:
        """Write down the steps that came after the batches had ended."""
        with self.together() as connection:
            for claim in claims:
                self._write_steps(connection, claim)

    def mark_removed(self, batch_id: str, step: Step) -> None:
        """The drop is no longer at its store, or another version of it is."""
        with self.together() as connection:
            one = BATCH.c.batch_id == batch_id
            connection.execute(sa.update(BATCH).where(one).values(drop_removed=step.at))
            history.tell(connection, one, step)

    def mark_kept(self, batch_id: str, path: str) -> None:
        """The bytes of a quarantined batch are at ``path`` in the lake."""
        with self.together() as connection:
            one = (BATCH.c.batch_id == batch_id) & (BATCH.c.state == "quarantined")
            connection.execute(sa.update(BATCH).where(one).values(landing=path))
            history.tell(connection, one, Step("kept", self._clock(), True, path))

    def mend(self, loaded: Iterable[tuple[str, Outcome]]) -> int:
        """Take over how batches ended according to the warehouse; return how many that changed."""
        mended = 0
        with self.together() as connection:
            for batch_id, outcome in loaded:
                stale = (BATCH.c.batch_id == batch_id) & (BATCH.c.state != outcome.state)
                values = {**outcome.known, "owner": None, "crashes": 0, "ended": self._clock()}
                update = sa.update(BATCH).where(stale).values(epoch=BATCH.c.epoch + 1, **values)
                mended += connection.execute(update).rowcount
        return mended

    def forget(self, batch_ids: Sequence[str]) -> None:
        """These are not loaded after all: their rows are lost everywhere, so they wait again."""
        self._wait_again(BATCH.c.batch_id.in_(batch_ids), "forgotten", {})

    def release(self, batch_ids: Sequence[str]) -> int:
        """Let batches that are not loaded (``FREED``) be claimed again, at once."""
        some = BATCH.c.batch_id.in_(batch_ids) & BATCH.c.state.in_(FREED)
        return self._wait_again(some, "released", {"attempts": 0, "reason": None, "dup_of": None})

    def _wait_again(self, some: sa.ColumnElement[bool], step: str, more: dict[str, Any]) -> int:
        now = self._clock()
        values = {"state": "seen", "crashes": 0, "next_try": 0.0, "waiting_since": now, **_UNTOLD}
        with self.together() as connection:
            history.tell(connection, some, Step(step, now))
            return connection.execute(
                sa.update(BATCH).where(some).values(**values, **more)
            ).rowcount

    def mark_reported(self, batch_ids: Sequence[str]) -> None:
        """These were told to the orchestrator; until then every run tells them again."""
        with self.together() as connection:
            some = BATCH.c.batch_id.in_(batch_ids)
            connection.execute(sa.update(BATCH).where(some).values(is_reported=True))

    def batches(self, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
        """Rows of the ledger as dictionaries, oldest first."""
        query = sa.select(BATCH).where(*where).order_by(BATCH.c.first_seen, BATCH.c.ordinal)
        return self.select(query)

    def select(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        """What a question about the ledger's tables finds."""
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def waiting(self, *where: sa.ColumnElement[bool]) -> list[Found]:
        """Rows of the ledger as what was found."""
        return [notes.found_of(row) for row in self.batches(*where)]

    def due(self, *where: sa.ColumnElement[bool], limit: int = -1) -> list[tuple[Found, int]]:
        """What a run could take up now, oldest first, with how often each was tried."""
        c, now = BATCH.c, self._clock()
        waits = (c.state == "seen") & (c.next_try <= now)
        query = sa.select(BATCH).order_by(c.first_seen, c.ordinal)
        with self._engine.connect() as connection:
            query = query.where(
                *where, waits | queue.abandoned(connection, sa.and_(sa.true(), *where), now)
            )
            rows = connection.execute(query if limit < 0 else query.limit(limit)).mappings().all()
        return [(notes.found_of(dict(row)), row["attempts"]) for row in rows]

    def busy(self, *where: sa.ColumnElement[bool]) -> int:
        """How many batches a living worker has a claim on that has not lapsed."""
        count = sa.select(sa.func.count()).select_from(BATCH)
        with self._engine.connect() as connection:
            free = queue.abandoned(connection, sa.and_(sa.true(), *where), self._clock())
            held = count.where(*where, BATCH.c.state == "processing", ~free)
            return connection.scalar(held) or 0

    def cursor(self, source: str, table: str) -> str | None:
        """Where the next look at the drops of a table goes on."""
        query = sa.select(LOOK).where(LOOK.c.source == source, LOOK.c.table_name == table)
        return next((row["cursor"] for row in self.select(query)), None)

    def look_on_from(self, source: str, table: str, cursor: str) -> None:
        """Keep where the next look goes on; in one transaction with what this one found."""
        place = {"source": source, "table_name": table, "cursor": cursor}
        with self.together() as connection:
            upsert = insert(connection)(LOOK).values(**place)
            same = [LOOK.c.source, LOOK.c.table_name]
            connection.execute(upsert.on_conflict_do_update(index_elements=same, set_=place))

    def attempts(self, batch_id: str) -> list[dict[str, Any]]:
        """Every claim of one batch, first to last."""
        one = ATTEMPT.c.batch_id == batch_id
        return self.select(sa.select(ATTEMPT).where(one).order_by(ATTEMPT.c.epoch))

    def steps(self, batch_id: str) -> list[dict[str, Any]]:
        """What happened to one batch, step by step: name, when, correct or not, and details."""
        with self._engine.connect() as connection:
            return history.steps_of(connection, batch_id)

    def status(self, *where: sa.ColumnElement[bool]) -> list[dict[str, Any]]:
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
        ).where(*where)
        group = (c.source, c.table_name, c.state)
        return self.select(query.group_by(*group).order_by(*group))
