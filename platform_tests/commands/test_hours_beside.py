"""Hours that an engine computes beside the warehouse: reconciled with readings, and rebuilt."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from platform_tests.company import Command, Company, at_home
from platform_tests.orchestration.rising import CONTRACT, SLOPE, TABLES, drop

from malacate.commands.rebuild import routes_of
from malacate.components.declared import raw_assets
from malacate.names import TableName
from malacate.warehouse.protocol import Marker

READINGS, HOURS = TABLES
TABLE = "raw_slope.vibration_hour"


@pytest.fixture
def slope() -> Iterator[Company]:
    """Eight hours of four sensors, one of them late, all computed."""
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        company = Company(Path(folder).resolve())
        declared = SLOPE[: SLOPE.index("  alarms:")] + "  engine: numpy\n"
        company.write("defs/slope/defs.yaml", declared)
        company.write("defs/slope/contract.odcs.yaml", CONTRACT)
        with at_home(company, SLOPE_DROPS=str(company.drops)):
            for name, hours in (("a", range(6)), ("b", [6, 7]), ("c", [2])):
                drop(company, name, hours, {"G1": 2.0 - (name == "c")})
                bring_up(company)
            yield company


def bring_up(slope: Company, *, with_hours: bool = True) -> None:
    (raw,) = raw_assets(slope.declarations)
    for route in list(routes_of(raw, slope.ingest))[: 1 + with_hours]:
        slope.ingest.run(route)


def found(malacate: Command) -> tuple[int, dict[str, Any]]:
    code, out, err = malacate("reconcile", "--json")
    assert out, err
    return code, {row["table"]: row for row in json.loads(out)}[HOURS]


def counts(told: dict[str, Any]) -> tuple[int, int, int, int]:
    return told["lost"], told["twice"], told["wrong"], told["behind"]


def tamper(slope: Company, statement: str) -> None:
    with slope.ingest.warehouse._open() as connection:
        connection.execute(statement)


def test_hours_are_what_is_computed_of_the_source(slope: Company, malacate: Command) -> None:
    code, told = found(malacate)
    assert (code, counts(told)) == (0, (0, 0, 0, 0))
    assert (told["source_rows"], told["target_rows"]) == (32, 32)


def test_hours_that_were_tampered_with_are_found(slope: Company, malacate: Command) -> None:
    tamper(slope, f"delete from {TABLE} where hour_at = '2026-11-01T03:00Z'")
    tamper(slope, f"insert into {TABLE} select * from {TABLE} where sensor_id = 'G2'")
    tamper(slope, f"update {TABLE} set tran_rms_mm_s = 2.5 where sensor_id = 'G1'")
    invented = f"select * replace ('G9' as sensor_id) from {TABLE} limit 1"
    tamper(slope, f"insert into {TABLE} {invented}")
    code, told = found(malacate)
    assert (code, counts(told)) == (1, (4, 7 + 1, 7, 0))


def test_hours_that_the_engine_has_still_to_compute_are_behind_and_no_others(
    slope: Company, malacate: Command
) -> None:
    drop(slope, "b", [7, 8], {})
    drop(slope, "d", [9], {}, alive=["G3"])
    bring_up(slope, with_hours=False)
    code, told = found(malacate)
    # Gone: hour 6. Another: G1 at 7. New: hours 8 and 9.
    assert (code, counts(told)) == (0, (0, 0, 0, 4 + 4 + 1 + 1))
    tamper(slope, f"update {TABLE} set tran_rms_mm_s = 2.5 where hour_at = '2026-11-01T03:00Z'")
    code, told = found(malacate)
    assert (code, counts(told)) == (1, (0, 0, 4, 10))
    bring_up(slope)
    assert counts(found(malacate)[1]) == (0, 0, 4, 0)


def test_hours_that_nobody_computed_yet_are_lost_so_far(slope: Company, malacate: Command) -> None:
    Path(slope.ingest.warehouse.location).unlink()
    bring_up(slope, with_hours=False)
    code, told = found(malacate)
    assert (code, counts(told)) == (1, (32, 0, 0, 0))


def everything(slope: Company) -> tuple[Any, ...]:
    lake = slope.folder / "home" / "lake"
    files = {path: path.read_bytes() for path in lake.rglob("*") if path.is_file()}
    loads = slope.rows("malacate.loads", "*")
    return slope.rows(TABLE, "*"), loads, files, slope.ingest.ledger.batches()


def test_reconciling_hours_changes_nothing(slope: Company, malacate: Command) -> None:
    before = everything(slope)
    found(malacate)
    assert everything(slope) == before


def test_hours_of_a_warehouse_that_was_lost_are_rebuilt_as_they_were(
    slope: Company, malacate: Command
) -> None:
    before = slope.rows(TABLE, "*")
    assert {row["revision"] for row in before} == {1, 2}
    Path(slope.ingest.warehouse.location).unlink()
    shutil.rmtree(slope.drops)
    slope.drops.mkdir()
    code, out, _ = malacate("rebuild", "warehouse", "--json")
    landings = {row["table"]: row["landings"] for row in json.loads(out)}
    assert (code, landings) == (0, {READINGS: 3, HOURS: 3})
    assert slope.rows(TABLE, "*") == before
    assert counts(found(malacate)[1]) == (0, 0, 0, 0)
    bring_up(slope)
    assert slope.rows(TABLE, "*") == before


def test_hours_from_before_their_engine_come_back_after_a_rebuild(
    slope: Company, malacate: Command
) -> None:
    declared = (slope.declarations / "slope/defs.yaml").read_text()
    Path(slope.ingest.warehouse.location).unlink()
    shutil.rmtree(slope.folder / "home")
    slope.write("defs/slope/defs.yaml", declared.replace("engine: numpy", "engine: duckdb"))
    bring_up(slope)
    slope.write("defs/slope/defs.yaml", declared)
    drop(slope, "d", [8], {})
    bring_up(slope)
    before = slope.rows(TABLE, "* exclude (revision, _batch_id)")
    assert len(before) == 36
    assert malacate("rebuild", "warehouse")[0] == 0
    bring_up(slope)
    assert slope.rows(TABLE, "* exclude (revision, _batch_id)") == before
    assert (found(malacate)[0], len(slope.rows(TABLE, "*"))) == (0, 36)


def test_a_landing_that_is_gone_hides_no_other_difference(
    slope: Company, malacate: Command
) -> None:
    (slope.drops / "b.csv").unlink()
    drop(slope, "b", [7], {"G1": 2.0})
    bring_up(slope, with_hours=False)
    lake = slope.ingest.lake
    (gone,) = (
        one for one in lake.landings("raw_slope", "vibration")
        if one.batch_id not in {m.batch_id for m in current(slope)}
    )  # fmt: skip
    lake.withdraw(gone)
    code, told = found(malacate)
    assert (code, counts(told)) == (1, (0, 4, 0, 0))


def current(slope: Company) -> list[Marker]:
    markers = slope.ingest.warehouse.markers(TableName("raw_slope", "vibration")).values()
    return [marker for marker in markers if marker.is_current]


def test_a_ledger_that_was_lost_knows_the_hours_again(slope: Company, malacate: Command) -> None:
    for path in (slope.folder / "home").glob("ledger.sqlite*"):
        path.unlink()
    assert malacate("rebuild", "ledger")[0] == 0
    known = [one["table_name"] for one in slope.ingest.ledger.batches()]
    assert sorted(known) == ["vibration"] * 3 + ["vibration_hour"] * 3
    drop(slope, "d", [8], {})
    bring_up(slope)
    assert counts(found(malacate)[1]) == (0, 0, 0, 0)
