"""Any history of deliveries ends in the same bytes of each hour's file, and in the true hour."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.length import IS_LONG
from platform_tests.warehouse.batches import Batches, drop
from platform_tests.warehouse.engines import on_duckdb
from platform_tests.warehouse.hours import HOURS, READING, STATS, Row, reading, true_hours

from malacate.hours.files import content

HISTORIES = 500 if IS_LONG else 50
FEATURES = [column.name for column in HOURS.columns if column.name != "revision"]
TOLD = [
    {**reading(n, 1 + n / 7, 3 - n / 9, f"g{n % 2}"), "ppv_long_mm_s": 5000 + 0.001 * n * n}
    for n in range(8)
]
TWIN = {**TOLD[3], "ppv_vert_mm_s": 9.0}
MOVED = {**TOLD[5], "measured_at": TOLD[5]["measured_at"] - timedelta(seconds=1)}
"""One number with two values: the least by instant, then by values, counts (that of TOLD[3])."""
TRUTH = true_hours([*TOLD[:5], MOVED, *TOLD[6:]])


@dataclass(frozen=True)
class History:
    """Batches in the order they are published, some in one transaction, by some threads."""

    batches: list[list[Row]]
    together: int


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Every reading at least once, in any order and batching; some again, days late say."""
    again = draw(st.lists(st.sampled_from(TOLD), max_size=6))
    order = draw(st.permutations([*TOLD, TWIN, MOVED, *again]))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), max_size=4)))
    edges = [0, *cuts, len(order)]
    batches = [order[a:b] for a, b in pairwise(edges)]
    return History(batches, draw(st.integers(1, 3)))


def files_after(history: History) -> dict[datetime, bytes]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        engine = on_duckdb(Path(folder))
        warehouse, make = engine.warehouse, Batches(engine.lake, READING)
        warehouse.ensure([READING, HOURS])
        publications = [
            make.of(drop(f"{i}"), rows, derives=STATS, replaces_older=False)
            for i, rows in enumerate(history.batches)
        ]
        for start in range(0, len(publications), history.together):
            warehouse.publish(publications[start : start + history.together])
        rows = warehouse.read(HOURS.name, FEATURES)
    hours = sorted(set(rows["hour_at"].to_pylist()))
    return {at: content(rows.filter(pc.equal(rows["hour_at"], at)), HOURS.key) for at in hours}


def as_rows(files: Sequence[bytes]) -> list[Row]:
    rows = [row for data in files for row in pq.read_table(pa.BufferReader(data)).to_pylist()]
    return sorted(rows, key=lambda row: (row["sensor_id"], row["hour_at"]))


FIRST: dict[datetime, bytes] = {}


@settings(max_examples=HISTORIES)
@given(histories())
def test_identical_bytes_after_every_history(history: History) -> None:
    files = files_after(history)
    if not FIRST:
        assert as_rows([*files.values()]) == TRUTH
        FIRST.update(files)
    assert files == FIRST
