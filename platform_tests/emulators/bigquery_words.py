"""What requests to BigQuery are about, and how the service words what it says of jobs.

Codes and reasons are those of cloud.google.com/bigquery/docs/error-messages, messages those that
users of the service report.
"""

import json
import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Literal

What = Literal["load", "query", "transaction", "copy", "dry", "job", "rows", "other"]
"""An inserted job, by what it does (or would); a question after it, or after its rows; all else."""

INSERTS: tuple[What, ...] = ("load", "query", "transaction", "copy")

_PATH = re.compile(r"/bigquery/v2/projects/([^/?]+)/(jobs|queries)(?:/([^/?]+))?(?:\?|$)")
_TRANSACTION = re.compile(r"\bbegin\s+transaction\b", re.IGNORECASE)
_CHANGED = re.compile(
    r"\b(?:update|delete\s+from|insert\s+into|merge(?:\s+into)?)\s+([\w.`-]+)", re.IGNORECASE
)
_REASONS = {
    400: ("invalid", "INVALID_ARGUMENT", "Invalid request"),
    403: (
        "rateLimitExceeded",
        "PERMISSION_DENIED",
        "Exceeded rate limits: too many api requests per user per method for this user_method.",
    ),
    404: ("notFound", "NOT_FOUND", "Not found: Job {job}"),
    409: ("duplicate", "ALREADY_EXISTS", "Already Exists: Job {job}"),
    429: ("rateLimitExceeded", "RESOURCE_EXHAUSTED", "Exceeded rate limits"),
    500: (
        "internalError",
        "INTERNAL",
        "An internal error occurred and the request could not be completed.",
    ),
    502: ("badGateway", "UNAVAILABLE", "Bad Gateway"),
    503: (
        "backendError",
        "UNAVAILABLE",
        "Error encountered during execution. Retrying may solve the problem.",
    ),
    504: ("backendError", "DEADLINE_EXCEEDED", "Deadline exceeded"),
}


@dataclass(frozen=True)
class Request:
    """``key`` is project and id of the job that it is about, if it is."""

    method: str
    path: str
    what: What = "other"
    key: tuple[str, str] = ("", "")
    location: str = "US"
    configuration: dict[str, Any] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        return str(self.configuration.get("query", {}).get("query", ""))

    @property
    def job(self) -> str:
        """As messages have it."""
        project, name = self.key
        return f"{project}:{self.location}.{name}"


def understood(method: str, path: str, body: bytes) -> Request:
    """What a request is about."""
    found = _PATH.match(path)
    if found is None:
        return Request(method, path)
    project, of, name = found.groups()
    if method == "GET" and name:
        return Request(method, path, "job" if of == "jobs" else "rows", (project, name))
    asked = json.loads(body or b"{}")
    reference, configuration = asked.get("jobReference", {}), asked.get("configuration", {})
    if of == "queries" or "jobId" not in reference:
        return Request(method, path)
    what: What = "dry" if configuration.get("dryRun") else _inserted(configuration)
    location = reference.get("location", "US")
    return Request(method, path, what, (project, reference["jobId"]), location, configuration)


def _inserted(configuration: dict[str, Any]) -> What:
    if "query" in configuration:
        sql = configuration["query"].get("query", "")
        return "transaction" if _TRANSACTION.search(sql) else "query"
    return "load" if "load" in configuration else "copy"


def refusal(status: int, request: Request) -> tuple[int, dict[str, Any]]:
    """An answer other than what was asked for."""
    reason, name, message = _REASONS[status]
    message = message.format(job=request.job)
    error = {"reason": reason, "message": message, "domain": "global"}
    return status, {
        "error": {"code": status, "message": message, "errors": [error], "status": name}
    }


def accepted(request: Request) -> dict[str, Any]:
    """A job that runs."""
    project, name = request.key
    now = str(time.time_ns() // 1_000_000)
    return {
        "kind": "bigquery#job",
        "id": request.job,
        "jobReference": {"projectId": project, "jobId": name, "location": request.location},
        "configuration": request.configuration,
        "statistics": {"creationTime": now, "startTime": now},
        "status": {"state": "RUNNING"},
    }


def conflict(request: Request) -> dict[str, Any]:
    """A job that has failed because another changed the same table first."""
    found = _CHANGED.search(request.sql)
    path = (found[1] if found else "dataset.table").replace("`", "").split(".")
    table = f"{request.key[0]}:{'.'.join(path[-2:])}"
    said = f"Could not serialize access to table {table} due to concurrent update"
    if request.what == "transaction":
        said = (
            f"Query error: Transaction is aborted due to concurrent update against table {table}. "
            f"Transaction ID: {uuid.uuid4()} at [2:1]"
        )
    error = {"reason": "invalidQuery", "location": "query", "message": said}
    status = {"state": "DONE", "errorResult": error, "errors": [error]}
    return {**accepted(request), "status": status}


def incomplete(told: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What is said to who asks for the rows of a job that runs, or has failed."""
    error = told["status"].get("errorResult")
    if error is None:
        return 200, {
            "kind": "bigquery#getQueryResultsResponse",
            "jobReference": told["jobReference"],
            "jobComplete": False,
        }
    codes = {"notFound": 404, "duplicate": 409, "accessDenied": 403}
    code = codes.get(error["reason"], 400)
    name = "INVALID_ARGUMENT" if code == 400 else _REASONS[code][1]
    error = {"domain": "global", **error}
    told = {"code": code, "message": error["message"], "errors": [error], "status": name}
    return code, {"error": told}
