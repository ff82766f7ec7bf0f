"""BigQuery: replies that are lost, publishers that are overtaken, publishers that die."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

from platform_tests.emulators.bigquery_proxy import Fault
from platform_tests.emulators.bigquery_words import INSERTS
from platform_tests.faults.bigquery_feeds import Sent, history
from platform_tests.faults.bigquery_yard import PATIENCE_SECONDS, Died, Yard, die, passing
from platform_tests.faults.cases import Case
from platform_tests.faults.processes import told
from platform_tests.faults.verdict import Verdict

from malacate.warehouse.bigquery_jobs import Jobs

UNKNOWN = "unknown in BigQuery"
"""What jobs are counted under of which no answer told if they were accepted."""

PAUSES = ("tx_checked", "tx_rows", "tx_marker")
POINTS = (*PAUSES, "committed")


def weather() -> list[Fault]:
    """All that may happen to a request, each at its own chance."""
    asked = ("job", "rows")
    return [
        Fault("drop_after", INSERTS, None, chance=0.14),
        Fault("drop_before", INSERTS, None, chance=0.08),
        Fault("status_after", INSERTS, None, status=503, chance=0.05),
        Fault("status_after", INSERTS, None, status=500, chance=0.03),
        Fault("status", INSERTS, None, status=503, chance=0.04),
        Fault("status", INSERTS, None, status=500, chance=0.02),
        Fault("status", INSERTS, None, status=429, chance=0.05),
        Fault("slow", INSERTS, None, seconds=1.0, chance=0.02),
        Fault("slow", ("transaction",), 1, seconds=1.5 * PATIENCE_SECONDS, chance=0.1),
        Fault("conflict", ("transaction",), None, chance=0.15),
        Fault("conflict", ("load",), None, chance=0.02),
        Fault("status", ("job",), None, status=403, chance=0.1),
        Fault("status", ("job",), None, status=404, chance=0.1),
        Fault("status", asked, None, status=503, chance=0.02),
        Fault("status", asked, None, status=429, chance=0.02),
        Fault("drop_before", asked, None, chance=0.02),
        Fault("drop_after", asked, None, chance=0.02),
    ]


def storm(yard: Yard) -> None:
    """All tables, in all orders."""
    for call in history(yard.feeds):
        yard.proxy.inject(*weather())
        yard.publish(*call)
        yard.proxy.quiet()


SILENCES = (
    ("tx_marker", "drop_after", "transaction"),
    ("tx_marker", "drop_before", "transaction"),
    ("tx_checked", "drop_after", "load"),
)


def silence(yard: Yard) -> None:
    """No answer comes for longer than a run is patient; then the next run asks."""
    for number, (point, kind, what) in enumerate(SILENCES):
        call = _of_all_tables(yard, number)
        faults = Fault(kind, (what,), None), Fault("drop_before", ("job",), None)
        with passing(point, partial(yard.proxy.inject, *faults)):
            if yard.tried(*call):
                yard.this.problems.append("a run knew what nobody told it")
        yard.proxy.quiet()
        yard.publish(*call)


def failed_loads(yard: Yard) -> None:
    """BigQuery fails loads: three of many at once, then one more often than a run tries it."""
    calls = [_of_all_tables(yard, 0), [yard.feeds.file("b", 1)], _of_all_tables(yard, 1)]
    for call, times in zip(calls, (3, 10, 5), strict=True):
        yard.proxy.inject(Fault("conflict", ("load",), times))
        yard.publish(*call)
        yard.proxy.quiet()


def overtaken_by_the_same(yard: Yard) -> None:
    """Paused; another publishes the same batches; it goes on."""
    for number, point in enumerate(PAUSES):
        call = _of_all_tables(yard, number)
        _overtaken(yard, point, call, [call])


def overtaken_by_newer(yard: Yard) -> None:
    """Paused; another publishes newer versions, a newer snapshot, a wider window; it goes on."""
    feeds = yard.feeds
    for number, point in enumerate(PAUSES):
        at, lo = 10 * (number + 1), 10 * number if number else None
        ours = [feeds.drop("a", at), feeds.whole(at), feeds.window(lo, at - 1)]
        theirs = [feeds.drop("a", at + 1), feeds.whole(at + 1), feeds.window(lo, at)]
        _overtaken(yard, point, ours, [theirs])


def overtaken_by_later(yard: Yard) -> None:
    """Paused; another publishes the same window and the one after it; it goes on."""
    for number, point in enumerate(PAUSES):
        lo = 10 * number if number else None
        ours = [yard.feeds.window(lo, 10 * number + 5)]
        theirs = [yard.feeds.window(10 * number + 5, 10 * number + 10, sweeps=True)]
        _overtaken(yard, point, ours, [ours, theirs])


def died(yard: Yard) -> None:
    """Dead at every point; then a new one publishes."""
    for number, point in enumerate(POINTS):
        call = _of_all_tables(yard, number)
        with passing(point, die):
            if not _dies(yard, call):
                yard.this.problems.append(f"nobody died at {point}")
        yard.publish(*call)


def died_at_a_job(yard: Yard) -> None:
    """Dead before a job was sent, and dead once it was: at each job of a publication in turn."""
    for was_sent in (False, True):
        for nth in count():
            call = _of_all_tables(yard, len(yard.calls))
            with _dying(nth, was_sent):
                is_dead = _dies(yard, call)
            yard.publish(*call)
            if not is_dead:
                break


def _of_all_tables(yard: Yard, number: int) -> list[Sent]:
    """Later than those with a lower number."""
    feeds, lo = yard.feeds, 10 * number
    return [
        feeds.drop("a", number + 1), feeds.file(f"f{number}", 1),
        feeds.window(lo or None, lo + 10, sweeps=number % 2 == 0), feeds.whole(number + 1),
    ]  # fmt: skip


def _overtaken(yard: Yard, point: str, ours: list[Sent], theirs: list[list[Sent]]) -> None:
    passed: list[str] = []

    def others() -> None:
        passed.append(point)
        for call in theirs:
            yard.publish(*call)

    with passing(point, others):
        yard.tried(*ours)
    yard.this.injected += len(passed)
    if not passed:
        yard.this.problems.append(f"{point} was not passed")
    yard.publish(*ours)


def _dies(yard: Yard, call: list[Sent]) -> bool:
    try:
        yard.tried(*call)
    except Died:
        yard.this.injected += 1
        return True
    return False


@contextmanager
def _dying(nth: int, was_sent: bool) -> Iterator[None]:
    begin, left = Jobs._begin, [nth]

    def last(self: Jobs, job_id: str, send: Callable[[], Any]) -> Any:
        left[0] -= 1
        if left[0] >= 0:
            return begin(self, job_id, send)
        if was_sent:
            send()
        return die()

    with mock.patch.object(Jobs, "_begin", last):
        yield


HISTORIES: dict[str, Callable[[Yard], None]] = {
    "storm": storm,
    "silence": silence,
    "failed loads": failed_loads,
    "overtaken by the same": overtaken_by_the_same,
    "overtaken by newer": overtaken_by_newer,
    "overtaken by later": overtaken_by_later,
    "died": died,
    "died at a job": died_at_a_job,
}
OF_REPLIES = ("storm", "silence")


def bigquery_cases(turns: int, seed: int, mutant: str = "") -> list[Case]:
    """Each history, ``turns`` times with seeds of their own, and twice as many storms.

    The one that dies at each job is for the long form, and need not be repeated.
    """
    times = {"storm": 2 * turns, "died at a job": int(turns > 1)}
    return [
        _case(name, seed + number, mutant)
        for name in HISTORIES
        for number in range(times.get(name, turns))
    ]


def _case(name: str, seed: int, mutant: str) -> Case:
    def history() -> Verdict:
        with Yard.at(seed) as yard:
            return yard.judged(HISTORIES[name])

    def run(root: Path) -> Verdict:
        return told(root, history, mutant)

    aim = UNKNOWN if name in OF_REPLIES else ""
    return Case(f"BigQuery, {name}, seed {seed}", run, aim)
