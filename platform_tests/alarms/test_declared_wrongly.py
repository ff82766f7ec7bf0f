"""Alarms that could never judge, or never tell, are told when their declaration is read."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from platform_tests.alarms.reading import AT, HOUSES, SECOND, TABLE, Reading, iso, rows, watch
from platform_tests.company import Company, at_home

from malacate.alarms.limits import COLUMNS as OF_LIMITS
from malacate.alarms.limits import read_limits
from malacate.alarms.raised import Raised
from malacate.alarms.rules import Columns
from malacate.alarms.trend import Trend
from malacate.alarms.watch import Watch
from malacate.components.alarm_rules import watches
from malacate.components.declared import raw_assets
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError

GOOD = Columns(
    "sensor_id", "measured_at", "came_at", "pit", ("tran_mm_s",), "freq_hz", "battery_v"
)  # fmt: skip
RAISED = Raised("shift", {"pit": ("north",)}, "pit")
RULES: dict[str, Any] = {"limits": (HOUSES,), "battery_below_v": 11.5, "raised": RAISED}

NO_NUMBERS = [
    pa.string(), pa.bool_(), pa.date32(), AT, pa.binary(), pa.time64("us"), pa.list_(pa.float64()),
]  # fmt: skip
NO_INSTANTS = [
    pa.string(), pa.int64(), pa.date32(), pa.float64(), pa.time64("us"), pa.bool_(), pa.binary(),
]  # fmt: skip
NO_NAMES = [pa.binary(), pa.list_(pa.string()), pa.struct([("a", pa.string())])]


def having(name: str, kind: pa.DataType) -> Table:
    columns = (replace(one, type=kind) if one.name == name else one for one in TABLE.columns)
    return replace(TABLE, columns=tuple(columns))


def refused(table: Table, columns: Columns = GOOD, **rules: Any) -> ConfigError:
    with pytest.raises(ConfigError, match="cannot be judged by") as caught:
        Watch(table, columns, **{**RULES, **rules})
    return caught.value


@pytest.mark.parametrize(
    ("name", "asked", "kind"),
    [(name, "a decimal", kind) for name in ("tran_mm_s", "freq_hz", "battery_v")
     for kind in NO_NUMBERS]
    + [(name, "a timestamp", kind) for name in ("measured_at", "came_at") for kind in NO_INSTANTS]
    + [(name, "text", kind) for name in ("sensor_id", "pit") for kind in NO_NAMES],
    ids=str,
)  # fmt: skip
def test_a_column_of_another_kind_is_refused_with_both_kinds(
    name: str, asked: str, kind: pa.DataType
) -> None:
    table = having(name, kind)
    error = refused(table)
    assert (repr(name) in error.what, asked in error.expected) == (True, True)
    assert error.actual == table.by_name[name].sql_type


@pytest.mark.parametrize("kind", [pa.decimal128(12, 4), pa.decimal256(50, 4), pa.float32()])
def test_a_number_of_any_kind_is_judged(kind: pa.DataType) -> None:
    table = TABLE
    for name in ("tran_mm_s", "freq_hz", "battery_v"):
        columns = (replace(x, type=kind) if x.name == name else x for x in table.columns)
        table = replace(table, columns=tuple(columns))
    numbers = {"tran_mm_s": "9.25", "freq_hz": "8", "battery_v": "11.25"}
    given: dict[str, Any] = {
        name: [Decimal(text) if pa.types.is_decimal(kind) else float(text), None]
        for name, text in numbers.items()
    }
    batch = pa.RecordBatch.from_pydict(
        {"sensor_id": ["G1", "G2"], "measured_at": [0, 1], "came_at": [0, 1], "pit": ["a", "b"],
         "vert_mm_s": [0.0, 0.0], **given},
        schema=pa.schema([(c.name, c.type) for c in table.columns if c.name != "vert_mm_s"])
        .append(pa.field("vert_mm_s", pa.float64())),
    )  # fmt: skip
    judged = Watch(table, GOOD, (HOUSES,), 11.5).judge([batch])
    assert [(one.rule, one.subject, one.value) for one in judged.found] == [
        ("ppv_houses", "G1", 9.25), ("battery", "G1", 11.25)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64()])
def test_whole_numbers_are_numbers(kind: pa.DataType) -> None:
    table = having("battery_v", kind)
    schema = pa.schema([(c.name, c.type) for c in table.columns])
    batch = rows([Reading("G1", 5, battery=11.0)]).cast(schema)
    (one,) = Watch(table, GOOD, battery_below_v=11.5).judge([batch]).found
    assert (one.rule, one.value) == ("battery", 11.0)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("us", "UTC")])
def test_an_instant_without_a_zone_is_one_in_utc(kind: pa.DataType) -> None:
    table = having("measured_at", kind)
    schema = pa.schema([(c.name, c.type) for c in table.columns])
    at = 1_767_322_800 * SECOND
    batch = rows([Reading("G1", at, 9.0, came=at)]).cast(schema)
    (one,) = Watch(table, GOOD, (HOUSES,)).judge([batch]).found
    assert one.first_us == at
    assert iso(at)[:19] in one.told


@pytest.mark.parametrize("kind", [pa.int64(), pa.decimal128(19, 0), AT])
def test_a_sensor_s_name_is_what_can_be_written_as_text(kind: pa.DataType) -> None:
    table = having("sensor_id", kind)
    batch = rows([Reading(None, 5, 9.0), Reading(None, 6, 9.0)])
    named = pa.array([1, 2], pa.int64()).cast(kind)
    batch = batch.set_column(0, pa.field("sensor_id", kind), named)
    found = Watch(table, GOOD, (HOUSES,)).judge([batch]).found
    assert len({one.subject for one in found}) == 2


def test_a_trend_of_text_is_refused_and_one_of_a_decimal_is_not() -> None:
    columns, trend = Columns("sensor_id", "measured_at"), Trend("tran_mm_s", 2)
    table = TABLE.having(Column("completeness", pa.float64()))
    assert Watch(table, columns, trend=trend).trend == trend
    text = having("tran_mm_s", pa.string()).having(Column("completeness", pa.float64()))
    with pytest.raises(ConfigError, match="'tran_mm_s'"):
        Watch(text, columns, trend=trend)


@pytest.mark.parametrize("where", [{}, {"pit": ()}, {"pit": ("a",), "sensor_id": ()}])
def test_a_rule_that_every_row_or_none_would_meet_is_refused(where: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="'shift'"):
        watch(GOOD, raised=replace(RAISED, where=where))


def test_limits_that_cannot_be_read_are_told_with_their_path(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes("límite\n".encode("latin-1"))
    for name in ("none.csv", ".", "latin.csv"):
        with pytest.raises(ConfigError, match="cannot be read") as caught:
            read_limits(tmp_path / name)
        assert caught.value.object == str(tmp_path / name)


CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: pit
name: Pit
version: 1.0.0
status: active
schema:
  - name: vibration
    properties:
      - {name: sensor_id, logicalType: string, physicalType: varchar, required: true}
      - {name: seq, logicalType: integer, physicalType: bigint}
      - {name: measured_at, logicalType: timestamp, physicalType: timestamptz, required: true}
      - {name: received_at, logicalType: timestamp, physicalType: timestamptz}
      - {name: ppv, logicalType: number, physicalType: double}
      - {name: hz, logicalType: number, physicalType: double}
      - {name: volts, logicalType: number, physicalType: double}
      - {name: fw, logicalType: string, physicalType: varchar}
"""
AXES = {"axes": ["ppv"], "frequency": "hz"}
BATTERY = {"battery": "volts", "battery_below_v": 11.5}
LIMITS = {**AXES, "limits": "limits.csv", "standards": ["houses"]}
ISSUE = {"rule": "fault", "where": {"fw": ["bad"]}, "subject": "sensor_id"}


@pytest.fixture
def pit(tmp_path: Path) -> Company:
    company = Company(tmp_path)
    company.write("defs/pit/contract.odcs.yaml", CONTRACT)
    line = "houses,dwellings,0,50,5,15,a standard"
    company.write("defs/pit/limits.csv", f"{','.join(OF_LIMITS)}\n{line}\n")
    return company


def declare(pit: Company, alarms: dict[str, Any]) -> None:
    table = {"name": "vibration", "alarms": alarms}
    attributes = {"source": "pit", "folder": "${PIT_DROPS}", "tables": [table]}
    kind = "malacate.components.EventStream"
    pit.write("defs/pit/defs.yaml", yaml.safe_dump({"type": kind, "attributes": attributes}))


def mistake(pit: Company, alarms: dict[str, Any]) -> ConfigError:
    declare(pit, alarms)
    with at_home(pit, PIT_DROPS=str(pit.drops)), pytest.raises(ConfigError) as caught:
        raw_assets(pit.declarations)
    assert str(pit.declarations) in caught.value.object
    return caught.value


@pytest.mark.parametrize(
    "alarms",
    [{}, {"webhook": "${HOOK}"}, {"sensor": "sensor_id"}, {"site": "fw"}, {"quiet_seconds": 5},
     {"battery": "volts"}, AXES],
    ids=str,
)  # fmt: skip
def test_alarms_without_a_rule_are_refused_with_what_to_add(
    pit: Company, alarms: dict[str, Any]
) -> None:
    error = mistake(pit, alarms)
    assert (error.what, error.reason) == ("alarms without a rule", "no_rule")
    assert error.source == "pit/vibration"
    for name in ("limits", "battery_below_v", "silent_seconds", "raised", "trend"):
        assert f"`{name}`" in error.advice


@pytest.mark.parametrize(
    ("alarms", "advice"),
    [
        ({**LIMITS, "battery": "volts"}, "`battery_below_v`"),
        ({**BATTERY, **AXES}, "`limits`"),
        ({**BATTERY, "axes": ["ppv"]}, "`limits`"),
        ({**BATTERY, "frequency": "hz"}, "`limits`"),
        ({"silent_seconds": 60, "battery": "volts"}, "`battery_below_v`"),
        ({**BATTERY, **LIMITS, "standards": []}, "`standards`"),
        ({**BATTERY, "standards": ["houses"]}, "`limits`"),
    ],
)
def test_half_a_rule_beside_a_whole_one_is_refused(
    pit: Company, alarms: dict[str, Any], advice: str
) -> None:
    assert advice in mistake(pit, alarms).advice


@pytest.mark.parametrize(
    ("alarms", "told"),
    [
        ({**LIMITS, "axes": ["fw"]}, "'fw'"),
        ({**LIMITS, "frequency": "fw"}, "'fw'"),
        ({**LIMITS, "instant": "seq"}, "'seq'"),
        ({**LIMITS, "received": "fw"}, "'fw'"),
        ({**LIMITS, "limits": "none.csv"}, "none.csv"),
        ({**LIMITS, "standards": ["hauses"]}, "hauses"),
        ({"received": "received_at", "raised": {**ISSUE, "where": {}}}, "'fault'"),
    ],
)
def test_a_mistake_in_a_rule_is_told(pit: Company, alarms: dict[str, Any], told: str) -> None:
    assert told in str(mistake(pit, alarms))


@pytest.mark.parametrize(
    "alarms",
    [LIMITS, BATTERY, {"silent_seconds": 60}, {"received": "received_at", "raised": ISSUE},
     {**LIMITS, **BATTERY, "sensor": "seq"}],
    ids=str,
)  # fmt: skip
def test_a_whole_rule_alone_is_enough(pit: Company, alarms: dict[str, Any]) -> None:
    declare(pit, alarms)
    with at_home(pit, PIT_DROPS=str(pit.drops)):
        assert len(watches(pit.declarations)) == 1
