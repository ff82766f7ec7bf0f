"""BigQuery jobs: each is known by an id of ours, so that a lost answer is asked for again.

A job whose fate is not known is neither repeated under another name nor cleaned up after.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import tenacity
from google.api_core import exceptions as refusals
from google.cloud import bigquery
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from malacate.errors import MalacateError, OutOfBudget, WarehouseBusy, WarehouseError
from malacate.warehouse.bigquery_bind import parameter

STAGED_FOR = timedelta(days=3)
"""How long what was loaded stands before it expires."""

_LOADS = 3
"""How often a load is tried that BigQuery itself fails."""

_UNSURE = (
    refusals.ServerError,
    refusals.TooManyRequests,
    refusals.RetryError,
    RequestException,
    HTTPError,
    ConnectionError,
    TimeoutError,
    tenacity.RetryError,
)
_SAID = (*_UNSURE, refusals.GoogleAPICallError)
_OPTIONS: dict[str, Any] = {"enableListInference": True, "mapTargetType": "ARRAY_OF_STRUCT"}
_CONFLICT = ("concurrent update", "could not serialize", "transaction is aborted", "malacate: ")
_AGAIN = (
    "backendError",
    "internalError",
    "jobInternalError",
    "rateLimitExceeded",
    "jobBackendError",
)


class Conflict(Exception):
    """Done, and nothing of it stands: another transaction was first, or BigQuery itself failed."""


@dataclass(frozen=True)
class Load:
    """Parquet on its way into ``target``, a table that is for it alone; ``name`` is its job's."""

    name: str
    uris: Sequence[str]
    target: bigquery.TableReference
    schema: Sequence[bigquery.SchemaField]


class Jobs:
    """Runs jobs of one project; ``patience_seconds`` is how long an answer is waited for.

    A statement that would read more than ``most_bytes`` raises ``OutOfBudget``.
    """

    def __init__(
        self,
        client: Any,
        patience_seconds: float = 600.0,
        most_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.client = client
        self._patience = patience_seconds
        self._most_bytes = most_bytes
        self._labels = {"app": "malacate", **(labels or {})}

    def query(self, sql: str, values: Mapping[str, Any] | None = None) -> Any:
        """Run one reading or idempotent statement to its end."""
        return self.once(sql, values, f"mlc_q_{secrets.token_hex(12)}")

    def once(self, sql: str, values: Mapping[str, Any] | None, job_id: str) -> Any:
        """Run a statement or script as the job ``job_id``, at most once whatever is lost.

        Raises ``Conflict`` if another transaction was first.
        """
        config = bigquery.QueryJobConfig(
            query_parameters=[parameter(name, value) for name, value in (values or {}).items()],
            labels=self._labels,
            use_legacy_sql=False,
        )
        if self._most_bytes is not None:
            config.maximum_bytes_billed = self._most_bytes
        job = self._begin(
            job_id,
            lambda: self.client.query(
                sql, job_config=config, job_id=job_id, retry=None, job_retry=None, timeout=60
            ),
        )
        self._await(job)
        return job

    def load(self, loads: Sequence[Load]) -> None:
        """Load into tables that each are for one load only, all at once.

        What was loaded before stays. A load gets another id only once the one before it is known
        to have failed, or its table to have expired: one that is under way is waited for.
        """
        begun = [(one, *self._begin_load(one, 0)) for one in loads]
        for one, number, job in begun:
            for tries in count(1):
                try:
                    self._await(job)
                except Conflict as error:
                    if tries >= _LOADS:
                        raise _lost(one.name, str(error)) from error
                else:
                    if not _has_expired(job):
                        break
                number, job = self._begin_load(one, number + 1)

    def _begin_load(self, one: Load, at_least: int) -> tuple[int, Any]:
        """The first from this number on that an earlier run has not seen fail, and its number."""
        for number in count(at_least):
            sent: list[Any] = []
            job = self._begin(f"{one.name}_{number}", partial(self._send_load, one, number, sent))
            if sent or not job.error_result:
                return number, job
        raise AssertionError

    def _send_load(self, one: Load, number: int, sent: list[Any]) -> Any:
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            schema=list(one.schema),
            write_disposition="WRITE_TRUNCATE" if number else "WRITE_EMPTY",
            labels=self._labels,
        )
        config.parquet_options = bigquery.ParquetOptions.from_api_repr(_OPTIONS)
        job = self.client.load_table_from_uri(
            list(one.uris), one.target, job_config=config, job_id=f"{one.name}_{number}",
            retry=None, timeout=60,
        )  # fmt: skip
        sent.append(job)
        return job

    def _begin(self, job_id: str, send: Callable[[], Any]) -> Any:
        """The job under this id: the one that an earlier request began, or a new one."""
        with _told(job_id):
            return self._patient(self._begun, job_id, send)

    def _begun(self, job_id: str, send: Callable[[], Any]) -> Any:
        try:
            return send()
        except refusals.Conflict:
            return self._known(job_id)
        except _UNSURE:
            with suppress(refusals.NotFound):
                return self._known(job_id)
            raise

    def _known(self, job_id: str) -> Any:
        return self.client.get_job(job_id, retry=None, timeout=60)

    def _await(self, job: Any) -> None:
        with _told(job.job_id):
            self._patient(_awaited, job, self._patience)

    def _patient(self, ask: Callable[..., Any], *given: Any) -> Any:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_unsure),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=20.0),
            stop=tenacity.stop_after_delay(self._patience),
            reraise=True,
        )
        return waiting(ask, *given)


def _awaited(job: Any, patience: float) -> None:
    """Wait until a job is done; what raised while it is not known to be is no answer."""
    is_query = isinstance(job, bigquery.QueryJob)
    try:
        if not is_query:
            _polling(patience)(job.done, retry=None, timeout=60)
        job.result(retry=None, timeout=patience, **({"job_retry": None} if is_query else {}))
    except _SAID:
        if job.state != "DONE" or not job.error_result:
            raise
        said = job.error_result
        raise _meant(said.get("reason", ""), said.get("message", ""), job.job_id) from None


def _polling(patience: float) -> tenacity.Retrying:
    """Asks again until it is so; sooner than the client does at first, for most loads are small."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda is_done: not is_done),
        wait=tenacity.wait_exponential(multiplier=0.05, max=5.0),
        stop=tenacity.stop_after_delay(patience),
    )


def _has_expired(job: Any) -> bool:
    return bool(job.ended and datetime.now(UTC) - job.ended > STAGED_FOR - timedelta(hours=1))


@contextmanager
def _told(job_id: str) -> Iterator[None]:
    """What the client raises, as what it means."""
    try:
        yield
    except _SAID as error:
        if _is_unsure(error):
            raise _lost(job_id, str(error)) from error
        raise _meant("", str(error), job_id) from error


def _is_unsure(error: BaseException) -> bool:
    """Whether an answer does not tell what became of a job. One that was begun may be unknown
    for a moment (404), and asking too often is forbidden (403); neither ends it.
    """
    if isinstance(error, refusals.Forbidden):
        return any(one.get("reason") == "rateLimitExceeded" for one in error.errors)
    if isinstance(error, refusals.NotFound):
        return "not found: job" in str(error).lower()
    return isinstance(error, _UNSURE)


def _meant(reason: str, said: str, job_id: str) -> Exception:
    """What a job that is known to have failed failed of."""
    if reason in _AGAIN or any(words in said.lower() for words in _CONFLICT):
        return Conflict(said)
    if reason == "bytesBilledLimitExceeded":
        return OutOfBudget(
            "a statement would read more than it may",
            "Prune it by the table's partitions, or raise the budget of its asset.",
            object=job_id, actual=said[:500], reason="over_budget",
        )  # fmt: skip
    return WarehouseError(
        "BigQuery refused a job; nothing of it stands",
        "Read what it says; the job's page in the console has the whole of it.",
        object=job_id,
        actual=said[:500],
        reason=reason or "refused",
    )


def _lost(job_id: str, said: str) -> MalacateError:
    return WarehouseBusy(
        "BigQuery gave no answer that tells whether a job was done",
        "Run again: the marker tells what was published; nothing is done twice.",
        object=job_id,
        actual=(said.splitlines() or [""])[0][:300],
        reason="warehouse_unknown",
    )
