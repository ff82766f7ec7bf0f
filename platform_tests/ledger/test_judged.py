"""What a watch has not judged yet is found soon, and once: whatever clocks and commits do."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from malacate.ledger import alarms
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import ALL_JUDGED
from malacate.ledger.work import Found

DAY, AGAIN = 86_400.0, 600.0
NOW = 1_767_322_800.0
LOADED = Outcome("loaded", 1, 1)


@dataclass
class Site:
    """A ledger, and a clock for how late it is and one for when batches ended."""

    url: str
    now: float = NOW
    ended: float = NOW
    judged: list[str] = field(default_factory=list)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.url, clock=lambda: self.ended)

    def load(self, number: int, ended: float, table: str = "vibration") -> str:
        found = Found("pit", table, "object", f"{number}.csv", "1", number)
        self.ended = ended
        self.ledger.note([found])
        self.ledger.mend([(found.batch_id, LOADED)])
        return found.batch_id

    def waiting(self, watch: str = "pit/vibration", limit: int = 100) -> list[str]:
        return alarms.unjudged(self.ledger, watch, "pit", "vibration", limit, self.now)

    def judge(self, watch: str = "pit/vibration", limit: int = 100) -> list[str]:
        found = self.waiting(watch, limit)
        with self.ledger.together() as connection:
            alarms.mark_judged(connection, watch, found)
        self.judged += found
        return found

    def judge_all(self, watch: str = "pit/vibration") -> list[str]:
        before = len(self.judged)
        while self.judge(watch):
            pass
        return self.judged[before:]


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "sqlite":
        return Site(f"sqlite:///{tmp_path}/ledger.sqlite")
    plain: str = request.getfixturevalue("postgres_url")
    return Site(plain.replace("postgresql://", "postgresql+psycopg://", 1))


@contextmanager
def new_site() -> Iterator[Site]:
    with tempfile.TemporaryDirectory() as folder:
        yield Site(f"sqlite:///{folder}/ledger.sqlite")


def test_what_was_judged_long_ago_is_not_looked_at_each_time(site: Site) -> None:
    old = site.load(1, NOW - 2 * DAY)
    assert site.judge_all() == [old]
    forgotten = site.load(2, NOW - 2 * DAY)
    assert site.waiting() == []
    site.now += AGAIN
    assert site.waiting() == [forgotten]


def test_the_database_finds_what_ended_lately_by_its_index(tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path}/ledger.sqlite")
    site.judge_all()
    engine, asked = site.ledger._engine, list[str]()

    @sa.event.listens_for(engine, "before_cursor_execute")
    def _asked(_: object, __: object, statement: str, *___: object) -> None:
        asked.append(statement)

    site.now += 10
    site.waiting()
    (query,) = (one for one in asked if "FROM batch" in one)
    with engine.connect() as connection:
        plan = connection.exec_driver_sql(f"explain query plan {query}", ("",) * query.count("?"))
        told = " ".join(str(row) for row in plan)
    assert "batch_ended (source=? AND table_name=? AND state=? AND ended>?)" in told
    assert "SCAN batch" not in told


def test_a_watch_that_is_new_sees_all_that_was_ever_loaded(site: Site) -> None:
    old = [site.load(number, NOW - number * DAY) for number in range(5)]
    assert site.judge_all() == old[::-1]
    assert site.judge_all("pit/other") == old[::-1]
    assert site.waiting() == site.waiting("pit/other") == []


@pytest.mark.parametrize("state", ["rejected", "loaded"])
def test_what_is_loaded_in_the_end_is_judged_whenever_it_was_first_seen(
    site: Site, state: str
) -> None:
    """A retry, or one that a rebuilt warehouse made wait again."""
    found = Found("pit", "vibration", "object", "a.csv", "1", 1)
    site.ended = NOW - 5 * DAY
    site.ledger.note([found])
    site.ledger.mend([(found.batch_id, Outcome(state))])
    assert site.waiting() == [found.batch_id] * (state == "loaded")
    if state == "loaded":
        site.ledger.forget([found.batch_id])
    else:
        site.ledger.release([found.batch_id])
    assert site.judge_all() == []
    site.now += 60
    site.ended = site.now
    site.ledger.mend([(found.batch_id, LOADED)])
    assert site.judge_all() == [found.batch_id]


def test_a_new_version_is_judged_as_it_was_loaded_now(site: Site) -> None:
    site.load(1, NOW - 5 * DAY)
    site.judge_all()
    newer = Found("pit", "vibration", "object", "1.csv", "2", 2)
    site.ended = site.now
    site.ledger.note([newer], supersede=True)
    site.ledger.mend([(newer.batch_id, LOADED)])
    assert site.judge_all() == [newer.batch_id]


def test_a_ledger_that_was_made_anew_judges_all_again(tmp_path: Path) -> None:
    first = Site(f"sqlite:///{tmp_path}/ledger.sqlite")
    first.load(1, NOW - 5 * DAY)
    first.judge_all()
    again = Site(f"sqlite:///{tmp_path}/rebuilt.sqlite")
    assert again.load(1, NOW) == first.judged[0]
    assert again.judge_all() == first.judged


def test_a_ledger_of_the_previous_version_knows_what_was_judged(site: Site) -> None:
    site.load(1, NOW - 5 * DAY)
    site.judge_all()
    engine = sa.create_engine(site.url)
    ALL_JUDGED.drop(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("drop index batch_ended")
    assert Site(site.url).judge_all() == []
    assert "batch_ended" in {one["name"] for one in sa.inspect(engine).get_indexes("batch")}


def test_a_clock_that_was_ahead_and_is_right_again_hides_nothing(site: Site) -> None:
    site.now = NOW + 400 * DAY
    ahead = site.load(1, site.now)
    assert site.judge_all() == [ahead]
    site.now = NOW
    right = site.load(2, NOW)
    assert site.judge_all() == [right]


@dataclass(frozen=True)
class Event:
    """After ``later`` seconds a batch is committed, or loaded again, that ended ``ago``; or not."""

    later: float
    number: int | None
    ago: float
    is_judged: bool


def events(most_ago: float, least_ago: float = 0.0) -> st.SearchStrategy[list[Event]]:
    one = st.builds(
        Event,
        st.sampled_from([0.0, 10.0, AGAIN / 2, AGAIN, DAY / 3, 2 * DAY]) | st.floats(0, 3 * DAY),
        st.none() | st.integers(0, 8),
        st.floats(least_ago, most_ago),
        st.booleans(),
    )
    return st.lists(one, max_size=15)


def happen(site: Site, event: Event, unseen: set[str]) -> None:
    site.now += event.later
    if event.number is None:
        return
    one = site.load(event.number, site.now - event.ago)
    if one not in site.judged:
        unseen.add(one)


@settings(max_examples=60)
@given(events(DAY), st.integers(1, 3))
def test_what_is_committed_within_a_day_of_its_end_is_found_at_the_next_look(
    some: list[Event], limit: int
) -> None:
    with new_site() as site:
        unseen: set[str] = set()
        for event in some:
            happen(site, event, unseen)
            if event.is_judged:
                while found := site.judge(limit=limit):
                    unseen -= set(found)
                assert unseen == set()
        unseen -= set(site.judge_all())
        assert unseen == set()
        assert len(site.judged) == len(set(site.judged))


@settings(max_examples=60)
@given(events(900 * DAY, -900 * DAY))
def test_whatever_clocks_say_every_batch_is_found_once_and_ten_minutes_late_at_most(
    some: list[Event],
) -> None:
    with new_site() as site:
        unseen: set[str] = set()
        for event in some:
            happen(site, event, unseen)
            if event.is_judged:
                unseen -= set(site.judge_all())
        site.now += AGAIN
        unseen -= set(site.judge_all())
        assert unseen == set()
        assert len(site.judged) == len(set(site.judged))
