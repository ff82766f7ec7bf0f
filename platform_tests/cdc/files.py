"""Lives of the model's table as the files that Datastream and Debezium write of four databases."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from platform_tests.cdc.model import Life, Step
from platform_tests.sources.test_datastream import TRUCK, avro

Event = dict[str, Any]
Place = Callable[[int], Event]
AT = datetime(2026, 11, 3, 6, 7, tzinfo=UTC)
FIELDS = [
    *({"name": name, "type": ["null", "long"]} for name in ("life", "id", "value")),
    {**TRUCK[1], "name": "big"},
]

_PLAIN = {"I": "INSERT", "U": "UPDATE", "D": "DELETE"}
_MYSQL = {"I": "INSERT", "U": "UPDATE-INSERT", "D": "DELETE"}
METHODS = {
    "postgres": "postgresql-cdc", "oracle": "oracle-cdc-logminer", "mysql": "mysql-cdc-binlog",
    "sqlserver": "sqlserver-cdc",
}  # fmt: skip


def lsn(first: int) -> Place:
    """Of Postgres, unpadded as it prints them."""
    return lambda n: {"lsn": f"{first + n >> 32:X}/{first + n & 0xFFFFFFFF:X}"}


def lsn_of_sqlserver(first: int) -> Place:
    return lambda n: {
        "lsn": f"{first + n >> 48:08x}:{first + n >> 16 & 0xFFFFFFFF:08x}:{first + n & 0xFFFF:04x}"
    }


def log_file(first: int, step: int = 700) -> Place:
    """Of MySQL: the number of the file rises where its places begin anew."""
    return lambda n: {
        "log_file": f"mysql-bin.{first + n // 3:06}", "log_position": 99_000 + n % 3 * step
    }  # fmt: skip


def scn(first: int) -> Place:
    return lambda n: {"scn": first + n, "rs_id": " 0x000004.00000705.0010 ", "ssn": 0}


def rs_id(block: int) -> Place:
    """Of Oracle: many records of one SCN."""
    return lambda n: {"scn": 7, "rs_id": f" 0x4.{block + n:x}.10 ", "ssn": 0}


def ssn(first: int) -> Place:
    """Of Oracle: many statements of one record."""
    return lambda n: {"scn": first, "rs_id": " 0x000004.00000705.0010 ", "ssn": n}


def in_datastream(
    found: Sequence[Life], source: str, place: Place, apart: int = 32, by_statement: bool = True
) -> list[Event]:
    """Each life begins ``apart`` places after the last; the clock of the source runs backwards."""
    return [
        one
        for life in found
        for number, step in zip(places(life, by_statement), life.steps, strict=True)
        for one in _events(step, source, place(life.number * apart + number), number, life.number)
    ]


def places(life: Life, by_statement: bool = True) -> Iterator[int]:
    """Of each step: moves of several rows are one statement, which moves no row twice."""
    number, moved = -1, set[Any]()
    for step in life.steps:
        if step.op != "M" or not moved or not by_statement or {step.key, step.to} & moved:
            number, moved = number + 1, set()
        moved |= {step.to} if step.op == "M" else set()
        yield number


def _events(step: Step, source: str, at: Event, number: int, life: int) -> Iterator[Event]:
    named = f"{life}-{number}-{step.key and step.key[1]}"
    kinds = _MYSQL if source == "mysql" else _PLAIN
    if step.op == "M":
        yield _event(step, True, "UPDATE-DELETE", source, at, f"{named}d", -number)
        # MySQL's halves are told a second apart.
        late = 1 if source == "mysql" else 0
        yield _event(step, False, "UPDATE-INSERT", source, at, f"{named}i", late - number)
    else:
        yield _event(step, step.op == "D", kinds[step.op], source, at, named, -number)


def _event(
    step: Step, is_gone: bool, kind: str, source: str, at: Event, named: str, seconds: int
) -> Event:
    key = (step.key if is_gone else step.to or step.key) or (0, 0)
    values = step.old if is_gone else step.new
    row = dict(zip(("life", "id", "value", "big"), (*key, *values), strict=True))
    when = AT + timedelta(seconds=seconds)
    meta = {"schema": "lab", "table": "truck", "is_deleted": is_gone, "change_type": kind, **at}
    return {
        "uuid": named, "read_timestamp": when, "source_timestamp": when, "object": "lab_truck",
        "read_method": METHODS[source], "source_metadata": meta, "payload": row,
    }  # fmt: skip


def in_avro(events: Sequence[Event]) -> bytes:
    return avro(events, FIELDS)


def in_debezium(
    found: Sequence[Life], place: Callable[[int], Mapping[str, Any]], apart: int = 32
) -> list[Event]:
    """With the whole old row, as of a connector that knows it."""
    return [
        one
        for life in found
        for number, step in zip(places(life), life.steps, strict=True)
        for one in _debezium(step, place(life.number * apart + number))
    ]


def _debezium(step: Step, at: Mapping[str, Any]) -> Iterator[Event]:
    source = {"connector": "c", "name": "s", "ts_ms": 1_700_000_000_000, "db": "d",
              "schema": "lab", "table": "truck", "snapshot": "false", **at}  # fmt: skip
    names = ("life", "id", "value", "big")
    old = dict(zip(names, (*(step.key or (0, 0)), *step.old), strict=True))
    new = dict(zip(names, (*(step.to or step.key or (0, 0)), *step.new), strict=True))
    told = {"I": [("c", None, new)], "U": [("u", old, new)], "D": [("d", old, None)],
            "M": [("d", old, None), ("c", None, new)]}[step.op]  # fmt: skip
    for op, before, after in told:
        yield {"op": op, "before": before, "after": after, "source": source, "ts_ms": 0}
