"""(4) A value that was not sent is the one that stood, though the key moved and order was lost."""

from platform_tests.cdc.folding import (
    folding,
    lines,
    of_file,
    of_messages,
    shown,
    shuffled,
    together,
)
from platform_tests.cdc.histories import SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import TABLE, expected, in_debezium, of_slot, side_by_side


def by_a_slot(drawn: Lives, seed: int) -> None:
    found = side_by_side(drawn)
    came = together(of_messages(of_slot(found, "f" if seed % 4 == 0 else "d"), TABLE))
    assert shown(folding(TABLE).after(shuffled(came, 1 + seed % 2, seed))) == expected(found)


def by_debezium(drawn: Lives, seed: int) -> None:
    found = side_by_side(drawn)
    data = lines(in_debezium(found, splits=seed % 3 > 0))
    came = together(of_file(TABLE, "x.json", data))
    assert shown(folding(TABLE).after(shuffled(came, 1 + seed % 2, seed))) == expected(found)


DRAWN = {"drawn": lives, "seed": seeds}
test_a_moved_row_keeps_a_large_value_that_a_slot_did_not_send = tried(
    by_a_slot, SIDE_BY_SIDE, **DRAWN
)
test_a_moved_row_keeps_a_large_value_that_debezium_did_not_send = tried(
    by_debezium, SIDE_BY_SIDE, **DRAWN
)
