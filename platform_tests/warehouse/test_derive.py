"""Derived tables: any order, number and batching of deliveries ends in the same state."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.warehouse.batches import Batches, drop, table
from platform_tests.warehouse.engines import ENGINES, Engine, on_bigquery, on_duckdb

from malacate.contracts.table import Column
from malacate.names import TableName
from malacate.warehouse.derive import CHANGE_COLUMNS, Fold, HourlyStats
from malacate.warehouse.protocol import Derivation

OPENED: list[Callable[[], AbstractContextManager[Engine]]] = []


@contextmanager
def on_own_duckdb() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        yield on_duckdb(Path(folder))


@pytest.fixture(scope="module", params=ENGINES, autouse=True)
def _opened(request: pytest.FixtureRequest) -> Iterator[None]:
    """What ``derived`` opens: an empty warehouse of the engine, for each history a new one."""
    if request.param == "duckdb":
        OPENED.append(on_own_duckdb)
    else:
        server, url = map(request.getfixturevalue, ("bigquery_server", "bigquery_url"))
        OPENED.append(lambda: nullcontext(on_bigquery(server, url)))
    yield
    OPENED.pop()


STATE = table(
    Column("site", pa.string(), True),
    Column("id", pa.int64(), True),
    Column("value", pa.int64()),
    name="truck",
    key=("site", "id"),
)
LOG = STATE.having(*CHANGE_COLUMNS, name="truck_changes")
EPOCH = datetime(2026, 11, 3, tzinfo=UTC)
Row = dict[str, Any]


def state_after(batches: Sequence[Sequence[Row]]) -> dict[tuple[str, int], Row]:
    """Publish change batches one by one and read the state by key."""
    rows = derived(LOG, Fold(STATE), batches, "truck", together=1)
    return {(row["site"], row["id"]): row for row in rows}


def derived(
    published: Any, by: Derivation, batches: Sequence[Sequence[Row]], name: str, together: int
) -> list[Row]:
    with OPENED[-1]() as engine:
        warehouse = engine.warehouse
        warehouse.ensure([published, by.target])
        make = Batches(engine.lake, published)
        all_of_them = [
            make.of(drop(f"{i}"), rows, derives=by, replaces_older=False)
            for i, rows in enumerate(batches)
        ]
        for start in range(0, len(all_of_them), together):
            warehouse.publish(all_of_them[start : start + together])
        rows: list[Row] = warehouse.read(TableName("raw_lab", name)).to_pylist()
    return rows


def change(op: str, key: tuple[str, int], value: int | None, at: int, seq: int = 0) -> Row:
    """A logged change; positions cross the limits of 32 bits on purpose."""
    site, number = key
    return {
        "site": site,
        "id": number,
        "value": value,
        "_op": op,
        "_position_hi": at // 3,
        "_position_lo": at % 3 * (1 << 40),
        "_seq": seq,
        "_is_snapshot": False,
        # The source's clock runs backwards: only positions may order changes.
        "_source_at": EPOCH - timedelta(seconds=at),
        "_event_id": f"{at:06}-{seq}",
    }


def snapshot_row(key: tuple[str, int], value: int, at: int) -> Row:
    """A row of a backfill that ran while the log was at ``at``: its position is misleading."""
    row = change("R", key, value, 10_000 + at)
    return row | {"_is_snapshot": True, "_seq": 0, "_source_at": EPOCH, "_event_id": f"s-{at:06}"}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Row], dict[tuple[str, int], tuple[Any, bool]]]:
    """What a source did to its rows, in order, and how they stand afterwards."""
    keys = st.tuples(st.sampled_from(["a", "b"]), st.integers(1, 2))
    steps = draw(st.lists(st.tuples(keys, st.integers(0, 9) | st.none()), min_size=1, max_size=14))
    alive: dict[tuple[str, int], int] = {}
    known: dict[tuple[str, int], tuple[Any, bool]] = {}
    changes: list[Row] = []
    for at, (key, value) in enumerate(steps):
        if value is None:
            changes.append(change("D", key, None, at // 2, at % 2))
            known[key] = (None, True)
            alive.pop(key, None)
        else:
            changes.append(change("U" if key in alive else "I", key, value, at // 2, at % 2))
            known[key] = (value, False)
            alive[key] = value
        if draw(st.integers(0, 5)) == 0:
            changes += [snapshot_row(k, v, at) for k, v in alive.items()]
    return changes, known


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[list[Row]], dict[tuple[str, int], tuple[Any, bool]]]:
    """The same history shuffled, repeated, and cut into batches."""
    changes, known = draw(histories())
    again = draw(st.lists(st.sampled_from(changes), max_size=4))
    order = draw(st.permutations([*changes, *again]))
    size = draw(st.integers(1, len(order)))
    return [order[i : i + size] for i in range(0, len(order), size)], known


@settings(max_examples=20, deadline=None)
@given(deliveries())
def test_any_delivery_of_a_history_folds_to_the_same_state(
    delivery: tuple[list[list[Row]], dict[tuple[str, int], tuple[Any, bool]]],
) -> None:
    batches, known = delivery
    state = state_after(batches)
    assert {key: (row["value"], row["is_deleted"]) for key, row in state.items()} == known


def test_a_deletion_stays_as_a_tombstone_that_a_late_update_cannot_lift() -> None:
    key = ("a", 1)
    batches = [[change("D", key, None, 9)], [change("U", key, 5, 4)], [change("I", key, 1, 2)]]
    row = state_after(batches)[key]
    assert (row["is_deleted"], row["_op"], row["_position_hi"]) == (True, "D", 3)


def test_a_row_that_comes_back_is_alive() -> None:
    key = ("a", 1)
    batches = [[change("I", key, 7, 5)], [change("D", key, None, 4)], [change("I", key, 1, 3)]]
    row = state_after(batches)[key]
    assert (row["is_deleted"], row["value"]) == (False, 7)


def test_a_logged_change_wins_over_a_snapshot_with_a_higher_position() -> None:
    key = ("a", 1)
    batches = [[snapshot_row(key, 1, 9)], [change("U", key, 2, 1)]]
    assert state_after(batches)[key]["value"] == 2
    assert state_after(batches[::-1])[key]["value"] == 2


def test_rows_that_no_batch_touches_stay_as_they_are() -> None:
    batches = [[change("I", ("a", 1), 1, 1)], [change("I", ("b", 1), 2, 2)], []]
    assert {key: row["value"] for key, row in state_after(batches).items()} == {
        ("a", 1): 1,
        ("b", 1): 2,
    }


READING = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("seq", pa.int64(), True),
    Column("measured_at", pa.timestamp("us", "UTC"), True),
    *(Column(f"ppv_{axis}_mm_s", pa.float64()) for axis in ("tran", "vert", "long")),
    Column("rms_mm_s", pa.float64()),
    Column("pvs_mm_s", pa.float64()),
    name="reading",
    key=("sensor_id", "seq"),
)
HOURS = table(
    Column("sensor_id", pa.string(), True),
    Column("sector_id", pa.string()),
    Column("hour_at", pa.timestamp("us", "UTC"), True),
    *(Column(name, pa.int64()) for name in ("readings", "expected_readings")),
    *(Column(name, pa.float64()) for name in ("completeness", "rms_mm_s", "ppv_mm_s")),
    Column("peak_pvs_mm_s", pa.float64()),
    Column("revision", pa.int64()),
    name="hour",
    key=("sensor_id", "hour_at"),
)


def reading(seq: int, rms: float = 1.0, peak: float = 2.0, sensor: str = "g1") -> Row:
    """One of four an hour."""
    at = EPOCH + timedelta(minutes=15 * seq)
    return {
        "sensor_id": sensor,
        "sector_id": "north",
        "seq": seq,
        "measured_at": at,
        "ppv_tran_mm_s": peak / 2,
        "ppv_vert_mm_s": -peak,
        "ppv_long_mm_s": peak / 4,
        "rms_mm_s": rms,
        "pvs_mm_s": peak * 1.5,
    }


def hours_after(batches: Sequence[Sequence[Row]], together: int = 1) -> list[Row]:
    rows = derived(READING, HourlyStats(HOURS, 4), batches, "hour", together)
    return sorted(rows, key=lambda row: (row["sensor_id"], row["hour_at"]))


def test_an_hour_is_computed_from_its_readings() -> None:
    (hour,) = hours_after([[reading(0, 3.0, 1.0), reading(1, 4.0, 5.0)]])
    assert hour == {
        "sensor_id": "g1",
        "sector_id": "north",
        "hour_at": EPOCH,
        "readings": 2,
        "expected_readings": 4,
        "completeness": 0.5,
        "rms_mm_s": 3.535534,
        "ppv_mm_s": 5.0,
        "peak_pvs_mm_s": 7.5,
        "revision": 1,
    }


def test_a_late_file_raises_the_revision_of_its_hour_alone() -> None:
    batches = [[reading(0), reading(4)], [reading(1)]]
    assert [(h["readings"], h["revision"]) for h in hours_after(batches)] == [(2, 2), (1, 1)]


def test_an_identical_delivery_raises_no_revision() -> None:
    hours = hours_after([[reading(0), reading(1)], [reading(1), reading(0)], [reading(0)]])
    assert [(h["readings"], h["revision"]) for h in hours] == [(2, 1)]


def test_sensors_do_not_mix() -> None:
    hours = hours_after([[reading(0, sensor="g1"), reading(0, sensor="g2")]])
    assert [(h["sensor_id"], h["readings"]) for h in hours] == [("g1", 1), ("g2", 1)]


def plain(hours: list[Row]) -> list[Row]:
    return [{k: v for k, v in hour.items() if k != "revision"} for hour in hours]


READINGS = [reading(i, 1.0 + i / 7, 3.0 - i / 9, f"g{i % 2}") for i in range(12)]


@settings(max_examples=7, deadline=None)
@given(st.permutations(READINGS), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_hours_do_not_depend_on_how_readings_came(
    order: list[Row], size: int, together: int, repeated: int
) -> None:
    batches = [order[i : i + size] for i in range(0, len(order), size)] + [order[:repeated]]
    assert plain(hours_after(batches, together)) == plain(hours_after([READINGS]))


def after_versions(published: Any, by: Derivation, versions: Sequence[Sequence[Row]]) -> list[Row]:
    """Publish versions of one file, each in place of the one before; read what is derived."""
    with OPENED[-1]() as engine:
        warehouse, make = engine.warehouse, Batches(engine.lake, published)
        for ordinal, rows in enumerate(versions, 1):
            warehouse.publish([make.of(drop("f", ordinal), rows, derives=by)])
        rows: list[Row] = warehouse.read(by.target.name).to_pylist()
    return rows


def test_an_hour_that_a_replaced_file_leaves_empty_goes_with_it() -> None:
    hours = after_versions(READING, HourlyStats(HOURS, 4), [[reading(0)], [reading(4)]])
    assert [(h["hour_at"], h["readings"]) for h in hours] == [(EPOCH + timedelta(hours=1), 1)]


def test_an_hour_that_a_replaced_file_leaves_in_part_is_computed_again() -> None:
    versions = [[reading(0), reading(1)], [reading(1)]]
    (hour,) = after_versions(READING, HourlyStats(HOURS, 4), versions)
    assert (hour["readings"], hour["revision"]) == (1, 2)


def test_a_key_that_a_replaced_file_no_longer_changes_is_folded_again() -> None:
    first = [change("I", ("a", 1), 10, 1), change("I", ("b", 2), 20, 2)]
    second = [change("I", ("b", 2), 20, 2)]
    rows = after_versions(LOG, Fold(STATE), [first, second])
    assert [(row["site"], row["id"], row["value"]) for row in rows] == [("b", 2, 20)]
