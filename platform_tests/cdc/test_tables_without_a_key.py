"""(10) Rows of a table without a key are known by all that is in them, and a check says so."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import dagster as dg
import pytest
from platform_tests.cdc import files
from platform_tests.cdc.folding import folding, lines, of_file, of_messages, shuffled, together
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import BARE, Life, expected, of_slot, side_by_side
from platform_tests.cdc.sqlserver_in_memory import NOW, Server, Session

from malacate.batch import Chunk
from malacate.contracts.changes import changes_of, keyed
from malacate.orchestration.keyless import verdict
from malacate.sources.cdc import sqlserver_sql as words
from malacate.sources.cdc.sqlserver_rows import Envelope


def _by_sqlserver(found: Sequence[Life]) -> list[Chunk]:
    server = Server()
    one = server.enable("dbo.truck")
    for life in found:
        for step in life.steps:
            server.commit("dbo.truck", [step])
    names = [column.name for column in BARE.columns]
    table = keyed(BARE)
    sources: dict[str, str | None] = {name: name for name in names}
    envelope = Envelope(table, changes_of(table), sources, "i", NOW, timedelta())
    ends = words.lsn(one.begins), words.lsn(server.newest)
    return list(envelope.changes(Session(server).rows(words.changes(one.name, names), *ends)))


def _by_debezium(found: Sequence[Life]) -> list[Chunk]:
    events = files.in_debezium(found, lambda n: {"lsn": 0xFFFF_FF00 + n})
    return of_file(BARE, "x", lines(events))


READERS: dict[str, Callable[[Sequence[Life]], list[Chunk]]] = {
    "slot": lambda found: of_messages(of_slot(found, "f"), BARE),
    "debezium": _by_debezium,
    "sqlserver": _by_sqlserver,
}
"""Those that tell the whole row before a change; Datastream does not."""


def every_row_is_known_by_itself(of: str, drawn: Lives, seed: int) -> None:
    found = [life for life in side_by_side(drawn) if life.steps]
    if not found:
        return
    came = together(READERS[of](found))
    state = folding(BARE).after(shuffled(came, 1 + seed % 2, seed))
    alive = {(r["life"], r["id"], r["value"], r["big"]) for r in state if not r["is_deleted"]}
    wanted = {(*key, *values) for key, values in expected(found).items() if values is not None}
    assert alive == wanted
    assert len(alive) == len([row for row in state if not row["is_deleted"]])


@pytest.mark.parametrize("of", READERS)
def test_the_state_has_each_row_of_a_table_without_a_key(of: str) -> None:
    def check(drawn: Lives, seed: int) -> None:
        every_row_is_known_by_itself(of, drawn, seed)

    tried(check, SIDE_BY_SIDE * len(READERS), drawn=lives, seed=seeds)()


def no_event_is_dropped(drawn: Lives, seed: int) -> None:
    """Of Datastream, which tells no old row: what it tells is in the log, all of it."""
    found = [life for life in side_by_side(drawn) if life.steps]
    events = files.in_datastream(found, "sqlserver", files.lsn_of_sqlserver(0x25_00000728_0003))
    if events:
        came = together(of_file(BARE, "x", lines(events)))
        assert came.column("_event_id").to_pylist() == [one["uuid"] for one in events]
        assert came.column("_row_hash").null_count == 0


test_no_event_of_a_table_without_a_key_is_dropped = tried(
    no_event_is_dropped, SIDE_BY_SIDE, drawn=lives, seed=seeds
)


def test_a_check_fails_as_long_as_the_table_has_no_key() -> None:
    told = verdict(dg.AssetKey(["lab", "truck"]))
    assert not told.passed
    assert "Equal rows stand once" in str(told.metadata["what_to_do"].value)
