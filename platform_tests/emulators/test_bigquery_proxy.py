"""Each fault of the proxy reaches Google's client as what the service would have said."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core import exceptions as refusals
from google.cloud import bigquery
from platform_tests.emulators.bigquery_proxy import Fault, Proxy, proxied
from platform_tests.emulators.conftest import PROJECT, Warehouse, client_at
from requests.exceptions import ConnectionError as Dropped
from requests.exceptions import ReadTimeout

UNSURE = (refusals.ServerError, refusals.TooManyRequests, Dropped, ReadTimeout)


@dataclass(frozen=True)
class Behind:
    """An empty table behind a proxy; ``rows`` are read around it."""

    client: bigquery.Client
    proxy: Proxy
    warehouse: Warehouse
    dataset: str

    def begin(self, sql: str, job_id: str, timeout: float = 30) -> bigquery.QueryJob:
        sql = sql.replace("{t}", f"{self.dataset}.t")
        return self.client.query(sql, job_id=job_id, retry=None, job_retry=None, timeout=timeout)

    def job(self, job_id: str) -> Any:
        return self.client.get_job(job_id, retry=None)

    @property
    def rows(self) -> list[int]:
        return [a for (a,) in self.warehouse.rows(f"select a from {self.dataset}.t order by a")]


@pytest.fixture
def behind(warehouse: Warehouse) -> Iterator[Behind]:
    dataset = f"d{uuid.uuid4().hex}"
    warehouse.client.create_dataset(dataset)
    warehouse.rows(f"create table {dataset}.t (a int64)")
    with proxied(warehouse.url) as proxy:
        yield Behind(client_at(proxy.url), proxy, warehouse, dataset)


@pytest.fixture
def job_id() -> str:
    return f"j{uuid.uuid4().hex}"


INSERT = "insert into {t} (a) values (1)"
TRANSACTION = "begin transaction;\nupdate {t} set a = 2 where true;\ncommit transaction;"


def finished(job: Any) -> Any:
    extra = {"job_retry": None} if isinstance(job, bigquery.QueryJob) else {}
    return job.result(retry=None, timeout=30, **extra)


def test_a_job_is_accepted_then_done(behind: Behind, job_id: str) -> None:
    job = behind.begin(INSERT, job_id)
    assert job.state == "RUNNING"
    finished(job)
    assert (job.state, job.num_dml_affected_rows, behind.rows) == ("DONE", 1, [1])


def test_rows_come_as_without_the_proxy(behind: Behind, job_id: str) -> None:
    job = behind.begin("select x from unnest(generate_array(1, 30000)) as x order by x", job_id)
    assert [row["x"] for row in finished(job)] == list(range(1, 30_001))


def test_an_id_is_taken_once(behind: Behind, job_id: str) -> None:
    finished(behind.begin(INSERT, job_id))
    with pytest.raises(
        refusals.Conflict, match=f"Already Exists: Job {PROJECT}:US.{job_id}"
    ) as told:
        behind.begin(INSERT, job_id)
    assert told.value.errors[0]["reason"] == "duplicate"
    assert (behind.job(job_id).state, behind.rows) == ("DONE", [1])


def test_a_job_that_failed_keeps_its_id_and_tells_why(behind: Behind, job_id: str) -> None:
    with pytest.raises(refusals.BadRequest, match="fenced"):
        finished(behind.begin("select error('malacate: fenced')", job_id))
    with pytest.raises(refusals.Conflict):
        behind.begin("select 1", job_id)
    assert "fenced" in behind.job(job_id).error_result["message"]
    with pytest.raises(refusals.GoogleAPICallError, match="fenced"):
        behind.client._connection.api_request("GET", f"/projects/{PROJECT}/queries/{job_id}")


def test_a_request_lost_before_the_service_did_nothing(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("drop_before", ("query",)))
    with pytest.raises(Dropped):
        behind.begin(INSERT, job_id)
    with pytest.raises(refusals.NotFound):
        behind.job(job_id)
    assert (behind.rows, behind.proxy.unknown) == ([], 1)
    finished(behind.begin(INSERT, job_id))
    assert behind.rows == [1]


def test_a_reply_lost_after_the_commit_is_known_by_the_id(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("drop_after", ("query",)))
    with pytest.raises(Dropped):
        behind.begin(INSERT, job_id)
    with pytest.raises(refusals.Conflict):
        behind.begin(INSERT, job_id)
    finished(behind.job(job_id))
    assert (behind.rows, behind.proxy.unknown) == ([1], 1)


@pytest.mark.parametrize(
    ("status", "error", "reason", "unknown"),
    [
        (403, refusals.Forbidden, "rateLimitExceeded", 0),
        (429, refusals.TooManyRequests, "rateLimitExceeded", 0),
        (500, refusals.InternalServerError, "internalError", 1),
        (502, refusals.BadGateway, "badGateway", 1),
        (503, refusals.ServiceUnavailable, "backendError", 1),
        (504, refusals.GatewayTimeout, "backendError", 1),
    ],
)
def test_a_refusal_comes_as_the_service_words_it(
    behind: Behind,
    job_id: str,
    status: int,
    error: type[refusals.GoogleAPICallError],
    reason: str,
    unknown: int,
) -> None:
    behind.proxy.inject(Fault("status", ("query",), status=status))
    with pytest.raises(error) as told:
        behind.begin(INSERT, job_id)
    assert told.value.errors[0]["reason"] == reason
    assert (behind.rows, behind.proxy.unknown) == ([], unknown)


def test_an_error_of_the_service_may_come_after_the_commit(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("status_after", ("query",), status=503))
    with pytest.raises(refusals.ServiceUnavailable):
        behind.begin(INSERT, job_id)
    assert (behind.job(job_id).state, behind.rows, behind.proxy.unknown) == ("DONE", [1], 1)


def test_the_client_retries_by_itself_what_the_service_calls_passing(
    behind: Behind, job_id: str
) -> None:
    behind.proxy.inject(Fault("status", ("query",), times=2, status=503))
    sql = INSERT.replace("{t}", f"{behind.dataset}.t")
    finished(behind.client.query(sql, job_id=job_id, job_retry=None))
    assert (behind.rows, behind.proxy.done) == ([1], {("status", "query"): 2})


def test_a_slow_job_runs_on_when_nobody_waits(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("slow", ("query",), seconds=2))
    with pytest.raises(ReadTimeout):
        behind.begin(INSERT, job_id, timeout=0.5)
    job = behind.job(job_id)
    assert (job.state, behind.rows) == ("RUNNING", [])
    with pytest.raises(refusals.Conflict):
        behind.begin(INSERT, job_id)
    finished(job)
    assert (behind.rows, behind.proxy.unknown) == ([1], 1)


def test_a_slow_answer_comes_to_who_waits(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("slow", ("query", "job"), times=2, seconds=0.3))
    began = time.monotonic()
    finished(behind.begin(INSERT, job_id))
    assert time.monotonic() - began > 0.6
    assert (behind.rows, behind.proxy.unknown) == ([1], 0)


@pytest.mark.parametrize(
    ("sql", "what", "said"),
    [
        (
            TRANSACTION,
            "transaction",
            "Query error: Transaction is aborted due to concurrent update against table "
            "{project}:{dataset}.t. Transaction ID: ",
        ),
        (
            "delete from {t} where true",
            "query",
            "Could not serialize access to table {project}:{dataset}.t due to concurrent update",
        ),
    ],
)
def test_a_conflict_is_told_once_the_job_has_run(
    behind: Behind, job_id: str, sql: str, what: Any, said: str
) -> None:
    behind.warehouse.rows(f"insert into {behind.dataset}.t (a) values (1)")
    behind.proxy.inject(Fault("conflict", (what,)))
    job = behind.begin(sql, job_id)
    assert job.state == "RUNNING"
    message = said.format(project=PROJECT, dataset=behind.dataset)
    with pytest.raises(refusals.BadRequest, match=message):
        finished(job)
    assert (job.error_result["reason"], behind.rows) == ("invalidQuery", [1])
    with pytest.raises(refusals.Conflict):
        behind.begin(sql, job_id)
    finished(behind.begin(sql, f"{job_id}_1"))
    assert behind.rows != [1]


@pytest.mark.parametrize("lost", ["job", "rows"])
def test_questions_after_a_job_can_be_lost_too(behind: Behind, job_id: str, lost: Any) -> None:
    behind.proxy.inject(Fault("drop_before", (lost,)))
    job = behind.begin("select 1 as a", job_id)
    with pytest.raises(Dropped):
        finished(job)
    assert [row["a"] for row in finished(behind.job(job_id))] == [1]
    assert behind.proxy.unknown == 0


def test_a_load_that_is_slow_is_waited_for(behind: Behind, job_id: str) -> None:
    out = BytesIO()
    pq.write_table(pa.table({"a": [7]}), out)
    folder = behind.warehouse.bucket_root / "loads"
    folder.mkdir(exist_ok=True)
    (folder / f"{job_id}.parquet").write_bytes(out.getvalue())
    table = bigquery.DatasetReference(PROJECT, behind.dataset).table("t")
    config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_TRUNCATE")
    config.schema = [bigquery.SchemaField("a", "INT64")]

    def begin() -> Any:
        uri = f"gs://loads/{job_id}.parquet"
        return behind.client.load_table_from_uri(
            uri, table, job_id=job_id, job_config=config, retry=None, timeout=0.5
        )

    behind.proxy.inject(Fault("slow", ("load",), seconds=1.5))
    with pytest.raises(ReadTimeout):
        begin()
    with pytest.raises(refusals.Conflict):
        begin()
    finished(behind.job(job_id))
    assert (behind.rows, behind.proxy.done) == ([7], {("slow", "load"): 1})


def at_most_once(behind: Behind, sql: str, job_id: str) -> None:
    """As a client that sends the same id until it is told the end."""
    while True:
        with suppress(*UNSURE):
            try:
                job = behind.begin(sql, job_id, timeout=0.3)
            except refusals.Conflict:
                job = behind.job(job_id)
            finished(job)
            return


def test_forty_unknown_outcomes_lose_and_double_nothing(behind: Behind) -> None:
    behind.proxy.inject(
        Fault("drop_after", ("query",), times=None, chance=0.3),
        Fault("drop_before", ("query",), times=None, chance=0.3),
        Fault("status_after", ("query",), times=None, chance=0.2),
        Fault("slow", ("query",), times=None, chance=0.05, seconds=0.5),
        Fault("drop_before", ("job", "rows"), times=None, chance=0.2),
    )
    number = 0
    while behind.proxy.unknown < 40:
        at_most_once(behind, f"insert into {{t}} (a) values ({number})", f"u{uuid.uuid4().hex}")
        number += 1
    assert behind.rows == list(range(number))
    assert {kind for kind, what in behind.proxy.done if what == "query"} == {
        "drop_after",
        "drop_before",
        "status_after",
        "slow",
    }


def test_the_same_seed_gives_the_same_faults(warehouse: Warehouse) -> None:
    def fate(seed: int) -> list[bool]:
        with proxied(warehouse.url, seed) as proxy:
            proxy.inject(Fault("status", ("query",), times=None, chance=0.5))
            client = client_at(proxy.url)
            return [_is_refused(client.query) for _ in range(20)]

    assert fate(1) == fate(1)
    assert fate(1) != fate(2)


def _is_refused(query: Callable[..., Any]) -> bool:
    try:
        query("select 1", retry=None, job_retry=None)
    except refusals.ServiceUnavailable:
        return True
    return False


def test_an_id_is_taken_by_one_of_many(behind: Behind, job_id: str) -> None:
    told: list[str] = []

    def race() -> None:
        try:
            behind.begin(INSERT, job_id)
            told.append("accepted")
        except refusals.Conflict:
            told.append("taken")

    racers = [Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(30)
    finished(behind.job(job_id))
    assert (sorted(told), behind.rows) == (["accepted"] + ["taken"] * 7, [1])


def test_faults_can_be_called_off(behind: Behind, job_id: str) -> None:
    behind.proxy.inject(Fault("status", ("query",), times=None))
    behind.proxy.quiet()
    finished(behind.begin(INSERT, job_id))
    assert not behind.proxy.hit
