"""(2) Where a position gains a digit, the change with the longer one is the later one."""

from collections.abc import Callable
from typing import Any

import pytest
from platform_tests.cdc import files
from platform_tests.cdc.folding import folding, lines, of_file, shown, shuffled, together
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import TABLE, expected, side_by_side

DATASTREAM: dict[str, tuple[str, files.Place]] = {
    "postgres_7_to_8_digits": ("postgres", files.lsn(0x0FFF_FFF9)),
    "postgres_1_to_2_digits": ("postgres", files.lsn(0x9)),
    "postgres_halves": ("postgres", files.lsn(0xF_FFFF_FFF9)),
    "sqlserver_blocks": ("sqlserver", files.lsn_of_sqlserver(0x0F_FFFFFFFF_FFF9)),
    "mysql_files": ("mysql", files.log_file(999_998)),
    "mysql_places": ("mysql", files.log_file(9, step=600)),
    "oracle_scn": ("oracle", files.scn(99_996)),
    "oracle_rs_id": ("oracle", files.rs_id(0xFFB)),
    "oracle_ssn": ("oracle", files.ssn(12)),
}


def _mysql(n: int) -> dict[str, Any]:
    return {"file": f"b.{999_998 + n // 3:06}", "pos": 99_900 + n % 3 * 70, "row": 0}


DEBEZIUM: dict[str, Callable[[int], dict[str, Any]]] = {
    "postgres": lambda n: {"lsn": 0xF_FFFF_FFF9 + n},
    "oracle": lambda n: {"scn": str(99_996 + n), "rs_id": "001234.00012345.0124", "ssn": 0},
    "mysql": _mysql,
    "sqlserver_commit": lambda n: {"commit_lsn": f"00000027:{0xFFF9 + n:08x}:0005"},
    "sqlserver_change": lambda n: {
        "commit_lsn": "00000028:00000010:0005", "event_serial_no": 1,
        "change_lsn": f"00000027:{0xFFFB + n:08x}:0002",
    },
}  # fmt: skip


def by_datastream(of: str, drawn: Lives, seed: int) -> None:
    source, place = DATASTREAM[of]
    found = side_by_side(drawn, moves=0)
    events = files.in_datastream(found, source, place, apart=0)
    data = files.in_avro(events) if seed % 4 == 0 else lines(events)
    _must_fold(found, together(of_file(TABLE, "x", data)), seed)


def by_debezium(of: str, drawn: Lives, seed: int) -> None:
    found = side_by_side(drawn, moves=0)
    data = lines(files.in_debezium(found, DEBEZIUM[of], apart=0))
    _must_fold(found, together(of_file(TABLE, "x", data)), seed)


def _must_fold(found: Any, came: Any, seed: int) -> None:
    state = folding(TABLE).after(shuffled(came, 1 + seed % 2, seed))
    assert shown(state) == expected(found)


@pytest.mark.parametrize("of", DATASTREAM)
def test_positions_of_datastream_are_in_the_order_of_numbers(of: str) -> None:
    def check(drawn: Lives, seed: int) -> None:
        by_datastream(of, drawn, seed)

    tried(check, SIDE_BY_SIDE * len(DATASTREAM), drawn=lives, seed=seeds)()


@pytest.mark.parametrize("of", DEBEZIUM)
def test_positions_of_debezium_are_in_the_order_of_numbers(of: str) -> None:
    def check(drawn: Lives, seed: int) -> None:
        by_debezium(of, drawn, seed)

    tried(check, SIDE_BY_SIDE * len(DEBEZIUM), drawn=lives, seed=seeds)()
