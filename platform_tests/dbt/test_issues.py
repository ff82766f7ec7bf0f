"""Issues from events: what a plain loop makes of them, in whatever order and however often."""

import json
import os
import random
import subprocess
import sys
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from platform_tests.dbt.raw_rows import ROOT, START, raw_tables

from acme.simulator.phones import FOLLOWS, STATUSES, become
from malacate.warehouse.duckdb_tables import follow

RAW, EVENT, ISSUE = "raw_mobile.issue_event", "silver.machine_issue_event", "silver.machine_issue"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[duckdb.DuckDBPyConnection, list[str]]:
    """A warehouse with the raw table alone, and the statements that make the two models."""
    folder = tmp_path_factory.mktemp("issues")
    file = folder / "warehouse.duckdb"
    command = [
        str(Path(sys.executable).with_name("dbt")), "compile", "--quiet", "--no-introspect",
        "--no-populate-cache", "--select", "machine_issue_event", "machine_issue",
        "--project-dir", str(ROOT / "dbt"), "--profiles-dir", str(ROOT / "dbt"),
        "--target-path", str(folder / "target"), "--log-path", str(folder / "logs"),
    ]  # fmt: skip
    env = {**os.environ, "MALACATE_TARGET": "local", "MALACATE_WAREHOUSE": str(file)}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    nodes = json.loads((folder / "target/manifest.json").read_text())["nodes"].values()
    code = {f"silver.{node['name']}": node.get("compiled_code") for node in nodes}
    connection = duckdb.connect(str(file))
    connection.execute("create schema silver")
    for table in raw_tables():
        if str(table.name) == RAW:
            follow(connection, table)
    return connection, [
        f"create or replace table {name} as {code[name]}" for name in (EVENT, ISSUE)
    ]


@st.composite
def histories(draw: st.DrawFn) -> list[Row]:
    events = st.tuples(st.sampled_from("ab"), st.sampled_from(STATUSES), st.integers(0, 6))
    legal = st.tuples(
        st.sampled_from("cd"), st.sampled_from(["open", "ack", "in_progress"]), st.integers(0, 3)
    )
    some = chain(draw(st.lists(events, max_size=14)), draw(st.lists(legal, max_size=10)))
    return [
        {"event_id": f"e{n:02d}", "issue_id": issue, "status": status, "hour": hour}
        for n, (issue, status, hour) in enumerate(some)
    ]


def fill(connection: duckdb.DuckDBPyConnection, events: list[Row]) -> None:
    connection.execute(f"truncate {RAW}")
    rows = pa.Table.from_pylist(
        [
            {
                "event_id": one["event_id"], "issue_id": one["issue_id"], "equipment_id": "HT-1",
                "reporter_id": "r", "severity": "low", "status": one["status"],
                "device_at": START + timedelta(hours=one["hour"]), "message": one["event_id"],
                "received_at": START + timedelta(days=place), "_batch_id": f"b{place % 3}",
            }
            for place, one in enumerate(events)
        ]
    )  # fmt: skip
    if events:
        connection.register("given", rows)
        connection.execute(f"insert into {RAW} by name select * from given")
        connection.unregister("given")


def made(models: Any, events: list[Row]) -> dict[str, Row]:
    connection, statements = models
    fill(connection, events)
    for statement in statements:
        connection.execute(statement)
    found = connection.execute(f"select * from {ISSUE}").to_arrow_table().to_pylist()
    return {row["issue_id"]: row for row in found}


@settings(max_examples=120)
@given(histories(), st.randoms(use_true_random=False))
def test_an_issue_is_what_a_loop_makes_of_its_events(
    models: Any, events: list[Row], chance: random.Random
) -> None:
    sent = [one for one in events for _ in range(chance.choice((1, 1, 3)))]
    chance.shuffle(sent)
    expected = become({**one, "device_at": one["hour"]} for one in events)
    opened = {key: issue for key, issue in expected.items() if issue["status"]}
    found = made(models, sent)
    assert found.keys() == opened.keys()
    for key, issue in opened.items():
        row = found[key]
        told = (row["status"], row["events"] - row["illegal_events"], row["illegal_events"])
        assert told == (issue["status"], issue["events"], issue["illegal_events"])
        assert row["changed_at"] == START + timedelta(hours=issue["changed_at"])
        assert row["messages"] == sum(one["issue_id"] == key for one in sent)
        assert row["is_open"] == bool(issue["status"] not in ("resolved", "closed", "cancelled"))


def test_an_illegal_event_is_listed_with_what_the_issue_was(models: Any) -> None:
    way = ("ack", "open", "resolved", "ack", "closed")
    events = [
        {"event_id": f"e{n}", "issue_id": "i", "status": status, "hour": n}
        for n, status in enumerate(way)
    ]
    issue = made(models, events)["i"]
    assert (issue["status"], issue["illegal_events"]) == ("ack", 3)
    listed = models[0].execute(
        f"select from_status, status from {EVENT} where not is_applied order by place"
    )
    assert listed.fetchall() == [(None, "ack"), ("open", "resolved"), ("ack", "closed")]


def test_an_opening_that_comes_three_days_late_changes_what_the_others_are(models: Any) -> None:
    events = [
        {"event_id": f"e{n}", "issue_id": "i", "status": status, "hour": n}
        for n, status in enumerate(("open", "ack", "in_progress"))
    ]
    assert made(models, events[1:]) == {}
    issue = made(models, [*events[1:], events[0]])["i"]
    assert (issue["status"], issue["illegal_events"]) == ("in_progress", 0)


def test_the_loop_and_the_model_have_the_same_rules() -> None:
    text = (ROOT / "dbt/models/silver/machine_issue_event.sql").read_text()
    rules = {f"{old or 'new'}>{new}" for old, some in FOLLOWS.items() for new in some}
    named = {part for part in text.replace('"', "'").split("'") if ">" in part and " " not in part}
    assert {one for one in named if one[0].isalpha()} == rules
