"""Changes of Postgres tables from a replication slot of our own.

The slot is only ever peeked at; what was read stays at the server until it is published, and then
the slot is advanced. Killed anywhere, the next run reads the same changes again: a window is named
by where it begins, so it comes into the log once.

No slot is ever ahead of a table's published position: that is what tells a consumed slot from a
quiet table. So a table without changes gets an empty window once much WAL has passed it by.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from malacate import crash
from malacate.batch import Found, Reading
from malacate.contracts.chunk import Chunk
from malacate.contracts.table import Table
from malacate.errors import SourceGap, SourceUnreachable, Superseded
from malacate.lake.lake import Lake
from malacate.sources.cdc import slot_gaps
from malacate.sources.cdc.pgoutput import Changes, Decoder, pinned
from malacate.sources.cdc.pgoutput_values import rows
from malacate.sources.cdc.slot_changes import counted, lifted, within
from malacate.sources.cdc.slot_lag import Lag
from malacate.sources.cdc.slot_position import Position, shown
from malacate.sources.cdc.slot_server import (
    Exported,
    ServerState,
    SlotServer,
    SlotState,
    waiting,
)
from malacate.sources.cdc.slot_snapshot import Snapshot
from malacate.sources.databases import DatabaseTable
from malacate.sources.protocol import Known

CHANGES_AT_ONCE = 200_000
"""With how many changes a look ends, at the next commit; a transaction comes whole."""

QUIET_BYTES = 16 << 20
"""How much WAL may pass a table without changes before its position follows."""


@dataclass
class Capture:
    """What one look at a slot brought: changes by table, all that end after ``lo`` up to ``hi``.

    ``is_cut``: there is more behind it. Each table takes its part once.
    """

    slot: str
    lo: int
    hi: int
    is_cut: bool
    changes: dict[str, list[Changes]]
    is_quiet: bool
    told: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Standing:
    """A slot, its server, and which life of a table its changes are of."""

    generation: int
    slot: SlotState
    server: ServerState
    identity: int


@dataclass(eq=False)
class ReplicationSlot:
    """One slot that feeds ``tables``; their sources share what one look at it brought.

    ``newest`` is when the last change of a table that was seen was committed, in seconds.
    """

    server: SlotServer
    tables: Sequence[Table]
    limit: int = CHANGES_AT_ONCE
    capture: Capture | None = None
    exported: Exported | None = None
    newest: dict[str, float] = field(default_factory=dict)

    def standing(self, table: Table, at: Position | None = None) -> Standing | None:
        """The newest slot, with all that could be wrong looked at; ``None`` if there is none.

        A gap is told with the position ``at`` which the table is.
        """
        try:
            return self._standing(table)
        except SourceGap as gap:
            gap.position = gap.position or (shown(at.lsn) if at else "")
            raise

    def _standing(self, table: Table) -> Standing | None:
        slots, state = self._complete(), self.server.state()
        generation = max(slots, default=0)
        name = self.server.slot_name(generation)
        published, relation = slot_gaps.require_published(
            name, self.server.publication, table,
            self.server.published(), self.server.table(relation_of(table)),
        )  # fmt: skip
        identity = slot_gaps.identity(state, published, relation)
        if generation not in slots:
            return None
        slot_gaps.require_slot(slots[generation], state, table)
        return Standing(generation, slots[generation], state, identity)

    def _complete(self) -> dict[int, SlotState]:
        """The slots, once none of them is being created: until then it can be read from nowhere."""
        slots: dict[int, SlotState] = {}
        for attempt in waiting():
            with attempt:
                slots = self.server.generations()
                for slot in slots.values():
                    if not slot.confirmed and slot.wal_status != "lost":
                        raise SourceUnreachable(
                            "the slot is being created, which waits for open transactions",
                            "Run again once they have ended: see pg_stat_activity.xact_start.",
                            slot.name, reason="slot_in_use",
                        )  # fmt: skip
        return slots

    def require(self, positions: Mapping[str, str | None]) -> None:
        """Never create a slot in place of one that is lost: some of its tables may be new."""
        if not self.server.generations():
            for table in self.tables:
                if position := Position.of(positions.get(relation_of(table))):
                    name = self.server.slot_name(position.generation)
                    raise slot_gaps.missing(name, table, position)

    def begin(self, table: Table) -> Standing:
        """Create the first slot, and keep the snapshot of its moment open for all tables."""
        try:
            self.exported = self.server.create(0)
        except psycopg.errors.DuplicateObject:
            pass
        except psycopg.Error as error:
            raise self.server.unreachable(error) from error
        crash.point("slot_created")
        standing = self.standing(table)
        if standing is None:
            raise SourceUnreachable(
                "the slot that was just created is gone", "Run again.", self.server.name,
                reason="unreachable",
            )  # fmt: skip
        return standing

    def moment(self, standing: Standing) -> Position:
        """Where a snapshot that is kept open stands in the log: all commits up to there are in it,
        and no later one.
        """
        if self.exported is None or not self.exported.is_alive:
            try:
                self.exported = self.server.moment()
            except psycopg.Error as error:
                raise self.server.unreachable(error) from error
        return Position(standing.generation, standing.identity, self.exported.lsn)

    def shared(self, standing: Standing, table: Table) -> Capture:
        """What the last look brought, if ``table`` has not had its part of it; else a new look."""
        name, slot = relation_of(table), standing.slot
        held = self.capture
        if held is None or held.slot != slot.name or name in held.told:
            self.capture = held = self._look(slot, standing.server.boundary)
        held.told.add(name)
        return held

    def _look(self, slot: SlotState, boundary: int) -> Capture:
        changes, last, is_cut = self._decoded(slot.name, limit=self.limit)
        crash.point("peeked")
        hi = last if is_cut else max(last, boundary)
        hi = max(hi, slot.confirmed)
        for table in self.tables:
            for one in changes.get(relation_of(table), ())[-1:]:
                self.newest[table.name.table] = one.committed_at[-1].as_py().timestamp()
        return Capture(slot.name, slot.confirmed, hi, is_cut, changes, not changes)

    def taken(self, table: Table, slot: str, lo: int, hi: int) -> list[Changes]:
        """Changes of commits that end after ``lo`` and not after ``hi``: held ones, or peeked at
        again.
        """
        name, held = relation_of(table), self.capture
        if held and (held.slot, held.hi) == (slot, hi) and held.lo <= lo and name in held.changes:
            found = held.changes.pop(name)
        else:
            found = self._decoded(slot, upto=hi)[0].get(name, [])
        return [part for one in found if (part := within(one, lo, hi)) is not None]

    def _decoded(
        self, slot: str, upto: int = 0, limit: int | None = None
    ) -> tuple[dict[str, list[Changes]], int, bool]:
        """Changes by table, the end of the last commit, and whether ``limit`` ended it."""
        wanted = {relation_of(table) for table in self.tables}
        for attempt in waiting():
            with attempt:
                decoder, found, seen = Decoder(slot), dict[str, list[Changes]](), [0]
                for changes in decoder.stream(
                    counted(self.server.messages(slot, upto, limit), seen)
                ):
                    name = f"{changes.relation.namespace}.{changes.relation.name}"
                    if name in wanted:
                        found.setdefault(name, []).append(changes)
        return found, decoder.last_commit, limit is not None and seen[0] >= limit

    def settle(self, positions: Mapping[str, str | None]) -> bool:
        """Let the server forget what every table has published; whether there is more to read.

        ``positions`` are those of the warehouse, by the table's name at the source: read back
        from it, never remembered.
        """
        self._forget_snapshot(positions)
        slots = self.server.generations()
        generation = max(slots, default=0)
        reached = [Position.of(positions.get(relation_of(table))) for table in self.tables]
        kept = [one for one in reached if one is not None and one.generation == generation]
        if generation not in slots or not kept or len(kept) < len(self.tables):
            return False
        least = min(kept, key=lambda position: position.lsn)
        if least.lsn > slots[generation].confirmed:
            crash.point("slot_before_advance")
            self.server.advance(slots[generation].name, least)
            crash.point("slot_advanced")
            if self.capture is not None and self.capture.is_quiet:
                self.server.beat()
        return self.capture is not None and self.capture.is_cut

    def _forget_snapshot(self, positions: Mapping[str, str | None]) -> None:
        if self.exported and all(positions.get(relation_of(table)) for table in self.tables):
            self.exported.close()
            self.exported = None

    def lag(self) -> Lag | None:
        """How far behind the newest slot is, and what it costs the server."""
        slots, held = self.server.generations(), self.capture
        if not slots:
            return None
        newest = slots[max(slots)]
        read_to = held.hi if held is not None and held.slot == newest.name else 0
        return Lag.of(newest, self.server.state(), read_to)


@dataclass(frozen=True)
class SlotTable:
    """One table of a slot: its log's source. Windows ``(lo, hi]`` of commits' ends."""

    slot: ReplicationSlot
    table: Table
    log: Table
    supersedes: bool = False

    def discover(self, known: Known) -> list[Found]:
        """What waits comes first; then a snapshot if nothing stands, else the next window."""
        if known.waiting:
            return []
        position = Position.of(known.position)
        standing = self.slot.standing(self.table, position)
        if standing is None and position is not None:
            raise slot_gaps.missing(self.slot.server.name, self.table, position)
        if standing is None:
            standing = self.slot.begin(self.table)
        if position is None or position.generation < standing.generation:
            return [self._found(standing, None, self.slot.moment(standing))]
        slot_gaps.require_generation(self.slot.server, self.table, position, standing.generation)
        slot_gaps.require_follows(
            self.table, position, standing.slot, standing.server, standing.identity
        )
        return self._window(standing, position)

    def _window(self, standing: Standing, position: Position) -> list[Found]:
        capture = self.slot.shared(standing, self.table)
        if capture.hi <= position.lsn:
            return []
        mine = capture.changes.get(relation_of(self.table), ())
        has_changes = any((one.commit_lsn > position.lsn).any() for one in mine)
        is_far = capture.is_cut or capture.hi - position.lsn > QUIET_BYTES
        if not has_changes and not is_far:
            return []
        end = Position(position.generation, position.identity, capture.hi)
        return [self._found(standing, position, end)]

    def _found(self, standing: Standing, lo: Position | None, hi: Position) -> Found:
        """Named by where it begins, so that no two windows ever hold the same change; snapshots
        are versions of one object, of which one stands.
        """
        name = standing.slot.name
        return Found(
            self.log.source,
            self.log.name.table,
            "window",
            f"{name} snapshot" if lo is None else f"{name} from {shown(lo.lsn)}",
            str(hi if lo is None else lo),
            hi.ordinal,
            lo=None if lo is None else str(lo),
            hi=str(hi),
        )

    def read(self, found: Found, lake: Lake) -> Reading:
        """The snapshot, or the changes; raises ``Superseded`` if the slot is another by now."""
        lo, hi = Position.of(found.lo), Position.parse(found.hi or "0")
        standing = self.slot.standing(self.table, lo or hi)
        if standing is None or standing.generation < hi.generation:
            raise slot_gaps.missing(self.slot.server.slot_name(hi.generation), self.table, hi)
        if standing.generation > hi.generation:
            raise self._overtaken(found, "the slot was set up anew")
        if lo is None:
            return self._snapshot(found, lake, hi, standing)
        slot_gaps.require_follows(self.table, lo, standing.slot, standing.server, standing.identity)
        changes = self.slot.taken(self.table, standing.slot.name, lo.lsn, hi.lsn)
        return Reading(self._rows(changes, hi.generation))

    def _snapshot(self, found: Found, lake: Lake, at: Position, standing: Standing) -> Reading:
        if at.identity != standing.identity or standing.slot.confirmed > at.lsn:
            raise self._overtaken(found, "the slot or the table is another by now")
        held, server = self.slot.exported, self.slot.server
        if held is None or not held.is_alive or held.lsn != at.lsn:
            raise self._overtaken(found, "its moment is gone with the worker that kept it")
        source = DatabaseTable(
            self.table, server.url, resolve=lambda url: pinned(server.resolve(url))
        )
        return Snapshot(self.table, self.log, standing.slot.name, at, held.snapshot).read(
            found, lake, source
        )

    def _rows(self, changes: Sequence[Changes], generation: int) -> Iterator[Chunk]:
        first = 0
        for one in changes:
            for chunk in rows(one, self.table, self.log, first):
                yield lifted(chunk, generation)
                first += chunk.rows_read

    def _overtaken(self, found: Found, why: str) -> Superseded:
        return Superseded(
            why, "Nothing to do: the next look finds what to read instead.",
            source=str(self.table.name), object=found.object, reason="superseded",
        )  # fmt: skip


def relation_of(table: Table) -> str:
    """The table's name at the source, with its schema."""
    name = table.physical_name or table.name.table
    return name if "." in name else f"public.{name}"
