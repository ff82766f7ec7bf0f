"""Phones over MQTT: each event is in the table, each severe issue is told, whoever dies."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from platform_tests.company import Command, malacate
from platform_tests.dbt.test_issues import ISSUE, RAW, models
from platform_tests.emulators import parts
from platform_tests.length import IS_LONG
from platform_tests.streams.collecting import Collecting, waited
from platform_tests.streams.mobile import HOUR, TRUTH, WORLD, mobile, severe_of
from platform_tests.streams.test_fleet import data_in

from acme.simulator import phones
from acme.simulator.stream_phones import FILTER, LivePhones, message
from acme.simulator.world import DAY
from acme.simulator.world import HOUR as HOUR_S
from malacate.alarms.collected import Pass
from malacate.components.alarm_rules import watches
from malacate.formats import FileFormat
from malacate.ledger import outbox
from malacate.ledger.ledger import Ledger
from malacate.sources.streams.message import Message, as_file

__all__ = ["malacate", "models"]

DRIVER = Path(__file__).with_name("issues.py")
LONG = ["--kills", "30", "--hours", "2400", "--speed", "72000"]
LIVE = LivePhones(WORLD, HOUR, 96 * HOUR_S)


def test_whoever_is_killed_each_event_makes_its_issue_and_each_severe_one_is_told(
    tmp_path: Path, models: Any
) -> None:
    parts.MOSQUITTO.require()
    command = [sys.executable, str(DRIVER), "--folder", str(tmp_path), *(LONG if IS_LONG else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "lost 0, twice 0, wrong 0" in done.stdout
    known = json.loads((tmp_path / "company" / TRUTH).read_text())["issues"]
    silver = issues_of(tmp_path / "company/home/warehouse.duckdb", models)
    assert silver == {key: one["status"] for key, one in known.items() if one["status"]}
    assert len(silver) < len(known)


def issues_of(warehouse: Path, models: Any) -> dict[str, str]:
    """What silver's models make of a warehouse's raw table."""
    connection, statements = models
    with duckdb.connect(str(warehouse), read_only=True) as other:
        connection.register("given", other.sql(f"from {RAW}").to_arrow_table())
    connection.execute(f"truncate {RAW}")
    connection.execute(f"insert into {RAW} by name from given")
    connection.unregister("given")
    for statement in statements:
        connection.execute(statement)
    return dict(connection.execute(f"select issue_id, status from {ISSUE}").fetchall())


def test_the_phones_tell_the_same_each_in_its_second_and_when_it_was_received() -> None:
    told = list(LIVE.told())
    assert told == list(LIVE.told())
    assert len(told) == LIVE.seconds
    begin = WORLD.after(HOUR)
    for second, some in enumerate(told):
        for topic, data in some:
            event = json.loads(data)
            assert topic == f"{event['equipment_id']}/issue"
            at = datetime.fromisoformat(event["received_at"])
            assert second <= (at - begin).total_seconds() < second + 1
    came = LIVE.received()
    assert [data for second in told for _, data in second] == [message(one) for one in came]
    late = [one.event for one in came if late_s(one) >= 3 * DAY]
    assert len(late) > 20
    assert {event["issue_id"] for event in late} & severe_of(LIVE)
    assert len(came) > len({one.event["event_id"] for one in came})
    clocks = [one.event["device_at"] for one in came]
    assert clocks != sorted(clocks)
    assert sum(one["illegal_events"] for one in phones.known(came)["issues"].values()) > 10


def late_s(one: phones.Told) -> float:
    return one.received_us / 1e6 - datetime.fromisoformat(one.event["device_at"]).timestamp()


def test_half_an_hour_is_the_first_half_of_an_hour() -> None:
    whole = LivePhones(WORLD, HOUR, HOUR_S)
    half = replace(whole, seconds=HOUR_S // 2)
    assert list(half.told()) == list(whole.told())[: HOUR_S // 2]


def test_the_command_publishes_phones_and_notes_what_is_true(
    tmp_path: Path, malacate: Command
) -> None:
    live = LivePhones(WORLD, HOUR, 10 * HOUR_S)
    wanted = Counter(data for second in live.told() for _, data in second)
    with parts.mosquitto(tmp_path / "broker") as server:
        url, files = f"{server.url}/mine", tmp_path / "files"
        with Collecting(f"{url}/{FILTER}", "mobile", files, seconds=0.3).running():
            code, out, _ = malacate(
                "simulate", "stream", "--of", "phones", "--url", url, "--seconds",
                str(live.seconds), "--speed", "36000", "--saved-seconds", "0", "--home",
                str(tmp_path), "--json",
            )  # fmt: skip
            assert code == 0
            assert waited(lambda: data_in(files) >= wanted)
    told = json.loads(out)
    known = json.loads((Path(told["truth"]) / "machine_issue.json").read_text())
    assert told["messages"] == known["messages"] == wanted.total() > 30
    assert known == phones.known(live.received())


@pytest.mark.parametrize("says_when", [True, False])
def test_what_is_late_is_news_unless_its_gateway_says_that_it_had_it_long_ago(
    tmp_path: Path, says_when: bool
) -> None:
    live = LivePhones(WORLD, HOUR, 200 * HOUR_S)
    with mobile(tmp_path / "company", 1) as company:
        (watch,) = watches(company.declarations)
        ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
        short, form = replace(watch, tell_within_hours=72.0), FileFormat("messages")
        note = Pass(short, form, lambda: ledger, lambda: None)
        note(as_file([Message(data(one, says_when), "mine") for one in live.received()]))
    states = {row["state"]: row["alarms"] for row in outbox.states(ledger)}
    assert sum(states.values()) == len(severe_of(live))
    assert states.keys() == ({"due", "stale"} if says_when else {"due"})


def data(one: phones.Told, says_when: bool) -> bytes:
    return message(one) if says_when else json.dumps(one.event).encode()
