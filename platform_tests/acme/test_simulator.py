"""The mine's app: a real Postgres, hours that pass, the same again for the same seed."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import psycopg
import pyarrow as pa
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from acme.simulator import datastream, lab
from acme.simulator.commands import simulate
from acme.simulator.history import history
from acme.simulator.mine import Mine, TickReport
from acme.simulator.plant import TABLES as PLANT
from acme.simulator.replication import Log
from acme.simulator.tables import TABLES
from acme.simulator.truth import Truth
from acme.simulator.world import RATED_PAYLOAD_T, World

SCALE, TICKS = 0.1, 6


@pytest.fixture
def place() -> Iterator[Path]:
    # Not tmp_path: each pytest session closes that folder's parent to other users, and under
    # root Postgres runs as one of them, so sessions at the same time would lock it out.
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def deep() -> Iterator[Path]:
    """A folder whose path is too long for the name of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        yield Path(folder) / ("d" * 60) / ("e" * 60) / "mine"


@pytest.fixture(scope="module")
def lived(deep: Path) -> Iterator[tuple[Mine, list[TickReport], set[str]]]:
    mine = Mine(deep)
    mine.start(scale=SCALE)
    before = {f"{key}" for key in _keys(mine)}
    yield mine, [mine.tick() for _ in range(TICKS)], before
    mine.stop()


@pytest.fixture
def mine(lived: tuple[Mine, list[TickReport], set[str]]) -> Mine:
    return lived[0]


def rows(mine: Mine, query: str, owner: str = "app") -> list[dict[str, Any]]:
    systems = mine.systems()
    url = systems.production_url if owner == "app" else systems.plant_url
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return connection.execute(query.encode()).fetchall()


def one(mine: Mine, query: str) -> Any:
    (row,) = rows(mine, query)
    return next(iter(row.values()))


def _keys(mine: Mine) -> list[int]:
    return [row["cycle_id"] for row in rows(mine, "SELECT cycle_id FROM app.haul_cycle")]


def contents(mine: Mine, of_changes: Callable[[Path], bytes] = Path.read_bytes) -> dict[str, str]:
    """Each table and each file, by a digest of all that is in it."""
    found = {}
    for name, table in (*TABLES.items(), *PLANT.items()):
        query = f"SELECT * FROM {table.owner}.{name} ORDER BY {', '.join(table.key)}"
        found[name] = hashlib.sha256(repr(rows(mine, query, table.owner)).encode()).hexdigest()
    folder = mine.systems().drops
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        read = of_changes if path.suffix == ".avro" and "datastream" in str(path) else _bytes
        found[str(path.relative_to(folder))] = hashlib.sha256(read(path)).hexdigest()
    return found


def _bytes(path: Path) -> bytes:
    return path.read_bytes()


def without_positions(path: Path) -> bytes:
    """Of a change file, all but where its events stand in the log of its own server."""
    with path.open("rb") as file:
        events = [dict(event) for event in fastavro.reader(file) if isinstance(event, dict)]
    for event in events:
        told = event["source_metadata"]
        told["tx_id"] = told["lsn"] = event["sort_keys"][1] = None
    return repr(events).encode()


def test_the_same_seed_gives_the_same_rows_and_the_same_bytes(mine: Mine, place: Path) -> None:
    twin = Mine(place / "twin")
    twin.start(scale=SCALE)
    try:
        twin.tick(TICKS)
        assert contents(twin, without_positions) == contents(mine, without_positions)
    finally:
        twin.stop()


class Killed(Exception):
    pass


def cut_off(mine: Mine, monkeypatch: pytest.MonkeyPatch, whose: Any, where: str) -> None:
    """A tick that dies as it comes to ``where``."""

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(whose, where, killed)
        with pytest.raises(Killed):
            mine.tick()


@pytest.mark.parametrize("where", ["stream", "forget", "note_state"])
def test_a_tick_that_was_cut_off_is_told_by_the_next_start(
    mine: Mine, place: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    twin = Mine(place / "twin")
    twin.start(scale=SCALE)
    whose: Any = {"stream": datastream, "forget": Log, "note_state": Truth}[where]
    try:
        twin.tick(2)
        cut_off(twin, monkeypatch, whose, where)
        assert twin.start() == twin.systems()
        twin.tick(TICKS - 3)
        assert contents(twin, without_positions) == contents(mine, without_positions)
    finally:
        twin.stop()


def test_a_tick_that_came_to_nothing_is_lived_again(
    mine: Mine, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = Mine(place / "twin")
    twin.start(scale=SCALE)
    try:
        twin.tick(2)
        cut_off(twin, monkeypatch, lab, "due")
        twin.tick(TICKS - 2)
        assert contents(twin, without_positions) == contents(mine, without_positions)
    finally:
        twin.stop()


def test_another_seed_gives_other_rows() -> None:
    assert history(World(7, 0.05))["haul_cycle"] != history(World(8, 0.05))["haul_cycle"]


def test_starting_again_seeds_nothing_again(mine: Mine) -> None:
    before = contents(mine)
    assert mine.start(seed=99, scale=3.0) == mine.systems()
    assert contents(mine) == before


def test_a_stopped_mine_starts_where_it_stood(mine: Mine) -> None:
    before = contents(mine)
    mine.stop()
    assert not mine.is_running()
    with pytest.raises(RuntimeError, match="malacate simulate start"):
        mine.systems()
    mine.start()
    assert mine.is_running()
    assert contents(mine) == before


def test_the_database_can_be_replicated_logically_and_keeps_fsync(mine: Mine) -> None:
    assert one(mine, "SHOW wal_level") == "logical"
    assert one(mine, "SHOW fsync") == "on"


def test_hours_bring_inserts_updates_and_deletes(
    lived: tuple[Mine, list[TickReport], set[str]],
) -> None:
    for report in lived[1]:
        assert {"haul_cycle", "status_event", "assay", "crusher_hour"} <= report.inserted.keys()
        assert {"haul_cycle", "status_event", "assay"} <= report.updated.keys()
        assert report.deleted["haul_cycle"] >= 2
        assert {"datastream", "geophones"} <= report.files.keys()
    assert [report.ticks for report in lived[1]] == list(range(1, TICKS + 1))


def test_an_hour_removes_a_cycle_for_good_and_brings_another_back_under_its_key(
    lived: tuple[Mine, list[TickReport], set[str]],
) -> None:
    mine, reports, before = lived
    gone = before - {str(key) for key in _keys(mine)}
    deleted = sum(report.deleted["haul_cycle"] for report in reports)
    assert 0 < len(gone) < deleted


def test_what_an_hour_writes_is_newer_than_all_before(mine: Mine) -> None:
    start = World(7, SCALE).end
    for table in ("haul_cycle", "status_event", "assay"):
        written = rows(mine, f"SELECT updated_at, count(*) FROM app.{table} GROUP BY 1 ORDER BY 1")
        late = [row["updated_at"] for row in written if row["updated_at"] > start]
        assert len(late) == TICKS
        assert all(at.minute == at.second == 0 for at in late)
    assert one(mine, "SELECT now_at FROM app.clock") == World(7, SCALE).after(TICKS)


def test_status_events_tile_the_time_of_every_machine(mine: Mine) -> None:
    broken = """
        SELECT * FROM (
            SELECT *, lead(from_at) OVER (PARTITION BY equipment_id ORDER BY from_at) AS next_at
            FROM app.status_event
        ) e WHERE to_at IS DISTINCT FROM next_at OR to_at <= from_at
    """
    assert rows(mine, broken) == []
    first = rows(
        mine, "SELECT DISTINCT min(from_at) AS at FROM app.status_event GROUP BY equipment_id"
    )
    assert [row["at"] for row in first] == [World(7, SCALE).start]


def test_cycles_last_as_long_as_their_parts_and_never_overlap(mine: Mine) -> None:
    parts = "queue_load_s + spot_s + load_s + haul_s + queue_dump_s + dump_s + return_s"
    wrong = f"""
        SELECT * FROM (
            SELECT *, lead(started_at) OVER (PARTITION BY truck_id ORDER BY started_at) AS next_at,
                extract(epoch FROM ended_at - started_at) AS lasted_s
            FROM app.haul_cycle
        ) c WHERE lasted_s <> {parts} OR next_at < ended_at OR lasted_s NOT BETWEEN 720 AND 3600
    """
    assert rows(mine, wrong) == []


def test_cycles_happen_only_while_the_truck_operates(mine: Mine) -> None:
    elsewhere = """
        SELECT c.cycle_id FROM app.haul_cycle c JOIN app.status_event e
        ON e.equipment_id = c.truck_id AND e.tum_code <> 'operating'
        AND c.started_at < coalesce(e.to_at, 'infinity') AND c.ended_at > e.from_at
    """
    assert rows(mine, elsewhere) == []


def test_payloads_lie_around_the_rating_and_a_few_are_overloads(mine: Mine) -> None:
    found = rows(mine, "SELECT model, payload_t FROM app.haul_cycle JOIN app.equipment ON "
                       "truck_id = equipment_id")  # fmt: skip
    shares = [float(row["payload_t"]) / RATED_PAYLOAD_T[row["model"]] for row in found]
    within = sum(0.95 <= share <= 1.10 for share in shares) / len(shares)
    assert within > 0.93
    assert min(shares) > 0.85
    assert 1.2 < max(shares) < 1.4


def test_history_fits_the_columns_that_the_app_declares() -> None:
    for name, table in history(World(7, 0.05)).items():
        table.validate(full=True)
        assert table.schema == TABLES[name].schema
        for field in table.schema:
            assert field.nullable or table[field.name].null_count == 0


def test_a_larger_scale_gives_more_of_everything_that_moves() -> None:
    small, large = history(World(7, 1.0)), history(World(7, 4.0))
    for name in ("haul_cycle", "status_event", "assay"):
        assert 3 < large[name].num_rows / small[name].num_rows < 5


def test_decimals_are_exact_and_negative_ones_too() -> None:
    from acme.simulator.columns import column

    made = column([1.1, -2.25, float("nan")], pa.decimal128(6, 2))
    assert made.to_pylist() == [Decimal("1.10"), Decimal("-2.25"), None]


def test_the_commands_start_tick_and_stop_and_say_where_the_systems_are(place: Path) -> None:
    def run(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(simulate, [*arguments, "--home", str(place), "--json"])
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.stdout))

    (place / "env").write_text("OTHER=kept\n")
    assert run("status") == {"running": False}
    started = run("start", "--scale", "0.05")
    try:
        env = (place / "env").read_text().splitlines()
        assert env == [
            "OTHER=kept",
            f"ACME_PRODUCTION_URL={started['production_url']}",
            f"ACME_PLANT_URL={started['plant_url']}",
            f"ACME_DROPS={started['drops']}",
        ]
        assert (place / "env").stat().st_mode & 0o777 == 0o600
        assert run("tick", "--hours", "2")["ticks"] == 2
        assert run("status")["ticks"] == 2
    finally:
        assert run("stop") == {"running": False}
    failed = CliRunner().invoke(simulate, ["tick", "--home", str(place)])
    assert failed.exit_code == 1
