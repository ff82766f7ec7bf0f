"""A trend of hours is told once by ``ops/alarms``, whatever comes late, twice or is run again."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from platform_tests.alarms.hook import Hook, alarms_after
from platform_tests.company import Company, at_home, run_to_end
from platform_tests.orchestration.rising import (
    CONTRACT,
    HOURLY,
    OPS,
    READINGS,
    SENSORS,
    SLOPE,
    STREAM,
    TABLES,
    drop,
    held,
    opened,
    send,
)

from malacate.errors import ConfigError
from malacate.ledger.aside import put_aside
from malacate.names import TableName
from malacate.warehouse.duckdb import DuckDBWarehouse


@pytest.fixture
def slope(tmp_path: Path, hook: Hook) -> Iterator[Company]:
    company = Company(tmp_path)
    company.write("defs/slope/defs.yaml", SLOPE)
    company.write("defs/slope/contract.odcs.yaml", CONTRACT)
    company.write("defs/alarms.py", alarms_after(READINGS))
    with at_home(company, SLOPE_DROPS=str(company.drops), SLOPE_HOOK=hook.url):
        yield company


def test_what_rises_is_told_once_while_it_lasts_and_of_a_sector_as_one(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], len(hook.came)) == (0, 0)
    drop(slope, "a", range(8, 10), {"G1": 2.0, "G2": 1.8})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], told["open_trend_tran_rms_mm_s"]) == (2, 2)
    drop(slope, "b", range(10, 12), {"G1": 2.5, "G2": 1.8})
    drop(slope, "a_again", range(8, 10), {"G1": 2.0, "G2": 1.8})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], told["open_incidents"]) == (0, 2)
    (came,) = (body for _, body, _ in hook.came)
    assert (came["table"], came["rule"]) == ("raw/slope/vibration_hour", "trend_tran_rms_mm_s")
    assert [one["subject"] for one in came["incidents"]] == ["G1", "G2"]
    assert came["incidents"][0] | {"key": "", "limit": 0} == {
        "key": "", "subject": "G1", "opened_at": "2026-11-01T09:00:00.000+00:00",
        "value": 2.0, "limit": 0, "unit": "mm/s",
    }  # fmt: skip
    assert came["incidents"][0]["limit"] == pytest.approx(1.5)


def test_an_hour_is_judged_once_enough_of_it_came(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 9), {"G1": 2.0})
    drop(slope, "half", range(9, 10), {"G1": 2.0}, quarters=3)
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == []
    drop(slope, "whole", range(9, 10), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == [("G1", "trend_tran_rms_mm_s")]


def test_late_readings_that_make_a_trend_are_news_within_the_bound(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "since", range(10, 40), {})
    run_to_end(slope, [*TABLES, OPS], instance)
    drop(slope, "late", range(8, 10), {"G3": 9.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert opened(slope) == [("G3", "trend_tran_rms_mm_s")]
    assert hook.named("opened_at") == ["2026-11-01T09:00:00.000+00:00"]


def test_after_the_ledger_was_lost_a_trend_is_told_again_under_its_key(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 12), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    put_aside(f"sqlite:///{slope.folder / 'home' / 'ledger.sqlite'}", "lost")
    slope.ingest.rebuild(slope.route(READINGS))
    run_to_end(slope, [OPS], instance)
    first, again = hook.keys()
    assert first == again


def test_one_clock_that_runs_ahead_neither_hides_a_trend_nor_makes_it_old(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    slope.drop("ahead.csv", "sensor_id,seq,measured_at,sector_id,ppv_mm_s\n"
               "G4,1,2027-11-01T00:00:00Z,N1,1.0\n")  # fmt: skip
    drop(slope, "a", range(8, 10), {"G1": 2.0})
    run_to_end(slope, [*TABLES, OPS], instance)
    assert hook.named() == ["G1"]


def test_a_trend_is_told_where_most_sensors_have_died(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    run_to_end(slope, [*TABLES, OPS], instance)
    drop(slope, "a", range(8, 200), {"G1": 1.0}, alive=["G1", "G2"])
    drop(slope, "b", range(200, 202), {"G1": 2.0}, alive=["G1", "G2"])
    run_to_end(slope, [*TABLES, OPS], instance)
    assert hook.named() == ["G1"]


def test_of_a_long_history_only_hours_that_are_news_are_judged_and_by_all_before_them(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    slope.write("defs/slope/defs.yaml", SLOPE.replace("before_hours: 6", "before_hours: 24"))
    for day in range(6):
        drop(slope, f"loud{day}", range(24 * day, 24 * day + 13), dict.fromkeys(SENSORS, 2.0))
        drop(slope, f"calm{day}", range(24 * day + 13, 24 * day + 24), {})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], hook.came) == (0, [])
    drop(slope, "risen", range(30, 40), {"G2": 9.0})
    drop(slope, "now", range(144, 147), {"G3": 9.0})
    told = run_to_end(slope, [*TABLES, OPS], instance).metadata(OPS)
    assert (told["incidents_opened"], hook.named()) == (1, ["G3"])


def test_a_warehouse_that_is_busy_delays_no_alarm_of_readings(
    slope: Company, hook: Hook, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = SLOPE.replace("    webhook", "    silent_seconds: 5000\n    webhook")
    slope.write("defs/slope/defs.yaml", declared)
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 11), {"G1": 2.0}, alive=["G1", "G2", "G3"])
    run_to_end(slope, TABLES, instance)
    with held(slope.folder / "home" / "warehouse.duckdb"):
        monkeypatch.setattr(DuckDBWarehouse.__init__, "__defaults__", (0.2,))
        ran = run_to_end(slope, [OPS], instance)
    assert hook.named() == ["G4"]
    assert ran.failed() == {"every_batch_is_judged"}
    told = ran.checks()["every_batch_is_judged"].metadata
    assert "raw/slope/vibration_hour" in str(told["why"].value)
    assert run_to_end(slope, [OPS], instance).failed() == set()
    assert hook.named() == ["G4", "G1"]


def test_a_webhook_that_refuses_is_told_of_though_hours_are_judged_after_it(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    hook.answer = lambda: 500
    declared = SLOPE.replace("    webhook", "    silent_seconds: 5000\n    webhook")
    slope.write("defs/slope/defs.yaml", declared)
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 11), {}, alive=["G1", "G2", "G3"])
    ran = run_to_end(slope, [*TABLES, OPS], instance)
    assert ran.failed() == {"every_alarm_is_sent"}
    assert "500" in str(ran.checks()["every_alarm_is_sent"].metadata["why"].value)


def test_hours_that_are_computed_beside_the_warehouse_have_trends(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    declared = SLOPE.replace("  resolution: 0.1", "  resolution: 0.1\n  engine: numpy")
    slope.write("defs/slope/defs.yaml", declared)
    drop(slope, "calm", range(8), {})
    drop(slope, "a", range(8, 10), {"G1": 2.0})
    run_to_end(slope, [READINGS, OPS], instance)
    assert hook.came == []
    run_to_end(slope, TABLES[1:], instance)
    run_to_end(slope, [OPS], instance)
    assert hook.named() == ["G1"]


def test_a_stream_that_is_given_hours_has_trends_from_then_on(
    slope: Company, hook: Hook, instance: dg.DagsterInstance
) -> None:
    slope.write("defs/slope/defs.yaml", STREAM)
    send(slope, "before", range(8), 1.0)
    run_to_end(slope, [READINGS, OPS], instance)
    slope.write("defs/slope/defs.yaml", STREAM + HOURLY)
    del slope.definitions
    ran = run_to_end(slope, [OPS], instance)
    assert (ran.failed(), ran.metadata(OPS)["batches_judged"]) == (set(), 1)
    send(slope, "calm", range(8, 16), 1.0)
    send(slope, "a", range(16, 18), 2.0)
    run_to_end(slope, [*TABLES, OPS], instance)
    assert hook.named() == ["G1"]


def test_the_hours_that_are_judged_are_not_judged_again(
    slope: Company, instance: dg.DagsterInstance
) -> None:
    drop(slope, "calm", range(8), {})
    run_to_end(slope, [*TABLES, OPS], instance)
    warehouse = slope.ingest.warehouse
    warehouse.query(f"drop table {TableName('raw_slope', 'vibration_hour').sql('duckdb')}")
    told = run_to_end(slope, [OPS], instance).metadata(OPS)
    assert told["batches_judged"] == 0


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        ("column: tran_rms_mm_s", "column: nothing", "cannot be judged by 'nothing'"),
        ("column: tran_rms_mm_s", "column: sector_id", "cannot be judged by 'sector_id'"),
        ("times: 1.5", "times: 1", "greater than 1"),
        ("before_hours: 6", "before_hours: 0", "greater than or equal to 1"),
    ],
)
def test_a_mistake_is_told_when_the_declaration_is_read(
    slope: Company, right: str, wrong: str, says: str
) -> None:
    slope.write("defs/slope/defs.yaml", SLOPE.replace(right, wrong))
    with pytest.raises(ConfigError, match=says):
        slope.route(READINGS)


def test_a_trend_of_a_stream_without_hours_is_refused(slope: Company) -> None:
    slope.write(
        "defs/slope/defs.yaml",
        "type: malacate.components.EventStream\nattributes:\n  source: slope\n"
        "  folder: ${SLOPE_DROPS}\n  tables:\n    - name: vibration\n"
        "      alarms: {trend: {times: 2}}\n",
    )
    with pytest.raises(ConfigError, match="no hours"):
        slope.route(READINGS)
