"""Who may load what only one batch may: the same bytes, or an object that is never replaced.

The rule: the first batch known with it holds it, until it ended without being loaded. Others wait
for the holder, or end because it is loaded; the holder's marker in the warehouse says which.
"""

import zlib
from dataclasses import dataclass

import sqlalchemy as sa

from malacate.ledger.engine import insert, take_turns
from malacate.ledger.tables import BATCH, HOLD
from malacate.ledger.work import Found


@dataclass(frozen=True)
class Holder:
    """The batch that holds what another one asked for."""

    batch_id: str
    object: str
    version: str
    state: str


def hold(
    connection: sa.Connection, found: Found, sha256: str | None, instead_of: str | None
) -> Holder | None:
    """Take hold of the bytes ``sha256``, or of the object without one; return who has it else.

    ``instead_of`` is a holder that has to make way. A version of the same object makes way for
    the bytes by itself: it is no copy under another name.
    """
    what = f"bytes {sha256}" if sha256 else f"object {found.object}"
    place = (HOLD.c.source == found.source, HOLD.c.table_name == found.table, HOLD.c.what == what)
    standing = sa.select(HOLD.c.batch_id).where(*place).with_for_update()
    if connection.scalar(standing) is None:
        first = _loaded(connection, found, sha256)
        names = {"source": found.source, "table_name": found.table, "what": what}
        row = {**names, "batch_id": first or found.batch_id}
        connection.execute(insert(connection)(HOLD).values(**row).on_conflict_do_nothing())
    holder = connection.scalar(standing)
    of = connection.execute(sa.select(BATCH).where(BATCH.c.batch_id == holder)).first()
    is_free = of is None or holder == instead_of or (sha256 and of.object == found.object)
    if holder == found.batch_id or is_free:
        connection.execute(sa.update(HOLD).where(*place).values(batch_id=found.batch_id))
        return None
    return Holder(of.batch_id, of.object, of.version, of.state)  # type: ignore[union-attr]


def _loaded(connection: sa.Connection, found: Found, sha256: str | None) -> str | None:
    """What was loaded before anybody asked: under another policy, or a ledger that was lost."""
    c = BATCH.c
    same = (c.sha256 == sha256) if sha256 else (c.object == found.object)
    other = c.batch_id != found.batch_id
    loaded = (c.source == found.source, c.table_name == found.table, c.state == "loaded")
    newest = sa.select(c.batch_id).where(*loaded, same, other).order_by(c.ended.desc()).limit(1)
    return connection.scalar(newest)


def twin_of(connection: sa.Connection, found: Found, sha256: str) -> str | None:
    """The batch that loaded the same bytes under another name, for one that is about to end.

    Of two that end at once the later one sees the other.
    """
    take_turns(connection, zlib.crc32(f"{found.source}/{found.table}".encode()))
    c = BATCH.c
    same = (c.source == found.source, c.table_name == found.table, c.sha256 == sha256)
    other = (c.object != found.object, c.state == "loaded")
    first = sa.select(c.batch_id).where(*same, *other).order_by(c.ended, c.batch_id).limit(1)
    return connection.scalar(first)
