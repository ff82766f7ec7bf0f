"""Phones: one seed tells the same, which loads whole: late, twice, in disorder."""

import datetime as dt
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_tests.conftest import PlatformHome

from acme.definitions import DEFS
from acme.simulator import phones
from acme.simulator.phones import FOLLOWS, Told, become, received
from acme.simulator.world import DAY, World
from malacate.batch import WriteMode
from malacate.contracts.odcs import read_contract
from malacate.formats import FileFormat
from malacate.route import Route
from malacate.sources.files import FileDrops, all_files
from malacate.stores.folder import FolderStore

WORLD, HOURS = World(7, 1.0), 5


@pytest.fixture(scope="module")
def told() -> list[Told]:
    return received(WORLD, -phones.HISTORY_HOURS, HOURS)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        deliver(Path(folder))
        yield Path(folder)


def deliver(folder: Path) -> None:
    phones.deliver_history(WORLD, folder / "drops", folder / "truth")
    for hour in range(HOURS):
        phones.deliver_hour(WORLD, folder / "drops", folder / "truth", hour)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def test_the_same_world_tells_the_same_bytes(place: Path, tmp_path: Path) -> None:
    deliver(tmp_path)
    assert files(tmp_path) == files(place)


def test_some_are_days_late_some_come_twice_some_out_of_order_some_break_a_rule(
    told: list[Told],
) -> None:
    late_s = [one.received_us / 1e6 - at(one).timestamp() for one in told]
    assert 10 < sum(s >= 3 * DAY for s in late_s) < len(told) / 2
    assert min(late_s) >= 0
    times = Counter(one.event["event_id"] for one in told)
    assert sum(n > 1 for n in times.values()) > 10
    clocks = [at(one) for one in told]
    assert clocks != sorted(clocks)
    issues = become(one.event for one in told).values()
    assert sum(issue["illegal_events"] for issue in issues) > 10
    assert {issue["status"] for issue in issues} >= set(FOLLOWS) - {"blocked", None}


def at(one: Told) -> dt.datetime:
    return dt.datetime.fromisoformat(one.event["device_at"])


def test_every_message_is_loaded_as_it_came_and_folds_to_the_truth(
    place: Path, told: list[Told], platform_home: PlatformHome
) -> None:
    table = read_contract(DEFS / "mobile" / "contract.odcs.yaml", "mobile")["issue_event"]
    found = all_files(table, FolderStore(place / "drops"), ("issue_event/*",))
    drops = FileDrops(table, found, FileFormat("messages"))
    report = platform_home.ingest.run(Route(table, drops, WriteMode.APPEND))
    assert report.total("rows_quarantined") == 0
    rows = platform_home.warehouse.query("select * from raw_mobile.issue_event").to_pylist()
    assert Counter(row["message"] for row in rows) == Counter(
        json.dumps(one.event, ensure_ascii=False) for one in told
    )
    assert all(row["received_at"] >= row["device_at"] for row in rows)
    known = json.loads((place / "truth" / "mobile" / "machine_issue.json").read_text())
    assert (known["messages"], known["events"]) == (
        len(rows), len({row["event_id"] for row in rows}),
    )  # fmt: skip
    folded = become(json.loads(row["message"]) for row in rows)
    assert {key: issue["status"] for key, issue in folded.items()} == {
        key: issue["status"] for key, issue in known["issues"].items()
    }


def test_what_people_wrote_and_who_they_are_is_classified() -> None:
    table = read_contract(DEFS / "mobile" / "contract.odcs.yaml", "mobile")["issue_event"]
    personal = {c.name for c in table.columns if c.classification.startswith("pii")}
    assert personal == {"reporter_id", "text", "photo_uri", "lat", "lon", "message"}
