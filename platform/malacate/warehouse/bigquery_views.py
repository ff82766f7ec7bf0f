"""Views for readers on BigQuery: who may see which rows is decided by row access policies.

They stand on guards, tables of one row that only a reader's members see, and not on the tables
that are shown: those are replaced by dbt, which would open them, and are written by an account
that sees all of them. A view shows nothing to whom no guard shows its row, so nothing is open
while it is made. Readers are let into one dataset, which is authorized on those beneath it.
"""

from typing import Any

import tenacity
from google.api_core import exceptions as refusals
from google.cloud import bigquery
from sqlglot import exp

from malacate.errors import WarehouseError
from malacate.warehouse.bigquery_derived import translated
from malacate.warehouse.bigquery_jobs import Jobs
from malacate.warehouse.bigquery_tables import Tables
from malacate.warehouse.views import GUARDS, Reader, View, guard

_LET_IN = {"group": "groupByEmail", "user": "userByEmail", "serviceAccount": "userByEmail"}
_overtaken = tenacity.Retrying(
    retry=tenacity.retry_if_exception_type(refusals.PreconditionFailed),
    wait=tenacity.wait_random(0.1, 1.0),
    stop=tenacity.stop_after_attempt(10),
    reraise=True,
)
"""Who may enter a dataset is one list: of two that change it at once, one has to read it again."""


class Views:
    """Views of one project."""

    def __init__(self, jobs: Jobs, tables: Tables) -> None:
        self._jobs = jobs
        self._client = jobs.client
        self._tables = tables

    def share(self, view: View) -> None:
        """See ``Warehouse.share``. Readers that are declared no more see no rows; that they may
        list the dataset stays, for others may have let them in.
        """
        self._tables.dataset(GUARDS)
        self._tables.dataset(view.name.schema)
        for reader in view.readers:
            self._guard(reader)
        self._jobs.query(translated(view.create(guarded=True)))
        here = {"projectId": self._client.project, "datasetId": view.name.schema}
        views = bigquery.AccessEntry.from_api_repr(
            {"dataset": {"dataset": here, "targetTypes": ["VIEWS"]}}
        )
        for beneath in (GUARDS, view.table.schema):
            self._let(beneath, [views])
        members = {member for reader in view.readers for member in reader.members}
        self._let(view.name.schema, [_entry(member) for member in sorted(members)])

    def _guard(self, reader: Reader) -> None:
        """Make its table, and let its members and nobody else see the row.

        What was granted is noted on the table, afterwards: a policy that is as it should be is
        not written again.
        """
        name, members = guard(reader.name), ", ".join(map(_text, reader.members))
        if self._granted(reader.name) == members:
            return
        quoted = name.sql("bigquery")
        self._jobs.query(f"create table if not exists {quoted} as select true as is_member")
        self._jobs.query(
            f"create or replace row access policy members on {quoted} "
            f"grant to ({members}) filter using (true)"
        )
        table = bigquery.Table(self._tables.reference(name.schema, name.table))
        table.description = members
        self._client.update_table(table, ["description"], timeout=60)

    def _granted(self, reader: str) -> str | None:
        name = guard(reader)
        standing: Any = self._tables.standing(name)
        return standing.description if standing else None

    def _let(self, dataset: str, entries: list[bigquery.AccessEntry]) -> None:
        """Add what is missing to those who may enter a dataset."""
        try:
            _overtaken(self._add, dataset, entries)
        except refusals.GoogleAPICallError as error:
            raise _not_let(dataset, error) from error

    def _add(self, name: str, entries: list[bigquery.AccessEntry]) -> None:
        dataset = self._client.get_dataset(name, timeout=60)
        missing = [one for one in entries if one not in dataset.access_entries]
        if missing:
            dataset.access_entries = [*dataset.access_entries, *missing]
            self._client.update_dataset(dataset, ["access_entries"], timeout=60)


def _entry(member: str) -> bigquery.AccessEntry:
    """``roles/bigquery.dataViewer`` for one member, in the words that BigQuery answers with."""
    kind, _, name = member.partition(":")
    return bigquery.AccessEntry("READER", _LET_IN.get(kind, kind), name)


def _text(value: str) -> str:
    return exp.Literal.string(value).sql("bigquery")


def _not_let(dataset: str, error: refusals.GoogleAPICallError) -> WarehouseError:
    return WarehouseError(
        "readers could not be let into a dataset, or its views onto their tables",
        "Give the platform's account roles/bigquery.dataOwner on the dataset, and look whether "
        "each member is known to the cloud.",
        object=dataset,
        actual=str(error)[:500],
        reason="access_refused",
    )
