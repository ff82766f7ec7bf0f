"""Change files of other projects through the component, and the table of what came of each.

``MALACATE_WRITE_DOCS=1`` writes the table into docs/change-files.md; without it, it is compared.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest
from platform_tests.sources.test_datastream import Yard, opened_yard

SAMPLES = Path(__file__).parents[1] / "data/cdc"
DOC = Path(__file__).parents[2] / "docs/change-files.md"
BEGIN, END = "<!-- samples -->\n", "<!-- end of samples -->\n"
INT, TEXT, BIG = "integer", "varchar", "bigint"
ALL_TYPES = {
    "varchar_column": TEXT, "tinyint_column": INT, "text_column": TEXT, "date_column": "date",
    "smallint_column": "smallint", "mediumint_column": INT, "int_column": INT,
    "bigint_column": BIG, "float_column": "real", "double_column": "double",
    "decimal_column": "decimal(10,2)", "datetime_column": "timestamp",
    "timestamp_column": "timestamptz", "time_column": "time", "year_column": INT,
    "char_column": TEXT, "tinyblob_column": "blob", "tinytext_column": TEXT,
    "blob_column": "blob", "mediumblob_column": "blob", "mediumtext_column": TEXT,
    "longblob_column": "blob", "longtext_column": TEXT, "enum_column": TEXT,
    "bool_column": "boolean", "other_bool_column": "boolean", "binary_column": "blob",
    "varbinary_column": "blob", "bit_column": BIG,
}  # fmt: skip
NUMBERS = dict.fromkeys(
    ["id", "booly", "tiny", "small", "medium", "inty", "tinyu", "smallu", "mediumu"], INT
) | {"bitty": BIG, "big": BIG, "floater": "real", "doubler": "double", "intyu": BIG,
     "decimaler": "decimal(10,2)", "bigu": "decimal(20,0)"}  # fmt: skip
EMPLOYEES = {
    "EMPLOYEE_ID": BIG, "FIRST_NAME": TEXT, "LAST_NAME": TEXT, "EMAIL": TEXT,
    "PHONE_NUMBER": TEXT, "HIRE_DATE": "date", "JOB_ID": TEXT, "SALARY": "decimal(8,2)",
    "COMMISSION_PCT": "decimal(2,2)", "MANAGER_ID": BIG, "DEPARTMENT_ID": BIG,
}  # fmt: skip
ARRAYS = {
    "integer_field": INT, "integer_array_field": "integer[]", "string_array": "varchar[]",
    "json_column": "varchar[]", "jsonb_column": "varchar[]", "binary_content": "blob",
    "uuid_array": "varchar[]",
}  # fmt: skip
USERS = {"id": INT, "name": TEXT, "age": BIG}
VOTERS = {"id": TEXT, "name": TEXT, "address": TEXT, "gender": TEXT}
CUSTOMERS = {"id": INT, "first_name": TEXT, "last_name": TEXT, "email": TEXT}
KINDS: dict[str, tuple[str, dict[str, str], tuple[str, ...], tuple[str, ...]]] = {
    "movie": ("Movie", {"id1": INT, "id2": INT, "name": TEXT, "actor": INT}, ("id1", "id2"),
              ("mysql/Movie",)),
    "sharded": ("Users", USERS, ("id",), ("mysql/Users-",)),
    "pairs": ("my_table", {"id": INT, "val": INT}, ("id",), ("mysql/my_table",)),
    "authors": ("l1.Authors", {"author_id": INT, "name": TEXT}, ("author_id",),
                ("mysql/mysql-Authors",)),
    "books": ("l1.Books", {"id": INT, "title": TEXT, "author_id": INT}, ("id",),
              ("mysql/mysql-Books",)),
    "all_types": ("l1.AllDatatypeColumns", ALL_TYPES, ("varchar_column",),
                  ("mysql/mysql-backfill-All", "mysql/mysql-cdc1", "mysql/mysql-cdc2")),
    "category": ("l1.Category", {"category_id": INT, "name": TEXT, "last_update": "timestamptz"},
                 ("category_id",), ("mysql/mysql-backfill-Category",)),
    "users": ("l1.Users", USERS | {"subscribed": "boolean", "plan": TEXT, "startDate": "date"},
              ("id",), ("mysql/mysql-backfill-Users", "mysql/mysql-cdc-Users")),
    "numbers": ("user1.numbers", NUMBERS, ("id",), ("mysql/mysql_numbers",)),
    "employees": ("HR.EMPLOYEES", EMPLOYEES, ("EMPLOYEE_ID",), ("oracle/",)),
    "arrays": ("public.source_table", ARRAYS, (), ("postgresql/",)),
    "jobs": ("HR.JOBS", {"JOB_ID": TEXT, "JOB_TITLE": TEXT, "MIN_SALARY": INT, "MAX_SALARY": INT},
             ("JOB_ID",), ("json/example_datastream",)),
    "staff": ("dbo.EMPLOYEES", {"EMPLOYEE_ID": INT, "FIRST_NAME": TEXT, "LAST_NAME": TEXT},
              ("EMPLOYEE_ID",), ("json/example_sqlserver",)),
    "badal": ("badal.customers", VOTERS, ("id",), ("json/tables/",)),
    "voters": ("demo.inventory.voters", VOTERS, ("id",), ("json/events/",)),
    "oracle": ("DEBEZIUM.CUSTOMERS", {"ID": INT, "FIRST_NAME": TEXT, "LAST_NAME": TEXT,
               "EMAIL": TEXT}, ("ID",), ("debezium/doc-oracle",)),
    "customers": ("customers", CUSTOMERS, ("id",), ("debezium/doc-postgres", "debezium/doc-sql",
                  "debezium/serde", "wal2json/")),
}  # fmt: skip


def samples() -> list[str]:
    root = SAMPLES.rglob("*")
    kinds = (".avro", ".json", ".jsonl")
    return sorted(str(path.relative_to(SAMPLES)) for path in root if path.suffix in kinds)


def of_kind(kind: str) -> list[str]:
    heads = KINDS[kind][3]
    return [one for one in samples() if one.removeprefix("datastream/").startswith(heads)]


Came = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def came() -> Iterator[tuple[Yard, Came]]:
    """Every sample in the log of its table, or what became of it instead."""
    with opened_yard() as yard:
        found: Came = {}
        for kind, (table, columns, key, _) in KINDS.items():
            said = {"format": "debezium"} if kind in ("oracle",) else {}
            name = table.partition(".")[2].lower().replace(".", "_") or table.lower()
            (route,) = yard.declare(kind, {name: columns}, key, physical=table, **said)
            for sample in of_kind(kind):
                yard.drop(kind, sample, (SAMPLES / sample).read_bytes())
            for batch in yard.take_in([route]):
                rows = [row for row in yard.log(route) if row["_file"] == batch["object"]]
                rejects = [] if not batch["rows_quarantined"] else [
                    row["reason"] for row in yard._rows(
                        "select reason from malacate.quarantine where "
                        f"batch_id = '{batch['batch_id']}'")]  # fmt: skip
                notes = yard.notes(route, batch)
                found[str(batch["object"])] = {
                    "batch": batch, "rows": rows, "rejects": Counter(rejects), "notes": notes,
                    "columns": columns,
                }  # fmt: skip
        yield yard, found


def test_every_sample_came_through(came: tuple[Yard, Came]) -> None:
    assert sorted(came[1]) == samples()


@pytest.mark.parametrize("name", [one for one in samples() if one.endswith(".avro")])
def test_an_avro_sample_is_in_the_log_event_by_event(name: str, came: tuple[Yard, Came]) -> None:
    found = came[1][name]
    with (SAMPLES / name).open("rb") as file:
        events: list[Any] = list(fastavro.reader(file))
    if name.startswith("datastream/postgresql"):
        # Its row is known by all of itself, for the table has no key.
        assert [row["binary_content"] for row in found["rows"]] == [b"\xde\xad\xbe\xef"]
        assert found["rows"][0]["_row_hash"]
        return
    assert not found["rejects"]
    for event, row in zip(events, found["rows"], strict=True):
        assert row["_event_id"] == event["uuid"]
        assert row["_read_at"] == event["read_timestamp"]
        assert row["_is_snapshot"] is ("cdc" not in event["read_method"])
        for column, kind in found["columns"].items():
            assert row[column.lower()] == as_type(event["payload"][column], kind), column


def as_type(value: Any, kind: str) -> Any:
    if value is None:
        return None
    if kind == "time":
        return (datetime(2000, 1, 1) + timedelta(microseconds=value)).time()
    makes = {
        "date": lambda v: v.date(), "timestamp": lambda v: v.replace(tzinfo=None),
        "blob": bytes.fromhex, "boolean": bool, "decimal(20,0)": int,
    }  # fmt: skip
    return makes.get(kind, lambda v: v)(value)


def test_the_table_in_the_docs_is_what_came(came: tuple[Yard, Came]) -> None:
    lines = [told(name, found) for name, found in sorted(came[1].items())]
    table = "| file | rows in the log | set aside, or left out and told |\n|---|---|---|\n"
    table += "".join(f"{line}\n" for line in lines)
    text = DOC.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}{table}{END}{after}"
    if os.environ.get("MALACATE_WRITE_DOCS"):
        DOC.write_text(wanted)
    assert text == wanted or os.environ.get("MALACATE_WRITE_DOCS")


def told(name: str, found: Mapping[str, Any]) -> str:
    batch = found["batch"]
    if batch["state"] != "loaded":
        return f"| {name} | none | the file: `{batch['reason']}` |"
    kinds = Counter(row["_op"] + "*" * row["_is_key_change"] for row in found["rows"])
    rows = ", ".join(f"{n} {op}" for op, n in sorted(kinds.items())) or "none"
    aside = [f"{n} `{reason}`" for reason, n in sorted(found["rejects"].items())]
    return f"| {name} | {rows} | {'; '.join([*aside, *found['notes']])} |"
