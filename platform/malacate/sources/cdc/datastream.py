"""Change files that Datastream or Debezium's sinks drop: each event a row of the log, or a reject.

Events are routed by what they say themselves, never by the folder they came in: ``a_b.c`` and
``a.b_c`` share a folder name. Which of the two wrote a file is seen from its content.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from malacate.batch import Chunk, Found, Reading, Reject
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats.avro_walk import walk
from malacate.formats.caps import Caps
from malacate.formats.unpack import blocks
from malacate.lake.lake import Lake
from malacate.sources.cdc.datastream_events import Events, Moves, envelope
from malacate.sources.cdc.datastream_json import Told, told
from malacate.sources.cdc.datastream_lines import JsonFile, is_event
from malacate.sources.cdc.datastream_payload import NEEDED, AvroFile, Payload, no_events
from malacate.sources.cdc.datastream_rows import Counts, Rows, Whose, constants
from malacate.sources.cdc.debezium import DebeziumFile
from malacate.sources.cdc.debezium_values import Spelling
from malacate.sources.discovery import Discovery, Tick
from malacate.sources.files import stage
from malacate.sources.protocol import Known

Writer = Literal["datastream", "debezium"]

_MOVES = {b"UPDATE-DELETE", b"mysql"}
"""What a file has that tells of key changes in MySQL."""
_BLOCK = 1 << 20
_CONFLUENT = b"\0"


@dataclass(frozen=True)
class ChangeDrops:
    """Changes of one table as rows of ``log``, which carries the change columns as well.

    ``whose`` also knows the other tables whose changes may lie in the same files. ``writer`` is
    seen from each file, unless it is declared.
    """

    log: Table
    whose: Whose
    discovery: Discovery
    spelling: Spelling = field(default_factory=Spelling)
    writer: Writer | None = None
    caps: Caps = field(default_factory=Caps)
    supersedes: bool = True

    @property
    def form(self) -> tuple[Spelling, Writer | None]:
        """What decides, beside the contract, how bytes become rows."""
        return self.spelling, self.writer

    def look(self, cursor: str | None, now: float) -> Tick:
        """See ``Looks``."""
        return self.discovery.tick(cursor, now)

    def discover(self, known: Known) -> list[Found]:
        """Every change file, however late it came and however old its folder is."""
        return self.discovery.everything()

    def read(self, found: Found, lake: Lake) -> Reading:
        """Copy the file into ``input``, check that it is whole, decode it event by event."""
        staged = stage(self.discovery.selection.store, found, lake)
        reading = self.opened(staged.path, found.object)
        reading.sha256 = staged.sha256
        return reading

    def opened(self, path: Path, name: str) -> Reading:
        """The file at ``path`` as the object ``name``; raises ``UnreadableFile``."""
        self.caps.check_bytes(path.stat().st_size, name)
        head = next(blocks(path, self.caps, _BLOCK), b"")
        is_avro = head.startswith(b"Obj")
        writer = _avro_writer(path) if is_avro else _json_writer(path, head, self.caps)
        if self.writer and writer != self.writer and not (writer is None and not is_avro):
            raise no_events(name, f"a file of {writer or 'something else'}")
        reading = Reading(iter(()))
        if (writer or self.writer) == "debezium":
            debezium = DebeziumFile(
                path, name, self.log, self.whose, self.spelling, self.caps, is_avro
            )
            chunks, reading.evolutions = debezium.chunks(), debezium.evolutions
        else:
            chunks = self._datastream(path, name, is_avro, reading)
        reading.chunks = self.caps.bounded(chunks, name)
        return reading

    def _datastream(
        self, path: Path, name: str, is_avro: bool, reading: Reading
    ) -> Iterator[Chunk]:
        table, notes = self.whose.table, reading.evolutions
        file: AvroFile | JsonFile
        if is_avro:
            file = AvroFile(path, table, notes)
        else:
            file = JsonFile(path, table, notes, self.caps, self.spelling.binary)
        return _Datastream(self.log, self.whose, file, name, reading).chunks()


@dataclass
class _Datastream:
    """One of Datastream's files on its way to the log."""

    log: Table
    whose: Whose
    file: AvroFile | JsonFile
    name: str
    reading: Reading
    counts: Counts = field(default_factory=Counts)

    def chunks(self) -> Iterator[Chunk]:
        moves = self._moves()
        for events, payload, rejects in self.file.batches():
            yield self._chunk(events, payload, rejects, moves)
        if moves.unclear:
            self.counts.found["positions where not every row moved its key: told as updates"] += (
                moves.unclear
            )
        self.reading.evolutions += self.counts.told()
        if self.file.rows is not None:
            others = sum(n for what, n in self.counts.found.items() if what.startswith("events of"))
            self.reading.source_rows = self.file.rows - others

    def _moves(self) -> Moves:
        """Positions of key changes, which take a first look at a file that has some of MySQL."""
        moves = Moves()
        if not _mentions(self.file, _MOVES):
            return moves
        evolutions = list(self.reading.evolutions)
        for events, _, _ in self.file.batches():
            moves.learn(events)
        self.reading.evolutions[:] = evolutions
        return moves

    def _chunk(
        self, events: Events, payload: Payload, rejects: Sequence[Reject], moves: Moves
    ) -> Chunk:
        mine, strangers = self._parted(events)
        aside = [*rejects, *strangers]
        chosen = events if len(mine) == len(events) else events.take(mine)
        if not mine:
            empty = pa.RecordBatch.from_pylist([], schema=self.log.schema)
            return Chunk(empty, sorted(aside, key=lambda one: one.position), [])
        told, bad = envelope(chosen, self.name, moves)
        is_gone = pc.equal(told["_op"], "D").to_pylist()
        columns, unfit = payload.values(mine, is_gone)
        columns |= told | constants({"_file": self.name}, len(mine), self.log)
        columns["_file_row"] = pa.array(list(chosen.places), pa.int64())
        rows = Rows(columns, chosen.places, chosen.raw, {**unfit, **bad})
        return rows.chunk(self.log, self.whose.table, aside)

    def _parted(self, events: Events) -> tuple[list[int], list[Reject]]:
        """Events of this table, and those that no table takes; another's are counted."""
        tables, of = events.named()
        mine = [self.whose.is_mine(named) for named in tables]
        taken = [self.whose.is_taken(named, self.name) for named in tables]
        strangers = []
        for index, table in enumerate(of):
            if mine[table]:
                continue
            if taken[table]:
                self.counts.found[f"events of {tables[table]}, which another route takes"] += 1
                continue
            detail = f"no table of this source takes events of {tables[table]}"
            place, raw = events.places[index], events.raw(index)
            strangers.append(Reject(place, "other_table", detail, raw))
        return [index for index, table in enumerate(of) if mine[table]], strangers


def _mentions(file: AvroFile | JsonFile, texts: set[bytes]) -> bool:
    """Whether all of some texts stand in a file; cheaper than to decode it."""
    left, tail = set(texts), b""
    for block in file.content():
        left -= {text for text in left if text in block or text in tail + block[:64]}
        if not left:
            return True
        tail = block[-64:]
    return False


def _avro_writer(path: Path) -> Writer | None:
    schema: Any = walk(path).schema
    fields = schema.get("fields", ()) if isinstance(schema, dict) else ()
    names = {one.get("name") for one in fields if isinstance(one, dict)}
    if names >= set(NEEDED):
        return "datastream"
    if names >= {"op", "after"} or names & {"__op", "__deleted"} or "tableChanges" in names:
        return "debezium"
    raise no_events(path.name, f"fields {', '.join(map(str, sorted(map(str, names))))}")


def _json_writer(path: Path, head: bytes, caps: Caps) -> Writer | None:
    """Of whom the first events are; ``None`` if no line of the head holds an object."""
    if head[:1] == _CONFLUENT:
        raise UnreadableFile(
            "a file holds single messages of Avro, whose schema is in a registry",
            "Let the sink write Avro files (`AvroFormat`), which carry their schema, or JSON.",
            object=path.name, reason="no_schema",
        )  # fmt: skip
    for seen, one in enumerate(told(path, caps)):
        if isinstance(one, Told) and one.value is not None:
            return _writer_of(one.value, path.name)
        if seen > _BLOCK:
            break
    return None


def _writer_of(value: dict[str, Any], name: str) -> Writer | None:
    if is_event(value):
        return "datastream"
    if value.get("action") in tuple("BCIUDTM") or isinstance(value.get("change"), list):
        raise UnreadableFile(
            "a file holds output of wal2json, which does not say where its changes stand",
            "Read the database by a slot of this platform's own, or let Debezium write the files.",
            object=name, reason="wal2json",
        )  # fmt: skip
    return "debezium" if value.keys() & {"op", "schema", "__op", "__deleted", "ddl"} else None


def with_others(sources: Sequence[ChangeDrops]) -> list[ChangeDrops]:
    """The sources, each knowing whose changes the others take out of the same files."""
    return [
        replace(one, whose=replace(one.whose, others=tuple(
            (other.whose.table, other.discovery.selection) for other in sources if other is not one
        )))
        for one in sources
    ]  # fmt: skip
