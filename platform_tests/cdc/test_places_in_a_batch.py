"""Every reader: a row's place in its batch and its order there are its own (see ``_file_row``)."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest
from platform_tests.cdc import files
from platform_tests.cdc.folding import lines, of_file, of_messages
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, briefly, lives, tried
from platform_tests.cdc.model import BARE, TABLE, Life, in_debezium, of_slot, side_by_side
from platform_tests.cdc.sqlserver_in_memory import NOW, Server, Session

from malacate.batch import Chunk, Reading
from malacate.contracts.changes import changes_of, keyed
from malacate.sources.cdc import sqlserver_sql as words
from malacate.sources.cdc.slot_position import Position
from malacate.sources.cdc.slot_snapshot import Snapshot
from malacate.sources.cdc.sqlserver_rows import Envelope


def _by_sqlserver(found: list[Life]) -> list[Chunk]:
    server = Server()
    one = server.enable("dbo.truck")
    for life in found:
        for number in range(0, len(life.steps), 3):
            server.commit("dbo.truck", life.steps[number : number + 3])
    sources: dict[str, str | None] = {name: name for name in TABLE.schema.names}
    envelope = Envelope(TABLE, changes_of(TABLE), sources, "i", NOW, timedelta())
    asked = words.changes(one.name, TABLE.schema.names)
    ends = words.lsn(one.begins), words.lsn(server.newest)
    return list(envelope.changes(Session(server).rows(asked, *ends)))


def _by_snapshot(found: list[Life], generation: int) -> list[Chunk]:
    names = TABLE.schema.names
    rows = [
        dict(zip(names, (*key, *values), strict=True))
        for life in found
        for key, values in life.rows.items()
    ]
    parts = [rows[:5], rows[5:]]
    chunks = [Chunk(pa.RecordBatch.from_pylist(part, TABLE.schema)) for part in parts]
    snapshot = Snapshot(TABLE, changes_of(TABLE), "s", Position(generation, 7, 99), "")
    return list(snapshot._chunks(Reading(iter(())), iter(chunks)))


READERS: dict[str, Callable[[list[Life]], list[Chunk]]] = {
    "slot": lambda found: of_messages(of_slot(found, at_once=3), TABLE),
    "slot_full": lambda found: of_messages(of_slot(found, "f", at_once=3), TABLE),
    "slot_keyless": lambda found: of_messages(of_slot(found, "f", at_once=3), BARE),
    "snapshot": lambda found: _by_snapshot(found, 0),
    "snapshot_anew": lambda found: _by_snapshot(found, 1),
    "datastream_json": lambda found: of_file(
        TABLE, "x", lines(files.in_datastream(found, "oracle", files.scn(5)))
    ),
    "datastream_avro": lambda found: of_file(
        TABLE, "x", files.in_avro(files.in_datastream(found, "mysql", files.log_file(5)))
    ),
    "debezium": lambda found: of_file(TABLE, "x", lines(in_debezium(found))),
    "debezium_updates": lambda found: of_file(TABLE, "x", lines(in_debezium(found, splits=False))),
    "sqlserver": _by_sqlserver,
}


def places_are_unique(of: str, drawn: Lives) -> None:
    found = [life for life in side_by_side(drawn) if life.steps]
    chunks = READERS[of](found) if found else []
    places = [
        place
        for chunk in chunks
        for place in zip(
            *(chunk.rows.column(n).to_pylist() for n in ("_file_row", "_seq")), strict=True
        )
    ]
    assert len(set(places)) == len(places)
    events = [one for chunk in chunks for one in chunk.rows.column("_event_id").to_pylist()]
    assert len(set(events)) == len(events)


@pytest.mark.parametrize("of", READERS)
def test_a_place_and_an_order_in_a_batch_are_of_one_row(of: str) -> None:
    def check(drawn: Lives) -> None:
        places_are_unique(of, drawn)

    tried(check, SIDE_BY_SIDE, drawn=lives)()


def test_a_reader_that_counts_in_each_transaction_anew_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def restarted(found: list[Life]) -> list[Chunk]:
        return [_numbered(chunk) for chunk in of_messages(of_slot(found, at_once=3), TABLE)]

    def _numbered(chunk: Chunk) -> Chunk:
        rows = chunk.rows
        at = rows.schema.get_field_index("_file_row")
        ordinal = pa.array([seq // 2 for seq in rows.column("_seq").to_pylist()], pa.int64())
        return Chunk(rows.set_column(at, rows.schema.field(at), ordinal))

    monkeypatch.setitem(READERS, "slot", restarted)

    def check(drawn: Lives) -> None:
        places_are_unique("slot", drawn)

    with pytest.raises(AssertionError):
        briefly(check, 5, drawn=lives)()


def test_the_readers_are_those_of_all_sources() -> None:
    heads: set[Any] = {name.partition("_")[0] for name in READERS}
    assert heads == {"slot", "snapshot", "datastream", "debezium", "sqlserver"}
    assert keyed(BARE).key == ("_row_hash",)
