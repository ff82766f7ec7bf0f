"""Planted bugs in how BigQuery is published to: each forgets what makes a lost reply harmless."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions as refusals
from google.cloud import bigquery

from malacate.errors import WarehouseBusy, WarehouseError
from malacate.names import quote
from malacate.warehouse import bigquery as engine
from malacate.warehouse.bigquery_jobs import Conflict, Jobs
from malacate.warehouse.bigquery_tables import MARKER_COLUMNS

WAREHOUSE: Any = engine.BigQueryWarehouse


def _leave_out(*beginnings: str) -> None:
    """Publish by a script without the statements that begin so."""
    script = engine.script

    def shorter(*asked: Any) -> str:
        statements = script(*asked).split(";\n")
        return ";\n".join(one for one in statements if not one.startswith(beginnings))

    engine.script = shorter


def insert_only_marker() -> None:
    """A marker is written if there was none when it was looked for; nothing else is required."""
    _leave_out("update malacate.claims", "select if(")


def moved_unseen() -> None:
    """What a table holds may be another thing than it was decided on."""
    script = engine.script

    def unguarded(claim: str, seen: Any, staged: Any) -> str:
        return script(claim, {}, staged)

    engine.script = unguarded


def cleaned_after_lost_commit() -> None:
    """A transaction of which nothing is heard is taken for failed, and swept up after."""
    commit = WAREHOUSE._commit

    def tidy(self: Any, held: Any, wanted: Any) -> None:
        try:
            commit(self, held, wanted)
        except WarehouseBusy:
            ids = ", ".join(f"'{this.landing.batch_id}'" for this in wanted)
            tables = [f"{this.table.name.sql('bigquery')} where _batch_id" for this in wanted]
            gone = [*tables, "malacate.claims where batch_id"]
            self._jobs.query("\n".join(f"delete from {where} in ({ids});" for where in gone))
            raise

    WAREHOUSE._commit = tidy


def new_job_after_unknown() -> None:
    """What is sent again is another job."""
    sent = Counter[str]()

    def renamed(send: Callable[..., Any]) -> Callable[..., Any]:
        def anew(self: Any, *asked: Any, job_id: str = "", **more: Any) -> Any:
            sent[job_id] += 1
            another = f"{job_id}_{sent[job_id]}" if job_id and sent[job_id] > 1 else job_id
            return send(self, *asked, job_id=another or None, **more)

        return anew

    def begun(self: Jobs, job_id: str, send: Callable[[], Any]) -> Any:
        try:
            return send()
        except refusals.Conflict:
            return self._known(job_id)

    for name in ("query", "load_table_from_uri"):
        setattr(bigquery.Client, name, renamed(getattr(bigquery.Client, name)))
    Jobs._begun = begun  # type: ignore[method-assign]


def marked_before_the_transaction() -> None:
    """The marker has a job of its own, which comes first."""
    claim, script = WAREHOUSE._claim, engine.script
    columns = ", ".join(quote(name, "bigquery") for name in MARKER_COLUMNS)

    def marked(self: Any, name: str, wanted: Any) -> None:
        claim(self, name, wanted)
        self._jobs.query(
            f"insert into malacate.loads ({columns}, published_at) select {columns}, "
            "current_timestamp() from malacate.claims where claim = @claim",
            {"claim": name},
        )

    def rest(name: str, seen: Any, staged: Any) -> str:
        ours = Counter(one.this.table.name for one in staged)
        return script(name, {table: n + ours[table] for table, n in seen.items()}, staged)

    WAREHOUSE._claim = marked
    engine.script = rest
    _leave_out("insert into malacate.loads")


def failed_load_ignored() -> None:
    """Loads are waited for, however they end."""

    wait = Jobs._await

    def loose(self: Jobs, job: Any) -> None:
        try:
            wait(self, job)
        except (Conflict, WarehouseError):
            if not isinstance(job, bigquery.LoadJob):
                raise

    Jobs._await = loose  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    planted.__name__: planted
    for planted in (
        insert_only_marker, moved_unseen, cleaned_after_lost_commit, new_job_after_unknown,
        marked_before_the_transaction, failed_load_ignored,
    )
}  # fmt: skip

SEEN_BY = {
    "insert_only_marker": "BigQuery, overtaken by the same",
    "moved_unseen": "BigQuery, overtaken by newer",
    "cleaned_after_lost_commit": "BigQuery, silence",
    "new_job_after_unknown": "BigQuery, silence",
    "marked_before_the_transaction": "BigQuery, died",
    "failed_load_ignored": "BigQuery, failed loads",
}
"""The histories that show each of them."""
