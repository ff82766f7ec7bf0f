"""BigQuery jobs: each is known by an id of ours, so that a lost answer is asked for again.

A job whose fate is not known is neither repeated under another name nor cleaned up after.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

import tenacity
from google.api_core import exceptions as refusals
from google.cloud import bigquery

from malacate.errors import OutOfBudget, WarehouseError
from malacate.warehouse.bigquery_answers import (
    SAID,
    UNSURE,
    Conflict,
    is_unsure,
    lost,
    meant,
    told,
)
from malacate.warehouse.bigquery_bind import parameter
from malacate.warehouse.cost import Estimate, Meter, Spent

STAGED_FOR = timedelta(days=3)
"""How long what was loaded stands before it expires."""

__all__ = ["BOOKKEEPING", "STAGED_FOR", "Conflict", "Jobs", "Load", "page"]

BOOKKEEPING = "bookkeeping"
"""Statements on our own small tables: what they cost is noted, but nothing holds them up."""

_LOADS = 3
"""How often a load is tried that BigQuery itself fails."""

_OPTIONS: dict[str, Any] = {"enableListInference": True, "mapTargetType": "ARRAY_OF_STRUCT"}
_READS = ("select ", "SELECT ", "with ", "WITH ")
"""How a statement begins whose result is a table of its own, which a key may be named for: with
scripts and DDL BigQuery refuses one, and DML writes by the key of its table.
"""


@dataclass(frozen=True)
class Load:
    """Parquet on its way into ``target``, a table that is for it alone; ``name`` is its job's."""

    name: str
    uris: Sequence[str]
    target: bigquery.TableReference
    schema: Sequence[bigquery.SchemaField]
    labels: Mapping[str, str] = field(default_factory=dict)


class Jobs:
    """Runs jobs of one project; ``patience_seconds`` is how long an answer is waited for.

    With a ``meter``, statements other than bookkeeping are dry-run before they are run, and raise
    ``OutOfBudget`` if they would cost more than is left; BigQuery itself stops them there too.
    """

    def __init__(
        self,
        client: Any,
        patience_seconds: float = 600.0,
        meter: Meter | None = None,
        labels: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        self.client = client
        self._encrypted = bigquery.EncryptionConfiguration(key) if key else None
        self._patience = patience_seconds
        self._meter = meter
        self._labels = {"app": "malacate", **(labels or {})}

    def labelled(self, labels: Mapping[str, str]) -> "Jobs":
        """The same, with these labels too on each job."""
        other = copy(self)
        other._labels = {**self._labels, **labels}
        return other

    def query(
        self, sql: str, values: Mapping[str, Any] | None = None, kind: str = BOOKKEEPING
    ) -> Any:
        """Run one reading or idempotent statement to its end."""
        return self.once(sql, values, f"mlc_q_{secrets.token_hex(12)}", kind)

    def once(
        self, sql: str, values: Mapping[str, Any] | None, job_id: str, kind: str = BOOKKEEPING
    ) -> Any:
        """Run a statement or script as the job ``job_id``, at most once whatever is lost.

        Raises ``Conflict`` if another transaction was first, ``OutOfBudget`` before it is begun.
        """
        config = self._configured(values)
        if self._meter is None:
            return self._run(sql, config, job_id)
        spent = Spent(job_id, kind)
        if kind != BOOKKEEPING:
            asked = self.estimate(sql, values)
            spent = replace(spent, bytes_estimated=asked.bytes, accuracy=asked.accuracy)
            if (left := self._meter.left) is not None:
                config.maximum_bytes_billed = max(left, 1)
            self._meter.begin(spent)
        return self._metered(self._meter, spent, sql, config)

    def estimate(self, sql: str, values: Mapping[str, Any] | None = None) -> Estimate:
        """What a statement would read: a dry run does nothing and costs nothing.

        That of a script looks at tables as they stand before its first statement, so it is a bound
        at best, and BigQuery refuses it where a statement reads a table that the script makes. What
        is refused has no estimate: run, it is held by ``maximum_bytes_billed`` alone.
        """
        config = self._configured(values)
        config.dry_run = True
        send = partial(self.client.query, sql, config, retry=None, job_retry=None, timeout=60)
        try:
            with told("a dry run"):
                job = self._patient(send)
        except (WarehouseError, Conflict):
            return Estimate()
        known = job._properties.get("statistics", {}).get("query", {})
        accuracy = known.get("totalBytesProcessedAccuracy", "UNKNOWN")
        return Estimate(job.total_bytes_processed, accuracy)

    def estimated(self, job_id: str, location: str) -> int | None:
        """What BigQuery had estimated of a job that someone else began."""
        job = self._patient(
            partial(self.client.get_job, job_id, location=location, retry=None, timeout=60)
        )
        known: int | None = job.estimated_bytes_processed
        return known

    def _configured(self, values: Mapping[str, Any] | None) -> bigquery.QueryJobConfig:
        return bigquery.QueryJobConfig(
            query_parameters=[parameter(name, value) for name, value in (values or {}).items()],
            labels=self._labels,
            use_legacy_sql=False,
        )

    def _metered(self, meter: Meter, spent: Spent, sql: str, config: Any) -> Any:
        begun: list[Any] = []
        try:
            return self._run(sql, config, spent.job_id, begun)
        except OutOfBudget as error:
            raise meter.over(spent, error.actual) from error
        finally:
            if begun and begun[0].state == "DONE":
                meter.end(_billed(begun[0], spent))

    def _run(self, sql: str, config: Any, job_id: str, begun: list[Any] | None = None) -> Any:
        if self._encrypted and sql.startswith(_READS):
            config.destination_encryption_configuration = self._encrypted
        job = self._begin(
            job_id,
            lambda: self.client.query(
                sql, job_config=config, job_id=job_id, retry=None, job_retry=None, timeout=60
            ),
        )
        if begun is not None:
            begun.append(job)
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
                        raise lost(one.name, str(error)) from error
                else:
                    if not _has_expired(job):
                        break
                number, job = self._begin_load(one, number + 1)

    def _begin_load(self, one: Load, at_least: int) -> tuple[int, Any]:
        """The first from this number on that has not failed or been lost, and its number."""
        for number in count(at_least):
            sent: list[Any] = []
            job = self._begin(f"{one.name}_{number}", partial(self._send_load, one, number, sent))
            if sent or not (job.error_result or self._is_gone(job)):
                return number, job
        raise AssertionError

    def _is_gone(self, job: Any) -> bool:
        """Whether what was loaded is not there any more: a dataset can be lost, a job cannot."""
        if job.state != "DONE":
            return False
        try:
            self._patient(partial(self.client.get_table, job.destination, retry=None, timeout=60))
        except refusals.NotFound:
            return True
        return False

    def _send_load(self, one: Load, number: int, sent: list[Any]) -> Any:
        config = bigquery.LoadJobConfig(
            source_format="PARQUET",
            schema=list(one.schema),
            write_disposition="WRITE_TRUNCATE" if number else "WRITE_EMPTY",
            labels={**self._labels, **one.labels},
        )
        if self._encrypted:
            config.destination_encryption_configuration = self._encrypted
        config.parquet_options = bigquery.ParquetOptions.from_api_repr(_OPTIONS)
        job = self.client.load_table_from_uri(
            list(one.uris), one.target, job_config=config, job_id=f"{one.name}_{number}",
            retry=None, timeout=60,
        )  # fmt: skip
        sent.append(job)
        return job

    def _begin(self, job_id: str, send: Callable[[], Any]) -> Any:
        """The job under this id: the one that an earlier request began, or a new one."""
        with told(job_id):
            return self._patient(self._begun, job_id, send)

    def _begun(self, job_id: str, send: Callable[[], Any]) -> Any:
        try:
            return send()
        except refusals.Conflict:
            return self._known(job_id)
        except UNSURE:
            with suppress(refusals.NotFound):
                return self._known(job_id)
            raise

    def _known(self, job_id: str) -> Any:
        return self.client.get_job(job_id, retry=None, timeout=60)

    def _await(self, job: Any) -> None:
        with told(job.job_id):
            self._patient(_awaited, job, self._patience)

    def _patient(self, ask: Callable[..., Any], *given: Any) -> Any:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_exception(is_unsure),
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
    except SAID:
        if job.state != "DONE" or not job.error_result:
            raise
        said = job.error_result
        raise meant(said.get("reason", ""), said.get("message", ""), job.job_id) from None


def _polling(patience: float) -> tenacity.Retrying:
    """Asks again until it is so; sooner than the client does at first, for most loads are small."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_result(lambda is_done: not is_done),
        wait=tenacity.wait_exponential(multiplier=0.05, max=5.0),
        stop=tenacity.stop_after_delay(patience),
    )


def _billed(job: Any, spent: Spent) -> Spent:
    """What was billed for a job that is done; nothing for one that BigQuery refused at once."""
    return replace(
        spent,
        url=page(job.project, job.location or "US", job.job_id),
        bytes_billed=job.total_bytes_billed or 0,
        slot_ms=job.slot_millis,
    )


def page(project: str, location: str, job_id: str) -> str:
    """The page of a job in the console."""
    job = f"bq:{location}:{job_id}"
    return f"https://console.cloud.google.com/bigquery?project={project}&j={job}&page=queryresults"


def _has_expired(job: Any) -> bool:
    return bool(job.ended and datetime.now(UTC) - job.ended > STAGED_FOR - timedelta(hours=1))
