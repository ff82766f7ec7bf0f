"""Discovery: what a tick lists, what it costs, and that nothing is skipped for ever."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from platform_tests.sources.stores import LazyStore, MemoryStore, end_of, name_of

from malacate.errors import ConfigError, SourceUnreachable
from malacate.sources import discovery as module
from malacate.sources.completeness import Promise
from malacate.sources.discovery import Discovery, Rising, Tick, Windows
from malacate.sources.selection import Selection

HOUR, DAY = 3600.0, 86400.0
NOON = datetime(2026, 11, 21, 12, 30, tzinfo=UTC).timestamp()
HOURLY = Windows("rock/%Y/%m/%d/%H/")
PLANS = (None, HOURLY, Rising())
FACTS = st.sampled_from(["plan", "lo", "after", "mark", "began", "at", "walked"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner) | st.dictionaries(FACTS, inner),
)


def of(store: MemoryStore, plan: Windows | Rising | None = None, **facts: float) -> Discovery:
    return Discovery(Selection(store, ("rock/*.avro",)), "lab", "rock", plan, **facts)


def at(hour: float, name: str = "a") -> str:
    moment = datetime.fromtimestamp(NOON + hour * HOUR, UTC)
    return f"rock/{moment:%Y/%m/%d/%H}/{name}.avro"


def names(tick: Tick) -> list[str]:
    return sorted(found.object for found in tick.found)


def until_done(discovery: Discovery, cursor: str | None, now: float, budget: int = 1) -> list[Tick]:
    ticks = [discovery.tick(cursor, now, budget)]
    while not ticks[-1].complete:
        ticks.append(discovery.tick(ticks[-1].cursor, now, budget))
    return ticks


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore(now=NOON)


def test_a_found_object_is_known_by_name_and_version(store: MemoryStore) -> None:
    entry = store.put("rock/a.avro", b"123")
    [found] = of(store).tick(None, NOON).found
    assert (found.source, found.table, found.kind) == ("lab", "rock", "object")
    assert (found.object, found.version, found.ordinal) == ("rock/a.avro", entry.version, 1)
    assert found.size == 3


def test_without_a_plan_every_tick_lists_all(store: MemoryStore) -> None:
    store.put("rock/a.avro")
    first = of(store).tick(None, NOON)
    store.put("rock/0.avro")
    second = of(store).tick(first.cursor, NOON + 1)
    assert first.complete
    assert names(second) == ["rock/0.avro", "rock/a.avro"]


def test_a_tick_lists_no_more_than_its_budget_and_the_next_goes_on() -> None:
    store = LazyStore(10_500, an_hour=1000)
    ticks = until_done(of(store), None, NOON, budget=2)
    assert [tick.listed for tick in ticks] == [2000] * 5 + [500]
    assert [tick.requests for tick in ticks] == [2] * 5 + [1]
    assert len({f.object for tick in ticks for f in tick.found}) == 10_500


def test_the_walk_finds_every_object_of_a_bucket_whatever_the_budget() -> None:
    store = LazyStore(3_000, an_hour=7)
    with patch.object(module, "PAGE", 10):
        for budget in (1, 3, 100, 300, 301):
            ticks = until_done(of(store), None, NOON, budget)
            assert len({f.object for tick in ticks for f in tick.found}) == 3_000


def test_windows_list_only_what_is_new(store: MemoryStore) -> None:
    discovery = of(store, HOURLY)
    store.put(at(-40 * 24), at=NOON - 40 * DAY)
    first = discovery.tick(None, NOON)
    store.put(at(0))
    store.put(at(-2, "late"))
    store.listings.clear()
    second = discovery.tick(first.cursor, NOON + 60)
    assert names(first) == [at(-40 * 24)], "the walk is due when the cursor is new"
    assert names(second) == [at(-2, "late"), at(0)]
    assert [prefix for prefix, _ in store.listings] == [at(h)[:-6] for h in (-2, -1, 0)]


def test_what_is_later_than_the_overlap_is_found_by_the_walk(store: MemoryStore) -> None:
    discovery = of(store, HOURLY, reconcile_seconds=DAY)
    tick = discovery.tick(None, NOON)
    store.put(at(-10, "late"))
    tick = discovery.tick(tick.cursor, NOON + HOUR)
    assert names(tick) == []
    tick = discovery.tick(tick.cursor, NOON + DAY)
    assert names(tick) == [at(-10, "late")]


@pytest.mark.parametrize("plan", [HOURLY, Rising()])
def test_an_overwrite_of_an_old_object_is_found_by_the_walk(
    store: MemoryStore, plan: Windows | Rising
) -> None:
    discovery = of(store, plan)
    old = store.put(at(-30), at=NOON - 30 * HOUR)
    for hour in (-3, -2, -1):
        store.put(at(hour), at=NOON + hour * HOUR)
    tick = discovery.tick(None, NOON)
    new = store.put(at(-30), b"again", at=NOON + 60)
    tick = discovery.tick(tick.cursor, NOON + 60)
    assert old.version != new.version
    assert new.version not in [found.version for found in tick.found]
    tick = discovery.tick(tick.cursor, NOON + DAY)
    assert new.version in [found.version for found in tick.found]


def test_after_an_outage_every_window_is_caught_up_a_budget_at_a_time(store: MemoryStore) -> None:
    discovery = of(store, HOURLY, reconcile_seconds=30 * DAY)
    cursor = discovery.tick(None, NOON).cursor
    for hour in range(72):
        store.put(at(hour, "x"))
    ticks = until_done(discovery, cursor, NOON + 72 * HOUR, budget=5)
    assert all(tick.requests <= 5 for tick in ticks)
    assert len({f.object for tick in ticks for f in tick.found}) == 72
    assert len(ticks) == 15, "75 windows from the overlap before the outage to now"


def test_a_window_larger_than_the_budget_goes_on_where_it_stopped() -> None:
    store = LazyStore(5_000, an_hour=5_000)
    discovery = of(store, HOURLY, reconcile_seconds=30 * DAY)
    now = end_of(5_000, 5_000)
    cursor = json.dumps({**json.loads(discovery.tick(None, now).cursor), "walked": now})
    seen = set()
    for _ in range(8):
        tick = discovery.tick(cursor, now, budget=1)
        cursor = tick.cursor
        seen |= set(names(tick))
    assert len(seen) == 5_000


def test_rising_names_are_listed_from_the_last_safe_one(store: MemoryStore) -> None:
    discovery = of(store, Rising(overlap_seconds=900))
    for minute in range(60):
        store.put(f"rock/{minute:04}.avro", at=NOON + minute * 60)
    now = NOON + HOUR
    tick = discovery.tick(None, now)
    store.listings.clear()
    store.put("rock/0050b.avro", at=now)
    second = discovery.tick(tick.cursor, now + 1)
    assert store.listings == [("rock/", "rock/0045.avro")]
    assert "rock/0050b.avro" in names(second), "a smaller name within the overlap is found"
    store.put("rock/0001b.avro", at=now)
    third = discovery.tick(second.cursor, now + 2)
    assert "rock/0001b.avro" not in names(third)
    assert "rock/0001b.avro" in names(discovery.tick(third.cursor, now + DAY))


def test_a_burst_of_young_rising_names_does_not_stop_the_listing(store: MemoryStore) -> None:
    discovery = of(store, Rising(), reconcile_seconds=30 * DAY)
    cursor = discovery.tick(None, NOON).cursor
    with patch.object(module, "PAGE", 10):
        for number in range(100):
            store.put(f"rock/{number:04}.avro", at=NOON)
        seen = set()
        for _ in range(11):
            tick = discovery.tick(cursor, NOON + 60, budget=1)
            seen |= set(names(tick))
            cursor = tick.cursor
    assert len(seen) == 100


def test_young_names_are_not_passed_because_older_ones_follow_them(store: MemoryStore) -> None:
    discovery = of(store, Rising(), reconcile_seconds=30 * DAY)
    cursor = discovery.tick(None, NOON).cursor
    with patch.object(module, "PAGE", 10):
        for number in range(20):
            store.put(f"rock/{number:04}.avro", at=NOON if number < 10 else NOON - HOUR)
        for _ in range(3):
            cursor = discovery.tick(cursor, NOON + 60, budget=1).cursor
        store.put("rock/0005b.avro", at=NOON + 60)
        seen = set()
        for _ in range(3):
            tick = discovery.tick(cursor, NOON + 60, budget=1)
            seen |= set(names(tick))
            cursor = tick.cursor
    assert "rock/0005b.avro" in seen


def test_one_object_from_the_future_does_not_hold_the_rising_names_up(store: MemoryStore) -> None:
    discovery = of(store, Rising())
    store.put("rock/0000.avro", at=NOON + 900 * DAY)
    store.put("rock/0001.avro", at=NOON - HOUR)
    cursor = discovery.tick(None, NOON).cursor
    assert json.loads(cursor)["mark"] == "rock/0001.avro"


@pytest.mark.parametrize("plan", [HOURLY, Rising()])
@pytest.mark.parametrize("walking", [False, True])
def test_the_cost_of_a_tick_does_not_grow_with_the_bucket(
    plan: Windows | Rising, walking: bool
) -> None:
    costs = []
    for count in (100_000, 1_000_000):
        store, now = LazyStore(count, an_hour=100), end_of(count, 100)
        discovery = of(store, plan)
        facts = {"lo": now - 2 * HOUR, "mark": name_of(count - 250, 100),
                 "after": name_of(count - 250, 100) if isinstance(plan, Rising) else "",
                 "began": now * walking, "at": "", "walked": now - HOUR}  # fmt: skip
        cursor = json.dumps({**json.loads(discovery.tick(None, now).cursor), **facts})
        store.asked.clear()
        tick = discovery.tick(cursor, now)
        costs.append((store.asked["list"], store.asked["listed"]))
        assert len(tick.found) == tick.listed
        assert name_of(count - 1, 100) in names(tick)
    assert costs[0] == costs[1]
    assert costs[0][1] <= (300 if not walking else 20_300)


@pytest.mark.parametrize("plan", PLANS)
def test_a_store_that_does_not_answer_is_an_error_and_not_nothing_new(
    store: MemoryStore, plan: Windows | Rising | None
) -> None:
    store.is_down = True
    with pytest.raises(SourceUnreachable):
        of(store, plan).tick(None, NOON)


@pytest.mark.parametrize("plan", PLANS)
@given(garbage=st.text() | ANYTHING.map(json.dumps))
@settings(max_examples=60)
def test_a_cursor_that_is_garbage_is_a_lost_one(
    garbage: str, plan: Windows | Rising | None
) -> None:
    store = MemoryStore(now=NOON)
    store.put(at(-500))
    assert names(of(store, plan).tick(garbage, NOON)) == [at(-500)]


@given(
    moments=st.lists(st.floats(allow_nan=True), min_size=3, max_size=3),
    marks=st.lists(st.text(max_size=3), min_size=3, max_size=3),
)
@settings(max_examples=60)
def test_a_cursor_with_wrong_facts_delays_and_never_hides(
    moments: list[float], marks: list[str]
) -> None:
    for plan in PLANS:
        store = MemoryStore(now=NOON)
        store.put(at(-500))
        discovery = of(store, plan)
        facts = json.loads(discovery.tick(None, NOON).cursor)
        facts |= dict(zip(("lo", "began", "walked"), moments, strict=True))
        facts |= dict(zip(("after", "mark", "at"), marks, strict=True))
        cursor, seen = json.dumps(facts), set()
        for later in (0.0, DAY, DAY + 1, 2 * DAY + 1):
            tick = discovery.tick(cursor, NOON + later)
            cursor = tick.cursor
            seen |= set(names(tick))
        assert seen == {at(-500)}


def test_another_declaration_does_not_trust_the_cursor(store: MemoryStore) -> None:
    store.put(at(-500))
    cursor = of(store, HOURLY).tick(None, NOON).cursor
    assert names(of(store, HOURLY).tick(cursor, NOON)) == []
    other = Discovery(Selection(store, ("rock/*",)), "lab", "rock", HOURLY)
    assert names(other.tick(cursor, NOON)) == [at(-500)]


def test_what_somebody_should_hear_of_is_told_and_the_rest_is_counted(store: MemoryStore) -> None:
    for name in ("a.csv", "b.tmp", "c.txt"):
        store.put(name)
    store.put("x.manifest", b'{"files": [{"name": "a.csv", "rows": 4}, {"name": "gone.csv"}]}')
    chosen = Selection(store, ("*.csv",), complete="manifest")
    tick = Discovery(chosen, "lab", "rock").tick(None, NOON)
    assert tick.passed == {"temporary": 1, "pattern": 1, "missing": 1, "unfinished": 1}
    assert [passed.name for passed in tick.told] == ["gone.csv"]
    store.put("gone.csv")
    tick = Discovery(chosen, "lab", "rock").tick(tick.cursor, NOON)
    [first, _] = tick.found
    assert Promise.from_json(first.promise or "").rows == 4


@pytest.mark.parametrize("template", ["rock/", "rock/%", "rock/%A/"])
def test_windows_without_a_time_in_their_names_are_refused(template: str) -> None:
    with pytest.raises(ConfigError):
        Windows(template)
    with pytest.raises(ConfigError):
        Windows("%Y/", zone="Atlantis/Deep")


@given(
    lo=st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1)),
    hours=st.floats(0, 24 * 8),
    zone=st.sampled_from(["UTC", "America/Lima", "America/Santiago", "Australia/Lord_Howe"]),
    template=st.sampled_from(["%Y/%m/%d/%H/", "%Y/%m/%d/", "%Y-%j/", "%Y/%m/", "%Y/"]),
)
@settings(max_examples=80)
def test_no_moment_falls_between_two_windows(
    lo: datetime, hours: float, zone: str, template: str
) -> None:
    begin = lo.replace(tzinfo=UTC).timestamp()
    plan = Windows(template, zone=zone)
    listed = [prefix for _, prefix in plan.prefixes(begin, begin + hours * HOUR)]
    for minutes in range(0, int(hours * 60), 7):
        moment = datetime.fromtimestamp(begin + minutes * 60, UTC)
        [due] = [p for _, p in plan.prefixes(moment.timestamp(), moment.timestamp())]
        assert due in listed
    assert all(one != other for one, other in pairwise(listed))


class Uploads(RuleBasedStateMachine):
    """Anything may happen to a bucket and to a cursor; a reconcile finds all that stands."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(now=NOON)
        self.cursor: str | None = None
        self.noted: set[tuple[str, str]] = set()
        self.count = 0

    @initialize(plan=st.sampled_from(PLANS))
    def declare(self, plan: Windows | Rising | None) -> None:
        self.discovery = of(self.store, plan)

    @rule(hours_ago=st.integers(0, 100), copies=st.integers(1, 9))
    def upload(self, hours_ago: int, copies: int) -> None:
        moment = datetime.fromtimestamp(self.store.now, UTC) - timedelta(hours=hours_ago)
        for _ in range(copies):
            self.count += 1
            self.store.put(f"rock/{moment:%Y/%m/%d/%H}/{self.count % 37}.avro")

    @rule(choice=st.integers(0))
    def overwrite(self, choice: int) -> None:
        if self.store.objects:
            self.store.put(sorted(self.store.objects)[choice % len(self.store.objects)])

    @rule(choice=st.integers(0))
    def delete(self, choice: int) -> None:
        if self.store.objects:
            self.store.delete(sorted(self.store.objects)[choice % len(self.store.objects)])

    @rule(choice=st.integers(0))
    def list_late(self, choice: int) -> None:
        if self.store.objects:
            self.store.hidden.add(sorted(self.store.objects)[choice % len(self.store.objects)])

    @rule()
    def list_all(self) -> None:
        self.store.hidden.clear()

    @rule(hours=st.floats(0, 50))
    def wait(self, hours: float) -> None:
        self.store.now += hours * HOUR

    @rule(back=st.floats(0, 2))
    def set_the_clock_back(self, back: float) -> None:
        self.store.now -= back * HOUR

    @rule()
    def lose_the_cursor(self) -> None:
        self.cursor = None

    @rule(budget=st.integers(1, 4), dies=st.sampled_from(["", "", "before", "after"]))
    def tick(self, budget: int, dies: str) -> None:
        """A crash comes before the ledger knows, or after it and before the cursor is stored."""
        with patch.object(module, "PAGE", 5):
            tick = self.discovery.tick(self.cursor, self.store.now, budget)
        assert tick.requests <= 2 * budget
        assert tick.listed <= 2 * budget * 5
        if dies != "before":
            self.noted |= {(found.object, found.version) for found in tick.found}
        if not dies:
            self.cursor = tick.cursor

    @rule()
    def reconcile(self) -> None:
        """After at most one walk under way and one more, whatever stands was noted."""
        self.store.hidden.clear()
        self.finish_the_walk()
        self.store.now += DAY
        self.finish_the_walk()
        standing = {(e.name, e.version) for e, _ in self.store.objects.values()}
        assert standing <= self.noted

    def finish_the_walk(self) -> None:
        for _ in range(60):
            self.tick(4, "")
        assert self.discovery.plan is None or json.loads(self.cursor or "")["began"] == 0

    def teardown(self) -> None:
        self.reconcile()


TestUploads = Uploads.TestCase
TestUploads.settings = settings(
    max_examples=40,
    stateful_step_count=25,
)
