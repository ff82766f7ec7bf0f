"""(1) Whatever the order of deliveries, the state is the source's; what is late lifts nothing."""

import random
from collections.abc import Sequence

import pyarrow as pa
from platform_tests.cdc.folding import folding, of_messages, shown, shuffled, together
from platform_tests.cdc.histories import FEWER, SIDE_BY_SIDE, Lives, lives, seeds, tried
from platform_tests.cdc.model import TABLE, expected, of_slot, side_by_side


def an_event_older_than_a_deletion_comes_last(drawn: Lives, seed: int) -> None:
    found = side_by_side(drawn)
    came = together(of_messages(of_slot(found, at_once=3), TABLE))
    late = older_than_deletions(came, random.Random(seed))
    rest = sorted({*range(len(came))} - {*late})
    batches = [came.take(pa.array(part, pa.int64())) for part in (rest, late)]
    assert shown(folding(TABLE).after(batches)) == expected(found)


def older_than_deletions(came: pa.Table, choose: random.Random) -> list[int]:
    """For each key that is deleted one of its events before, by their numbers."""
    of_key: dict[tuple[int, int], list[int]] = {}
    late = set()
    facts = zip(*(came.column(n).to_pylist() for n in ("life", "id", "_op")), strict=True)
    for number, (life, one, op) in enumerate(facts):
        before = of_key.setdefault((life, one), [])
        if op == "D" and before:
            late.add(choose.choice(before))
        before.append(number)
    return sorted(late)


def with_truncates(drawn: Sequence[tuple[int, int]], seed: int) -> None:
    """A truncate is of the whole table, so one life has it for itself."""
    found = side_by_side(drawn[:1], truncates=True)
    came = together(of_messages(of_slot(found), TABLE))
    batches = shuffled(came, 1 + seed % 3, seed)
    assert shown(folding(TABLE).after(batches)) == expected(found)


DRAWN = {"drawn": lives, "seed": seeds}
test_an_event_older_than_a_deletion_that_comes_late_lifts_no_tombstone = tried(
    an_event_older_than_a_deletion_comes_last, SIDE_BY_SIDE, **DRAWN
)
test_a_truncate_deletes_the_same_rows_whenever_it_comes = tried(with_truncates, 1, FEWER, **DRAWN)
