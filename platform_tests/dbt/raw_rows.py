"""Raw rows that the models are tried on: plain ones, and those at the edges of what they handle."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import yaml

from malacate.contracts.changes import STATE_COLUMNS, changes_of
from malacate.contracts.odcs import read_contract
from malacate.contracts.table import Table
from malacate.warehouse.protocol import BATCH_COLUMN

ROOT = Path(__file__).parents[2]
CAPTURES = ("ChangeFiles", "ReplicationSlot", "SqlServerChanges")
SOURCES = ("production", "lab", "datastream", "geophones", "mobile")
START = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)

Row = dict[str, Any]


def change_tables(source: str) -> set[str]:
    """Those of its tables that are folded from a log of changes."""
    path = ROOT / "platform/acme/defs" / source / "defs.yaml"
    declared = [
        table
        for component in yaml.safe_load_all(path.read_text())
        if component["type"].rpartition(".")[2] in CAPTURES
        for table in component["attributes"]["tables"]
    ]
    return {table if isinstance(table, str) else table["name"] for table in declared}


def raw_tables() -> Iterator[Table]:
    for source in SOURCES:
        path = ROOT / "platform/acme/defs" / source / "contract.odcs.yaml"
        changing = change_tables(source)
        for name, table in read_contract(path, source).items():
            if name in changing:
                yield changes_of(table)
            yield table.having(*STATE_COLUMNS) if name in changing else table


def rows() -> dict[str, list[Row]]:
    """Rows by table; a column that is left out is null, a row that is not called deleted is not.

    A state ends with a deleted row that looks like its first one: who reads it has that one twice.
    """
    states = {str(table.name) for table in raw_tables() if "is_deleted" in table.by_name}
    return {
        name: [*({"is_deleted": False, **row} for row in some), {**some[0], "is_deleted": True}]
        if name in states
        else some
        for name, some in _rows().items()
    }


def _rows() -> dict[str, list[Row]]:
    random = Random(20261101)
    cycles = list(_cycles(random))
    return {
        "raw_production.shift": list(_shifts()),
        "raw_production.equipment": list(_equipment()),
        "raw_production.status_event": list(_status(random)),
        "raw_production.haul_cycle": cycles,
        "raw_production.assay": list(_assays(random)),
        "raw_production.ore_movement": list(_movements(random)),
        "raw_production.plan": list(_plans(random)),
        "raw_production.crusher_hour": list(_crushed(random)),
        "raw_lab.rock_quality": list(_rock(random)),
        "raw_datastream.haul_cycle": list(_changed(cycles)),
        "raw_datastream.haul_cycle_changes": list(_logged(cycles)),
        "raw_geophones.vibration_hour": list(_vibration(random)),
        "raw_mobile.issue_event": list(_issues(random)),
    }


def _decimal(random: Random, most: int, digits: int) -> Decimal:
    return Decimal(random.randrange(1, most * 10**digits)).scaleb(-digits)


def _moment(random: Random, hours: int = 60) -> datetime:
    """Any microsecond of the first hours."""
    return START + timedelta(microseconds=random.randrange(hours * 3_600_000_000))


def _shifts() -> Iterator[Row]:
    """Of 12, 12, 8 and 16 hours; the last two begin late on their day."""
    begin = START - 12 * HOUR
    for shift, hours in enumerate((12, 12, 12, 11, 8, 16)):
        end = begin + hours * HOUR
        yield {
            "shift_id": shift, "crew": "ABCD"[shift % 4], "start_at": begin, "end_at": end,
            "updated_at": end,
        }  # fmt: skip
        begin = end


def _equipment() -> Iterator[Row]:
    models = {"HT-001": ("793F", Decimal("226.8")), "HT-002": ("930E", Decimal("291.0"))}
    rated = {**models, "HT-003": ("793F", None), "SH-01": ("4100", None), "CR-01": ("60-89", None)}
    kinds = {"HT": "haul_truck", "SH": "shovel", "CR": "crusher"}
    for name, (model, payload) in rated.items():
        yield {
            "equipment_id": name, "class": kinds[name[:2]], "model": model,
            "sap_equnr": f"{len(model):018d}", "rated_payload_t": payload,
            "commissioned_on": date(2012, 2, 29), "is_active": name != "HT-002",
            "updated_at": START,
        }  # fmt: skip


def _status(random: Random) -> Iterator[Row]:
    """Events that cross midnights; the last is open, one before it too, and one ends at 0 h."""
    codes = ("operating", "delay", "standby", "planned_down", "unplanned_down")
    for machine in ("HT-001", "HT-002", "HT-003", "CR-01"):
        begin = START - timedelta(microseconds=random.randrange(3_600_000_000))
        for number in range(9):
            end = begin + timedelta(microseconds=random.randrange(9 * 3_600_000_000))
            end = START + 24 * HOUR if number == 3 and end < START + 24 * HOUR else end
            is_open = number == 5 or (number == 8 and machine != "HT-002")
            yield {
                "equipment_id": machine, "from_at": begin, "to_at": None if is_open else end,
                "tum_code": random.choice(codes), "reason": "día de mantención ñ",
                "updated_at": begin,
            }  # fmt: skip
            begin = end


def _cycles(random: Random) -> Iterator[Row]:
    """With a block that names no pit, one without a dash, and a shift that is not there."""
    blocks = ("N-2400-001", "S-2385-017", "X-2400-001", "north", "N-", "")
    parts = ("queue_load_s", "spot_s", "load_s", "haul_s", "queue_dump_s", "dump_s", "return_s")
    for cycle in range(1, 60):
        begin = _moment(random)
        seconds = {part: random.randrange(600) for part in parts}
        lasted = sum(seconds.values()) + random.choice((0, 0, 1, 2))
        truck = random.choice(("HT-001", "HT-002", "HT-003", "HT-009"))
        yield {
            "cycle_id": cycle, "truck_id": truck, "operator_id": "OP-0001", "loader_id": "SH-01",
            "shift_id": random.choice((0, 1, 2, 3, 4, 5, 99)),
            "source_block": blocks[cycle % 6], "dump_id": random.choice(("CR-01", "WD-01")),
            "material": random.choice(("ore", "low_grade", "waste")), "started_at": begin,
            "ended_at": begin + timedelta(seconds=lasted, microseconds=cycle), **seconds,
            "payload_t": _decimal(random, 308, 2), "dist_loaded_m": _decimal(random, 6000, 1),
            "dist_empty_m": _decimal(random, 6000, 1), "fuel_l": _decimal(random, 100, 2),
            "updated_at": begin,
        }  # fmt: skip


def _changed(cycles: list[Row]) -> Iterator[Row]:
    for number, cycle in enumerate(cycles[:12]):
        operation = "RIUD"[number % 4]
        yield {
            **cycle, "_op": operation, "is_deleted": operation == "D",
            "_source_at": cycle["updated_at"] + HOUR,
        }  # fmt: skip


def _logged(cycles: list[Row]) -> Iterator[Row]:
    """Two to a minute: three truncates, and changes at random; some came twice."""
    random = Random(7)
    alive: dict[int, Row] = {}
    for at in range(1, 160):
        number = random.randrange(1, 9)
        place = {
            "_position_hi": at // 16, "_position_lo": at % 16 << 40, "_seq": 0,
            "_source_at": START + timedelta(minutes=at // 2), "_is_key_change": False,
            "_is_snapshot": False, "_event_id": f"e{at}", "_file_row": at,
        }  # fmt: skip
        row = {**cycles[random.randrange(30)], "cycle_id": number}
        for change in _change(random, at, row, alive):
            yield {**place, **change}
            if at % 3 == 0:
                yield {**place, **change, BATCH_COLUMN: "b1"}


def _change(random: Random, at: int, row: Row, alive: dict[int, Row]) -> Iterator[Row]:
    """What is done at one position to the cycle, and the ones ``alive``: a backfill reads it, it
    moves to another number, a part is not sent.
    """
    number = row["cycle_id"]
    if at % 50 == 0:
        alive.clear()
        yield {"_op": "T"}
    elif number not in alive:
        alive[number] = row
        yield {**row, "_op": "I"}
    elif at % 7 == 0:
        zeros = {"_position_hi": 0, "_position_lo": 0}
        yield {**alive[number], **zeros, "_op": "R", "_is_snapshot": True}
    elif at % 5 == 0:
        del alive[number]
        yield {"cycle_id": number, "_op": "D"}
    elif at % 11 == 0:
        del alive[number]
        moved = {"cycle_id": 100 + at, "payload_t": None, "_missing": "payload_t"}
        half = {"_is_key_change": True}
        yield {"cycle_id": number, "_op": "D", **half}
        yield {**row, **moved, "_op": "I", "_seq": 1, "_event_id": f"m{at}", **half}
    else:
        unsent = random.choice([(), ("payload_t",), ("material", "payload_t")])
        alive[number] = {**row, **{name: alive[number][name] for name in unsent}}
        yield {**row, **dict.fromkeys(unsent), "_op": "U", "_missing": ",".join(unsent) or None}


def _assays(random: Random) -> Iterator[Row]:
    for sample in range(1, 20):
        taken = _moment(random)
        yield {
            "sample_id": sample, "block_id": "N-2400-001", "lab": "ACME",
            "qc_type": random.choice(("sample", "blank", "standard", "duplicate")),
            "method": "ICP", "cu_pct": _decimal(random, 3, 4), "au_g_t": _decimal(random, 2, 4),
            "moisture_pct": _decimal(random, 9, 2), "sampled_at": taken,
            "received_at": None if sample % 3 == 0 else taken + timedelta(microseconds=sample**7),
            "updated_at": taken,
        }  # fmt: skip


def _movements(random: Random) -> Iterator[Row]:
    for movement in range(1, 30):
        yield {
            "movement_id": movement, "shift_id": movement % 8, "from_id": "N-2400-001",
            "to_id": "SP-01", "material": "ore", "tonnes_wet_t": _decimal(random, 90000, 1),
            "moisture_pct": _decimal(random, 9, 2),
            "cu_pct": None if movement == 7 else _decimal(random, 3, 4),
            "moved_at": _moment(random), "updated_at": START,
        }  # fmt: skip


def _plans(random: Random) -> Iterator[Row]:
    for day in range(-1, 3):
        for pit in ("north", "south"):
            for material in ("ore", "waste"):
                yield {
                    "plan_on": (START + timedelta(days=day)).date(), "pit": pit,
                    "material": material,
                    "tonnes_t": Decimal(0) if day == 2 else _decimal(random, 90000, 1),
                    "cu_pct": None if material == "waste" else _decimal(random, 3, 4),
                    "updated_at": START,
                }  # fmt: skip


def _crushed(random: Random) -> Iterator[Row]:
    """All hours but the one after the 20th."""
    for hour in (*range(-12, 20), *range(21, 60)):
        yield {
            "crusher_id": "CR-01", "hour_at": START + hour * HOUR, "updated_at": START,
            "tph": _decimal(random, 4000, 1), "weightometer_t": _decimal(random, 4000, 1),
        }  # fmt: skip


def _rock(random: Random) -> Iterator[Row]:
    """Each interval up to three times: later, in a newer schema, in a later batch."""
    classes = (100, 81, 80, 60, 41, 20, 0)
    for number in range(30):
        begin = Decimal(number % 11) * Decimal("1.55")
        yield {
            "sample_no": number // 3, "hole_id": "DH-000001-001", "from_m": begin,
            "to_m": begin + Decimal("1.50"), "sector_id": "N1", "lithology": "andesite",
            "rqd_pct": _decimal(random, 100, 2), "ucs_mpa": _decimal(random, 300, 2),
            "is50_mpa": random.random(), "jn": random.choice((0.0, 3.0, 9.0, 12.0)),
            "jr": random.choice((1.5, 3.0)), "ja": random.choice((0.75, 2.0)),
            "jw": random.choice((0.66, 1.0)), "srf": random.choice((0.5, 2.5)),
            "q": random.random() * 40, "rmr89": classes[number % 7],
            "gsi": None if number % 2 else 55, "logged_by": "token", "lab": "ACME",
            "analysed_at": START + (number // 11 % 2) * HOUR, "schema_version": 1 + number % 3,
            "_batch_id": f"b{number % 5}",
        }  # fmt: skip


def _issues(random: Random) -> Iterator[Row]:
    """Statuses at random, so that many break a rule; some events twice, some clocks the same."""
    statuses = ("open", "ack", "in_progress", "blocked", "resolved", "closed", "cancelled")
    for number in range(200):
        row = {
            "event_id": f"e{number:03d}", "issue_id": f"i{number % 25:02d}",
            "equipment_id": "HT-001", "reporter_id": "token", "severity": "high",
            "status": "open" if number < 20 else random.choice(statuses), "category": "tyres",
            "device_at": START + (number // 30) * HOUR, "received_at": START + number * HOUR,
            "app_version": "3.2.0", "message": f"{{{number}}}",
        }  # fmt: skip
        yield row
        if number % 7 == 0:
            yield {**row, "received_at": START + 2 * number * HOUR}


def _vibration(random: Random) -> Iterator[Row]:
    """For 33 days, so that the oldest hours leave the baseline; one sensor falls silent."""
    for sensor, sector, last in (
        ("GEO-001", "N1", 800),
        ("GEO-002", "N1", 200),
        ("GEO-003", "S1", 40),
    ):
        for hour in range(0, last, 1 if last < 100 else 5):
            yield {
                "sensor_id": sensor, "sector_id": sector, "hour_at": START + hour * HOUR,
                "readings": random.choice((360, 360, 360, 400, 180)), "expected_readings": 360,
                "completeness": 1.0, "rms_mm_s": random.random(), "ppv_mm_s": random.random() * 9,
                "peak_pvs_mm_s": random.random() * 12, "revision": 1 + hour % 3,
            }  # fmt: skip
