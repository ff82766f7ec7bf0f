"""Readings beyond the horizon: to quarantine with their reason, whatever the clock says now."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from platform_tests.conftest import PlatformHome

from malacate.batch import Reading, WriteMode
from malacate.contracts.chunk import Chunk, Reject
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError
from malacate.formats import FileFormat
from malacate.ingest import Route
from malacate.names import TableName
from malacate.sources.files import all_files
from malacate.sources.punctual import Horizon, Punctual
from malacate.stores.folder import FolderStore

INSTANT = pa.timestamp("us", "UTC")
TABLE = Table(
    TableName("raw_slope", "reading"),
    (
        Column("seq", pa.int64(), True),
        Column("measured_at", INSTANT, True),
        Column("published_at", INSTANT),
    ),
    ("seq",),
)
CAME = datetime(2026, 11, 3, 12, tzinfo=UTC)
BY_COLUMN = Horizon("measured_at", came_at="published_at")
BY_NAME = Horizon("measured_at", named="%Y-%m-%d/slope_%H%M.parquet")
NAME = "a/2026-11-03/slope_1200.parquet"
REASONS = {
    timedelta(0): "",
    timedelta(seconds=300): "",
    timedelta(seconds=300, microseconds=1): "clock_skew",
    timedelta(minutes=17): "clock_skew",
    timedelta(days=365_000): "clock_skew",
    timedelta(hours=-72): "",
    timedelta(hours=-72, microseconds=-1): "too_late",
    timedelta(days=-40): "too_late",
    datetime(1970, 1, 1, 5, tzinfo=UTC) - CAME: "clock_skew",
}
"""What becomes of a row whose instant is so far from when it came."""


def chunk(offsets: list[timedelta], came: datetime | None = CAME, **more: Any) -> Chunk:
    rows = [
        {"seq": seq, "measured_at": CAME + offset, "published_at": came}
        for seq, offset in enumerate(offsets)
    ]
    return Chunk(pa.RecordBatch.from_pylist(rows, TABLE.schema), **more)


def held(horizon: Horizon, *chunks: Chunk, name: str = NAME) -> list[Chunk]:
    return list(horizon.hold(Reading(iter(chunks)), name).chunks)


@pytest.mark.parametrize("horizon", [BY_COLUMN, BY_NAME])
def test_a_row_beyond_the_horizon_is_rejected_with_its_bytes_and_its_place(
    horizon: Horizon,
) -> None:
    (found,) = held(horizon, chunk([*REASONS]))
    wanted = {place: why for place, why in enumerate(REASONS.values()) if why}
    assert {reject.position: reject.reason for reject in found.rejects} == wanted
    assert found.positions == [place for place, why in enumerate(REASONS.values()) if not why]
    assert found.rows.column("seq").to_pylist() == found.positions
    assert [json.loads(reject.raw)["seq"] for reject in found.rejects] == [*wanted]


@given(st.lists(st.lists(st.sampled_from([*REASONS]), max_size=5), max_size=5), st.booleans())
def test_rows_in_are_good_rows_and_rejects_each_at_its_own_place(
    parts: list[list[timedelta]], has_rejects: bool
) -> None:
    given_, first = [], 0
    for offsets in parts:
        size = len(offsets) + has_rejects
        told = {"rejects": [Reject(first, "bad_row", "", b"")],
                "positions": range(first + 1, first + size)} if has_rejects else {}  # fmt: skip
        given_.append(chunk(offsets, **told))
        first += size
    found = held(BY_NAME, *given_)
    assert [one.rows_read for one in found] == [one.rows_read for one in given_]
    places: list[int] = []
    for before, one in zip(given_, found, strict=True):
        good = one.positions
        if good is None:
            good = range(len(places), len(places) + one.rows.num_rows)
        places += sorted([*good, *(reject.position for reject in one.rejects)])
        assert one.rows.num_rows == len(good)
        assert before.rows.num_rows >= one.rows.num_rows
    assert places == list(range(first))


def test_a_row_without_an_instant_is_left_to_the_rules() -> None:
    empty = pa.RecordBatch.from_pylist([{"seq": 1}], TABLE.schema)
    (found,) = held(BY_COLUMN, Chunk(empty))
    assert found.rejects == ()
    assert held(BY_COLUMN, chunk([timedelta(days=9)], came=None))[0].rejects == ()


@pytest.mark.parametrize("said", [{}, {"came_at": "published_at", "named": "%Y.parquet"}])
def test_when_rows_came_is_said_once(said: Mapping[str, str]) -> None:
    with pytest.raises(ConfigError, match="when a row came"):
        Horizon("measured_at", **said)


def drops(root: Path, horizon: Horizon) -> Punctual:
    found = all_files(TABLE, FolderStore(root))
    return Punctual(TABLE, found, FileFormat("parquet"), horizon=horizon)


def test_a_column_that_the_contract_lacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sent_at"):
        drops(tmp_path, Horizon("measured_at", came_at="sent_at"))


def test_files_are_loaded_without_what_is_beyond_the_horizon(
    platform_home: PlatformHome, tmp_path: Path
) -> None:
    for name in (NAME, "a/2026-11-03/slope_noon.parquet"):
        path = tmp_path / "drops" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([chunk([*REASONS]).rows]), path)
    source = drops(tmp_path / "drops", BY_NAME)
    report = platform_home.ingest.run(Route(TABLE, source, WriteMode.APPEND))
    good, bad = sorted(report.batches, key=lambda batch: str(batch["state"]))
    assert (good["state"], good["rows_loaded"], good["rows_quarantined"]) == ("loaded", 3, 6)
    assert (bad["state"], bad["reason"]) == ("quarantined", "name_without_instant")
    kept = platform_home.warehouse.query(
        "select reason, count(*) as n from malacate.quarantine group by reason order by reason"
    )
    assert kept.to_pylist() == [{"reason": "clock_skew", "n": 4}, {"reason": "too_late", "n": 2}]
