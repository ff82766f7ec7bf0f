"""What a statement costs is known before it is run: over its budget, nothing is begun.

bqemulator tells 0 bytes of everything; the proxy tells those of ``bigquery_bytes`` in its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from hypothesis import given
from hypothesis import strategies as st
from platform_tests.emulators import bigquery_proxy, parts
from platform_tests.emulators.bigquery_bytes import MB
from platform_tests.emulators.bigquery_proxy import Fault, Proxy
from platform_tests.emulators.bigquery_words import INSERTS

from malacate.errors import OutOfBudget, WarehouseError
from malacate.warehouse.bigquery_jobs import Jobs
from malacate.warehouse.cost import Meter, Spent, Terms, size

GB = 1000**3
ROWS = 1000
READ = 16 * ROWS
"""The bytes of the table that is read here: two whole numbers a row."""


@dataclass
class Billed:
    """A project with one table, behind a proxy that bills; and what is noted of it."""

    proxy: Proxy
    client: bigquery.Client
    notes: list[Spent] = field(default_factory=list)

    def jobs(self, budget: int | None = None, before: int = 0) -> Jobs:
        meter = Meter("gold/thing", Terms(budget), self.notes.append, lambda: before)
        return Jobs(self.client, patience_seconds=20, meter=meter)

    def begun(self) -> int:
        """How many jobs were sent."""
        return sum(request.what in INSERTS for request in self.proxy.seen)


@pytest.fixture(scope="module")
def served(bigquery_server: parts.BigQuery) -> Iterator[tuple[Proxy, bigquery.Client]]:
    with bigquery_proxy.proxied(bigquery_server.url, bills=True) as proxy:
        client = bigquery.Client(
            "costly",
            credentials=AnonymousCredentials(),
            client_options={"api_endpoint": proxy.url},
        )
        client.create_dataset("gold")
        client.query(
            "create table gold.thing as select n, n * 2 as twice "
            f"from unnest(generate_array(1, {ROWS})) as n"
        ).result()
        yield proxy, client


@pytest.fixture
def billed(served: tuple[Proxy, bigquery.Client]) -> Billed:
    proxy, client = served
    proxy.seen.clear()
    proxy.quiet()
    return Billed(proxy, client)


def test_a_statement_over_its_budget_is_not_begun_and_the_error_says_all(billed: Billed) -> None:
    with pytest.raises(OutOfBudget) as caught:
        billed.jobs(budget=READ - 1).query("select * from gold.thing", kind="read")
    assert billed.begun() == 0
    assert billed.notes == []
    said = str(caught.value)
    for fact in ("gold/thing", "16 kB (precise)", "USD 0.0000 at 6.25 a TiB", "targets.yaml",
                 "at most 16 kB a run, 0 B are spent", "partitions"):  # fmt: skip
        assert fact in said, said


def test_what_the_run_has_spent_is_counted_earlier_attempts_too(billed: Billed) -> None:
    jobs = billed.jobs(budget=35 * MB, before=15 * MB)
    jobs.query("select * from gold.thing", kind="read")
    jobs.query("select * from gold.thing", kind="read")
    assert [one.bytes_billed for one in billed.notes] == [None, 10 * MB, None, 10 * MB]
    with pytest.raises(OutOfBudget, match=r"36.7 MB a run, 36.7 MB are spent"):
        jobs.query("select * from gold.thing", kind="read")
    assert billed.begun() == 2


def test_the_server_itself_stops_what_passes_what_is_left(billed: Billed) -> None:
    """10 MB are billed at least, which no estimate tells."""
    with pytest.raises(OutOfBudget) as caught:
        billed.jobs(budget=5 * MB).query("select * from gold.thing", kind="read")
    assert caught.value.source == "gold/thing"
    assert f"bytes billed: {5 * MB}" in caught.value.actual
    (sent,) = [request for request in billed.proxy.seen if request.what == "query"]
    assert sent.configuration["query"]["maximumBytesBilled"] == str(5 * MB)
    assert billed.notes[-1].bytes_billed == 0


def test_a_statement_is_noted_before_and_after_with_price_and_page(billed: Billed) -> None:
    job = billed.jobs(budget=GB).query("select * from gold.thing", kind="read")
    first, last = billed.notes
    assert (first.bytes_estimated, first.bytes_billed, first.accuracy) == (READ, None, "PRECISE")
    assert last.job_id == first.job_id == job.job_id
    assert (last.bytes_billed, last.usd) == (10 * MB, pytest.approx(10 / 1024**2 * 6.25))
    assert last.slot_ms is not None
    assert last.url == (
        "https://console.cloud.google.com/bigquery?project=costly"
        f"&j=bq:US:{job.job_id}&page=queryresults"
    )


def test_a_script_s_estimate_is_a_bound_and_its_dry_run_does_nothing(billed: Billed) -> None:
    script = "begin transaction;\ndelete from gold.thing where n < 0;\ncommit transaction;"
    with pytest.raises(OutOfBudget, match="upper_bound"):
        billed.jobs(budget=1).query(script, kind="publish")
    assert billed.begun() == 0
    assert billed.jobs().query("select count(*) from gold.thing").result().total_rows == 1
    told = billed.jobs().estimate(script)
    assert (told.bytes, told.accuracy) == (READ, "UPPER_BOUND")


def test_what_cannot_be_estimated_is_run_and_held_by_the_server(billed: Billed) -> None:
    billed.proxy.inject(Fault("status", ("dry",), status=400))
    billed.jobs(budget=GB).query("select * from gold.thing", kind="read")
    assert billed.notes[0].bytes_estimated is None
    assert billed.notes[0].accuracy == "UNKNOWN"
    assert billed.begun() == 1


def test_a_dry_run_that_gets_no_answer_is_asked_again(billed: Billed) -> None:
    billed.proxy.inject(Fault("status", ("dry",), times=2, status=503))
    billed.jobs(budget=GB).query("select * from gold.thing", kind="read")
    assert billed.notes[0].bytes_estimated == READ


def test_bookkeeping_is_noted_but_nothing_holds_it_up(billed: Billed) -> None:
    billed.jobs(budget=0).query("select count(*) from gold.thing")
    (note,) = billed.notes
    assert (note.kind, note.bytes_billed) == ("bookkeeping", 10 * MB)


def test_a_statement_that_is_refused_costs_nothing(billed: Billed) -> None:
    with pytest.raises(WarehouseError):
        billed.jobs(budget=GB).query("select * from gold.nothing", kind="read")
    assert [one.bytes_billed for one in billed.notes][-1] in (None, 0)


def test_without_a_meter_nothing_is_asked_beforehand(billed: Billed) -> None:
    Jobs(billed.client).query("select * from gold.thing", kind="read")
    assert [request.what for request in billed.proxy.seen].count("dry") == 0


def test_a_job_that_was_lost_for_good_counts_by_its_estimate() -> None:
    notes: list[Spent] = []
    meter = Meter("gold/thing", Terms(100), notes.append)
    meter.begin(Spent("a", "read", bytes_estimated=60))
    assert meter.left == 40
    with pytest.raises(OutOfBudget):
        meter.begin(Spent("b", "read", bytes_estimated=41))
    meter.end(Spent("a", "read", bytes_estimated=60, bytes_billed=10))
    assert meter.left == 90


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50))), st.integers(0, 200))
def test_no_begun_statement_was_estimated_above_what_was_left(
    statements: list[tuple[int, int]], budget: int
) -> None:
    meter, spent = Meter("a", Terms(budget)), 0
    for number, (estimated, billed) in enumerate(statements):
        one = Spent(str(number), "read", bytes_estimated=estimated)
        if estimated > max(0, budget - spent):
            with pytest.raises(OutOfBudget):
                meter.begin(one)
            continue
        meter.begin(one)
        meter.end(Spent(str(number), "read", bytes_estimated=estimated, bytes_billed=billed))
        spent += billed
        assert meter.left == max(0, budget - spent)


@pytest.mark.parametrize(
    ("number", "told"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (10 * MB, "10.5 MB"), (10**10, "10 GB")],
)
def test_bytes_are_told_as_people_read_them(number: int, told: str) -> None:
    assert size(number) == told
