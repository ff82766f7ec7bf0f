"""What answers of BigQuery mean: whether a job's fate is known, and what it failed of."""

from collections.abc import Iterator
from contextlib import contextmanager

import tenacity
from google.api_core import exceptions as refusals
from requests.exceptions import RequestException
from urllib3.exceptions import HTTPError

from malacate.errors import MalacateError, OutOfBudget, WarehouseBusy, WarehouseError

UNSURE = (
    refusals.ServerError,
    refusals.TooManyRequests,
    refusals.RetryError,
    RequestException,
    HTTPError,
    ConnectionError,
    TimeoutError,
    tenacity.RetryError,
)
SAID = (*UNSURE, refusals.GoogleAPICallError)
_CONFLICT = (
    "concurrent update", "could not serialize", "transaction is aborted", "malacate: ",
    "too many dml statements outstanding",
)  # fmt: skip
_AGAIN = (
    "backendError",
    "internalError",
    "jobInternalError",
    "rateLimitExceeded",
    "jobBackendError",
)


class Conflict(Exception):
    """Done, and nothing of it stands: another transaction was first, or BigQuery itself failed."""


@contextmanager
def told(job_id: str) -> Iterator[None]:
    """What the client raises, as what it means."""
    try:
        yield
    except SAID as error:
        if is_unsure(error):
            raise lost(job_id, str(error)) from error
        raise meant("", str(error), job_id) from error


def is_unsure(error: BaseException) -> bool:
    """Whether an answer does not tell what became of a job. One that was begun may be unknown
    for a moment (404), and asking too often is forbidden (403); neither ends it.
    """
    if isinstance(error, refusals.Forbidden):
        return any(one.get("reason") == "rateLimitExceeded" for one in error.errors)
    if isinstance(error, refusals.NotFound):
        return "not found: job" in str(error).lower()
    return isinstance(error, UNSURE)


def meant(reason: str, said: str, job_id: str) -> Exception:
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


def lost(job_id: str, said: str) -> MalacateError:
    """What is raised where it is not known what became of a job."""
    return WarehouseBusy(
        "BigQuery gave no answer that tells whether a job was done",
        "Run again: the marker tells what was published; nothing is done twice.",
        object=job_id,
        actual=(said.splitlines() or [""])[0][:300],
        reason="warehouse_unknown",
    )
