"""(3) Both halves of a key change stand at one place: the old key is gone, the new one alive."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from platform_tests.cdc import files
from platform_tests.cdc.folding import folding, lines, of_file, shown, shuffled, together
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import TABLE, Life, Step, expected, side_by_side

DATASTREAM: dict[str, tuple[str, files.Place]] = {
    "oracle": ("oracle", files.scn(382_470)),
    "oracle_statements": ("oracle", files.ssn(382_470)),
    "mysql": ("mysql", files.log_file(131)),
    "postgres": ("postgres", files.lsn(0x16_CB00_2DB0)),
    "sqlserver": ("sqlserver", files.lsn_of_sqlserver(0x25_00000728_0003)),
}
DEBEZIUM: dict[str, Callable[[int], dict[str, Any]]] = {
    "oracle": lambda n: {"scn": "7", "rs_id": "001234.00012345.0124", "ssn": n},
    "mysql": lambda n: {"file": "b.000003", "pos": 154 + n // 4, "row": n % 4},
    "sqlserver": lambda n: {
        "commit_lsn": "00000028:00000010:0005", "event_serial_no": 1,
        "change_lsn": f"00000027:{n:08x}:0002",
    },
}  # fmt: skip


def by_datastream(of: str, drawn: Lives, seed: int) -> None:
    """In one file, or the halves in two that know nothing of each other."""
    source, place = DATASTREAM[of]
    found = side_by_side(drawn, moves=0.7)
    events = files.in_datastream(found, source, place)
    parts = [events] if seed % 2 else [events[::2], events[1::2]]
    chunks = [c for part in parts if part for c in of_file(TABLE, "x", lines(part[::-1]))]
    _must_fold(found, together(chunks), seed)


def by_debezium(of: str, drawn: Lives, seed: int) -> None:
    found = side_by_side(drawn, moves=0.7)
    data = lines(files.in_debezium(found, DEBEZIUM[of]))
    _must_fold(found, together(of_file(TABLE, "x", data)), seed)


def _must_fold(found: list[Life], came: Any, seed: int) -> None:
    state = folding(TABLE).after(shuffled(came, 1 + seed % 2, seed))
    assert shown(state) == expected(found)


@pytest.mark.parametrize("of", DATASTREAM)
def test_halves_that_datastream_puts_at_one_place_come_in_their_order(of: str) -> None:
    def check(drawn: Lives, seed: int) -> None:
        by_datastream(of, drawn, seed)

    tried(check, SIDE_BY_SIDE * len(DATASTREAM), drawn=lives, seed=seeds)()


@pytest.mark.parametrize("of", DEBEZIUM)
def test_halves_that_debezium_puts_at_one_place_come_in_their_order(of: str) -> None:
    def check(drawn: Lives, seed: int) -> None:
        by_debezium(of, drawn, seed)

    tried(check, SIDE_BY_SIDE * len(DEBEZIUM), drawn=lives, seed=seeds)()


@pytest.mark.parametrize("source", ["oracle", "mysql"])
def test_a_statement_that_moves_each_row_to_the_key_of_the_next_loses_none(source: str) -> None:
    """``set id = id + 1``: a key's deletion and its next owner stand at one place."""
    life = Life(0, 0, 0)
    for number in (0, 1):
        key, to = (0, number), (0, number + 1)
        life.steps.append(Step("M", key, (number, "x"), (number, "x"), to))
    place: files.Place = (
        (lambda _: {"scn": 9, "rs_id": " 0x4.5.6 ", "ssn": 1})
        if source == "oracle"
        else lambda _: {"log_file": "b.1", "log_position": 4}
    )
    events = files.in_datastream([life], source, place)
    for order in itertools.permutations(events):
        came = together(of_file(TABLE, "x", lines(order)))
        assert shown(folding(TABLE).after([came])) == {
            (0, 0): None, (0, 1): (0, "x"), (0, 2): (1, "x"),
        }  # fmt: skip
