"""The mine's drops and contracts: files against their truth, and both against what is promised."""

import json
import re
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from open_data_contract_standard.model import OpenDataContractStandard
from psycopg.rows import dict_row

from acme.simulator import geophones, lab
from acme.simulator.mine import Mine
from acme.simulator.plant import TABLES as PLANT
from acme.simulator.replication import STREAMED
from acme.simulator.tables import TABLES
from acme.simulator.world import World
from malacate.contracts.odcs import read_contract

DEFS = Path(__file__).parents[2] / "platform" / "acme" / "defs"
SOURCES = ("production", "lab", "datastream", "geophones", "plant", "mobile")
TICKS = 13


@pytest.fixture(scope="module")
def lived() -> Iterator[tuple[Mine, Path]]:
    """A mine after half a day: every kind of change and file was seen."""
    with tempfile.TemporaryDirectory(prefix="mine-") as folder:
        home = Path(folder)
        mine = Mine(home)
        mine.start(scale=0.1)
        mine.tick(TICKS)
        yield mine, home
        mine.stop()


def events(home: Path, table: str) -> list[dict[str, Any]]:
    found = []
    for path in sorted((home / "drops" / "datastream" / f"app_{table}").rglob("*.avro")):
        with path.open("rb") as file:
            found += [{**event, "_path": path} for event in fastavro.reader(file)]
    return found


def position(event: dict[str, Any]) -> tuple[int, int]:
    high, low = (event["source_metadata"]["lsn"] or "0/0").split("/")
    return int(high, 16), int(low, 16)


def folded(home: Path, table: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What stands after all events, in the order of the log."""
    state: dict[tuple[Any, ...], dict[str, Any]] = {}
    for event in sorted(events(home, table), key=position):
        key = tuple(event["payload"][name] for name in TABLES[table].key)
        if event["source_metadata"]["is_deleted"]:
            state.pop(key, None)
        else:
            state[key] = event["payload"]
    return state


@pytest.mark.parametrize("table", STREAMED)
def test_the_change_files_fold_to_the_app_and_to_the_truth(
    lived: tuple[Mine, Path], table: str
) -> None:
    mine, home = lived
    with psycopg.connect(mine.systems().production_url, row_factory=dict_row) as connection:
        listed = connection.execute(f"SELECT * FROM app.{table}".encode()).fetchall()
    key = TABLES[table].key
    app = {tuple(row[name] for name in key): row for row in listed}
    known = pq.read_table(home / "truth" / "datastream" / f"{table}.parquet").to_pylist()
    assert folded(home, table) == app == {tuple(row[name] for name in key): row for row in known}


def test_change_files_hold_every_trap_that_a_reader_must_survive(
    lived: tuple[Mine, Path],
) -> None:
    found = events(lived[1], "haul_cycle")
    kinds = {event["source_metadata"]["change_type"] for event in found}
    assert kinds == {"INSERT", "UPDATE", "DELETE", "UPDATE-INSERT", "UPDATE-DELETE"}
    assert {event["read_method"] for event in found} == {"postgresql-cdc", "postgresql-backfill"}
    assert len({event["uuid"] for event in found}) < len(found)
    logged = [event for event in found if event["source_metadata"]["lsn"]]
    as_text = sorted(logged, key=lambda event: event["source_metadata"]["lsn"])
    assert [position(event) for event in as_text] != sorted(position(event) for event in logged)


def test_a_late_change_file_lands_in_an_old_folder_with_an_old_position(
    lived: tuple[Mine, Path],
) -> None:
    world, found = World(7, 0.1), events(lived[1], "haul_cycle")
    late = [event for event in found if re.search(r"_3_99_0\.avro$", event["_path"].name)]
    before = [event for event in found if "-cdc_2_" in event["_path"].name]
    assert len(late) == 2
    assert late[0]["_path"].parent.name == f"{world.after(2):%M}"
    assert late[0]["_path"].parent.parent.name == f"{world.after(2):%H}"
    for event in late:
        same = [e for e in before if e["payload"]["cycle_id"] == event["payload"]["cycle_id"]]
        assert position(event) < max(map(position, same))
    assert {e["source_metadata"]["tx_id"] for e in (*late, *before)} == {
        late[0]["source_metadata"]["tx_id"]
    }


def test_the_plant_is_as_its_truth_says(lived: tuple[Mine, Path]) -> None:
    mine, home = lived
    with psycopg.connect(mine.systems().plant_url, row_factory=dict_row) as connection:
        for name, table in PLANT.items():
            listed = connection.execute(f"SELECT * FROM dbo.{name}".encode()).fetchall()
            known = pq.read_table(home / "truth" / "plant" / f"{name}.parquet").to_pylist()
            by_key = [
                {tuple(row[key] for key in table.key): row for row in some}
                for some in (listed, known)
            ]
            assert len(listed) > 30
            assert by_key[0] == by_key[1]
        captured = 'SELECT DISTINCT "__$operation" AS what FROM cdc."dbo_work_order_CT"'
        assert {row["what"] for row in connection.execute(captured)} == {1, 2, 3, 4}


def test_change_events_have_the_shape_of_a_real_one(lived: tuple[Mine, Path]) -> None:
    (event, *_) = [e for e in events(lived[1], "status_event") if e["source_metadata"]["lsn"]]
    assert list(event)[:-1] == [
        "uuid", "read_timestamp", "source_timestamp", "object", "read_method", "stream_name",
        "schema_key", "sort_keys", "source_metadata", "payload",
    ]  # fmt: skip
    milliseconds, lsn = event["sort_keys"]
    assert milliseconds == event["source_timestamp"].timestamp() * 1000
    assert lsn == event["source_metadata"]["lsn"]
    assert event["source_metadata"]["primary_keys"] == ["equipment_id", "from_at"]
    assert len(event["uuid"]) == 36


def test_a_laboratory_file_holds_what_its_truth_says(lived: tuple[Mine, Path]) -> None:
    drops, truth = lived[1] / "drops" / "lab", lived[1] / "truth" / "lab"
    seen = set()
    for known in (json.loads(path.read_text()) for path in sorted(truth.glob("*.json"))):
        with (drops / known["file"]).open("rb") as file:
            reader = fastavro.reader(file)
            rows = list(reader)
            seen.add((known["schema_version"], reader.codec))
            assert reader.codec == known["codec"]
        assert len(rows) == known["rows"] == known["good_rows"] + len(known["bad_rows"])
        for bad in known["bad_rows"]:
            assert rows[bad["row"]][bad["column"]] == Decimal(bad["value"])
        bad_rows = {bad["row"] for bad in known["bad_rows"]}
        sound = [row for place, row in enumerate(rows) if place not in bad_rows]
        good = pq.read_table(truth / f"{Path(known['file']).stem}.parquet").to_pylist()
        for delivered, expected in zip(sound, good, strict=True):
            lithology = delivered.pop("lith", None) or delivered["lithology"]
            assert {**expected, **delivered, "lithology": lithology} == expected
    assert {version for version, _ in seen} == {1, 2, 3}
    assert {codec for _, codec in seen} == set(lab.CODECS)


def test_q_follows_from_its_six_parameters() -> None:
    for row in lab.RockFile(World(7, 1.0), 2).rows():
        q = float(row["rqd_pct"]) / row["jn"] * row["jr"] / row["ja"] * row["jw"] / row["srf"]
        assert row["q"] == pytest.approx(q, rel=0.01)


def test_a_corrected_file_keeps_its_name_and_changes_one_row() -> None:
    world = World(7, 1.0)
    (new,), (corrected,) = lab.due(world, 24), lab.due(world, 30)
    assert (new.name, new.revision, corrected.revision) == (corrected.name, 0, 1)
    before, after = new.rows(), corrected.rows()
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
    assert lab.due(world, 25) == []
    assert new.day == world.end.date()


def test_the_truth_of_an_hour_follows_from_the_files_that_arrived(
    lived: tuple[Mine, Path],
) -> None:
    world, home = World(7, 0.1), lived[1]
    for hour, revision in ((0, 2), (1, 1), (12, 1)):
        at = world.after(hour)
        folder = home / "drops" / "geophones" / "vibration" / f"{at:%Y-%m-%d}" / f"{at:%H}"
        read = pa.concat_tables([pq.read_table(path) for path in sorted(folder.iterdir())])
        sound = read.filter(
            pc.and_(pc.greater_equal(read["ppv_tran_mm_s"], 0), pc.is_finite(read["rms_mm_s"]))
        )
        once = sound.group_by(["sensor_id", "seq"]).aggregate([("pvs_mm_s", "max")])
        found = once.group_by("sensor_id").aggregate([("seq", "count"), ("pvs_mm_s_max", "max")])
        known = pq.read_table(
            home / "truth" / "geophones" / f"vibration_hour_{at:%Y%m%dT%H}.parquet"
        )
        joined = found.sort_by("sensor_id")
        assert joined["seq_count"].to_pylist() == known["readings"].to_pylist()
        assert joined["pvs_mm_s_max_max"].to_pylist() == known["peak_pvs_mm_s"].to_pylist()
        assert read.num_rows > sound.num_rows > once.num_rows
        assert set(known["revision"].to_pylist()) == {revision}
        assert 0.9 < pc.mean(known["completeness"]).as_py() < 1


def test_the_vector_sum_lies_between_the_largest_axis_and_root_three_times_it() -> None:
    for number in (0, 5):
        rows = geophones.minute(World(7, 1.0), 18, number).rows
        axes = np.array(
            [rows[n].to_numpy() for n in ("ppv_tran_mm_s", "ppv_vert_mm_s", "ppv_long_mm_s")]
        )
        pvs, largest = rows["pvs_mm_s"].to_numpy(), axes.max(axis=0)
        assert (pvs >= largest).all()
        assert (pvs <= largest * np.sqrt(3) + 1e-9).all()


def test_of_the_geophones_one_runs_fast_one_is_frozen_and_one_falls_silent() -> None:
    world = World(7, 1.0)
    fast, frozen, silent = (
        geophones.IDS[i] for i in (geophones.FAST, geophones.FROZEN, geophones.SILENT)
    )
    made = geophones.minute(world, 5, 30)
    ahead = [row for row in made.rows.to_pylist() if row["sensor_id"] == fast]
    assert ahead
    begin = world.after(5) + timedelta(minutes=30)
    assert all(row["measured_at"] - begin > timedelta(seconds=300) for row in ahead)
    assert [bad["sensor_id"] for bad in made.bad_rows] == [fast] * len(ahead)
    assert {bad["reason"] for bad in made.bad_rows} == {"clock_skew"}
    still = {
        (row["ppv_tran_mm_s"], row["ppv_vert_mm_s"], row["ppv_long_mm_s"])
        for row in made.rows.to_pylist()
        if row["sensor_id"] == frozen
    }
    assert len(still) == 1
    for hour, is_heard in ((1, True), (2, False), (40, False)):
        ids = geophones.minute(world, hour, 30).rows["sensor_id"].to_pylist()
        assert (silent in ids) == is_heard


def test_planted_readings_are_told_with_their_reason() -> None:
    for number, reason in ((7, "below_minimum"), (13, "not_finite")):
        made = geophones.minute(World(7, 1.0), 3, number)
        (bad,) = made.bad_rows
        assert bad["reason"] == reason
        row = made.rows.slice(bad["row"], 1).to_pylist()[0]
        assert (row["sensor_id"], row["seq"]) == (bad["sensor_id"], bad["seq"])
        assert row["ppv_tran_mm_s"] == geophones.SENTINEL or np.isnan(row["rms_mm_s"])


def test_no_unfinished_file_is_left(lived: tuple[Mine, Path]) -> None:
    assert not list(lived[1].rglob(".tmp-*"))


@pytest.mark.parametrize("source", SOURCES)
def test_a_contract_is_one_of_the_open_standard(source: str) -> None:
    path = DEFS / source / "contract.odcs.yaml"
    contract = OpenDataContractStandard(**yaml.safe_load(path.read_text()))
    assert contract.kind == "DataContract"
    tables = read_contract(path, source)
    assert all(t.owner and t.fresh_within and t.key and t.description for t in tables.values())
    for table in tables.values():
        assert all(column.classification and column.description for column in table.columns)


def test_the_production_contract_promises_what_the_catalog_says(lived: tuple[Mine, Path]) -> None:
    catalog = """
        SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, k.place
        FROM pg_attribute a LEFT JOIN (
            SELECT indrelid, key, place FROM pg_index, unnest(indkey) WITH ORDINALITY u(key, place)
            WHERE indisprimary
        ) k ON k.indrelid = a.attrelid AND k.key = a.attnum
        WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
    """
    names = {"text": "varchar", "timestamp with time zone": "timestamptz"}
    tables = read_contract(DEFS / "production" / "contract.odcs.yaml", "production")
    with psycopg.connect(lived[0].systems().production_url) as connection:
        for table in tables.values():
            found = connection.execute(catalog, [table.physical_name]).fetchall()
            promised = [
                (
                    c.name,
                    c.sql_type,
                    c.required,
                    table.key.index(c.name) + 1 if c.name in table.key else None,
                )
                for c in table.columns
            ]
            types = [
                (n, names.get(t, t).replace("numeric", "decimal"), r, k) for n, t, r, k in found
            ]
            assert types == promised
        listed = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'app'")
        assert {name for (name,) in listed} == {*tables, "clock"}


def test_the_file_contracts_promise_what_the_files_hold(lived: tuple[Mine, Path]) -> None:
    contracts = {s: read_contract(DEFS / s / "contract.odcs.yaml", s) for s in SOURCES}
    for name, table in contracts["datastream"].items():
        assert table.columns == contracts["production"][name].columns
        assert [(f.name, f.type) for f in TABLES[name].schema] == _typed(table.schema)
    assert _typed(contracts["lab"]["rock_quality"].schema) == _typed(lab.SCHEMA)
    for name, table in contracts["plant"].items():
        assert _typed(PLANT[name].schema) == _typed(table.schema)
    drops = lived[1] / "drops" / "geophones"
    file = next(drops.rglob("*.parquet"))
    assert _typed(pq.read_schema(file)) == _typed(contracts["geophones"]["vibration"].schema)
    truth = next((lived[1] / "truth" / "geophones").glob("*.parquet"))
    assert _typed(pq.read_schema(truth)) == _typed(contracts["geophones"]["vibration_hour"].schema)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_version_of_a_laboratory_file_is_one_the_contract_explains(version: int) -> None:
    contract = read_contract(DEFS / "lab" / "contract.odcs.yaml", "lab")["rock_quality"]
    fields = {field["name"] for field in lab.avro_schema(version)["fields"]}
    for column in contract.columns:
        names = {column.name, *column.aliases}
        assert len(names & fields) == 1 or column.since
        fields -= names
    assert not fields


def _typed(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]
