"""What values and columns become: exact, rejected with their bytes, or told as missing."""

from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from platform_tests.conftest import PlatformHome
from platform_tests.sources.sqlserver_standin import COLUMNS, TRUCK, Trucks, move

from acme.simulator.sqlserver import SqlServer
from malacate.contracts.table import Column
from malacate.errors import SchemaDrift

EVERY = {
    "id": ("bigint", pa.int64(), "7", 7),
    "bit": ("bit", pa.bool_(), "true", True),
    "tiny": ("tinyint", pa.int16(), "255", 255),
    "whole": ("int", pa.int64(), "-5", -5),
    "exact": ("decimal", pa.decimal128(20, 4), "1234567890.5678", Decimal("1234567890.5678")),
    "money": ("money", pa.decimal128(19, 4), "1.5", Decimal("1.5000")),
    "single": ("real", pa.float32(), "0.5", 0.5),
    "double": ("float", pa.float64(), "0.1", 0.1),
    "day": ("date", pa.date32(), "'2026-02-28'", date(2026, 2, 28)),
    "hour": ("time", pa.time64("us"), "'23:59:59.123456'", time(23, 59, 59, 123456)),
    "local": ("datetime2", pa.timestamp("us"), "'2026-02-28 01:02:03.123456'",
              datetime(2026, 2, 28, 1, 2, 3, 123456)),
    "instant": ("datetimeoffset", pa.timestamp("us", "UTC"), "'2026-02-28 01:02:03-05'",
                datetime(2026, 2, 28, 6, 2, 3, tzinfo=UTC)),
    "text": ("nvarchar", pa.string(), "'Ñandú 😀'", "Ñandú 😀"),
    "bytes": ("varbinary", pa.binary(), r"'\x00ff'::bytea", b"\x00\xff"),
    "guid": ("uniqueidentifier", pa.string(), "'6f9619ff-8b86-d011-b42d-00c04fc964ff'",
             "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
}  # fmt: skip
NOTE = Column("note", pa.string(), since="1.1.0")


def widest(url: str, home: PlatformHome) -> Trucks:
    server = SqlServer(url)
    server.install()
    kinds = {name: kind for name, (kind, *_) in EVERY.items()}
    server.create_table("dbo.wide", kinds, ("id",))
    server.enable("dbo.wide", "dbo_wide")
    columns = tuple(Column(name, kind) for name, (_, kind, *_) in EVERY.items())
    return Trucks(server, home, columns, relation="dbo.wide")


def values_of(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in EVERY}


def test_every_type_comes_exactly_by_snapshot_and_by_change(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    wide = widest(postgres_url, platform_home)
    texts = ", ".join(text for _, _, text, _ in EVERY.values())
    wide.server.run(f"insert into dbo.wide values ({texts})")
    wide.server.run("insert into dbo.wide (id) values (8)")
    wide.catch_up()
    wide.server.run("update dbo.wide set whole = whole")
    wide.catch_up()
    expected = {name: value for name, (*_, value) in EVERY.items()}
    nothing = {**dict.fromkeys(EVERY), "id": 8}
    log = [values_of(row) for row in wide.log()]
    assert sorted(log, key=lambda row: row["id"]) == [expected, expected, nothing, nothing]


def test_a_value_that_does_not_fit_is_rejected_with_its_row(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.catch_up()
    trucks.put(1, "fits", "1.125")
    trucks.put(2, "does not", "1.0625")
    trucks.server.capture()
    report = trucks.load()
    assert (report.total("rows_loaded"), report.total("rows_quarantined")) == (1, 1)
    rows = trucks.home.warehouse.query("select reason, raw from malacate.quarantine").to_pylist()
    assert [(row["reason"], b'"1.0625"' in row["raw"]) for row in rows] == [("does_not_fit", True)]


def test_a_type_that_the_contract_cannot_hold_is_drift(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    wide = widest(postgres_url, platform_home)
    wide.columns = tuple(
        Column(c.name, pa.timestamp("us", "UTC") if c.name == "local" else c.type)
        for c in wide.columns
    )
    wide.server.tick()
    with pytest.raises(SchemaDrift, match="retyped 'local'"):
        wide.load()


def test_a_column_that_an_older_instance_lacks_is_told_and_comes_with_the_newer(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    trucks = Trucks.at(postgres_url, platform_home)
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "a")
    trucks.catch_up()
    trucks.server.add_column(TRUCK, "note", "nvarchar")
    trucks.server.run("update dbo.truck set note = 'lost to the old instance'")
    trucks.server.enable(TRUCK, "dbo_truck_2")
    trucks.server.run("update dbo.truck set note = 'kept'")
    trucks.columns = (*COLUMNS, NOTE)
    trucks.server.capture()
    trucks.load()
    told = [(row["note"], row["_missing"], row["_file"]) for row in trucks.log()[1:]]
    assert told == [(None, "note", "dbo_truck"), ("kept", None, "dbo_truck_2")]
    landings = sorted(trucks.home.lake.landings(), key=lambda landing: landing.ordinal)
    assert "note" in str(landings[-1].evolutions)
    trucks.columns = (*COLUMNS, Column("weight", pa.string()))
    trucks.put(2, "b")
    trucks.server.capture()
    with pytest.raises(SchemaDrift, match="weight"):
        trucks.load()


def test_rows_without_a_key_are_known_by_what_is_in_them(
    postgres_url: str, platform_home: PlatformHome
) -> None:
    trucks = Trucks.at(postgres_url, platform_home, splits=False)
    trucks.key = ()
    trucks.server.enable(TRUCK, "dbo_truck")
    trucks.put(1, "a")
    trucks.catch_up()
    trucks.put(2, "b")
    trucks.server.run("update dbo.truck set load_t = load_t", move(1, 3))
    trucks.remove(2)
    trucks.catch_up()
    assert set(trucks.state()) == set(trucks.at_source()) == {3}
    moved = [row["_op"] for row in trucks.log() if row["_is_key_change"]]
    assert moved == ["D", "I"]
