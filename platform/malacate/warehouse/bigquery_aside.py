"""Tables of BigQuery that are to be made again: what stands is cloned, then emptied.

Rows and markers go in one transaction, so that nothing is ever marked whose rows are not there. The
tables themselves stay, with the rights, policies and tags that somebody gave them.
"""

from collections.abc import Sequence

from google.api_core import exceptions as refusals
from google.cloud import bigquery
from sqlglot import exp

from malacate.errors import WarehouseError
from malacate.names import TableName
from malacate.warehouse.bigquery_jobs import Jobs
from malacate.warehouse.bigquery_tables import Tables

_MARKS = ("claims", "loads", "positions", "quarantine")
_KEPT = tuple(TableName("malacate", name) for name in _MARKS[1:])


def keep(jobs: Jobs, tables: Tables, names: Sequence[TableName], dataset: str) -> None:
    """Clone what stands of the tables, and of all markers, into ``dataset``.

    A clone costs nothing until one of the two changes.
    """
    tables.dataset(dataset)
    clone = bigquery.CopyJobConfig(operation_type="CLONE", write_disposition="WRITE_TRUNCATE")
    for name in (*names, *_KEPT):
        if tables.standing(name) is None:
            continue
        here = tables.reference(name.schema, name.table)
        there = tables.reference(dataset, f"{name.schema}__{name.table}")
        try:
            jobs.client.copy_table(here, there, job_config=clone).result(timeout=600)
        except refusals.GoogleAPICallError as error:
            raise _not_kept(name, dataset, error) from error


def emptied(tables: Tables, names: Sequence[TableName]) -> str:
    """The script that takes rows and markers out of tables that belong together."""
    these = " or ".join(
        f"(schema_name = {_text(name.schema)} and table_name = {_text(name.table)})"
        for name in names
    )
    statements = [
        "begin transaction",
        *(f"delete from malacate.{marks} where {these}" for marks in _MARKS),
        *(f"truncate table {name.sql('bigquery')}" for name in names if tables.standing(name)),
        "commit transaction",
    ]
    return ";\n".join(statements) + ";"


def _text(value: str) -> str:
    return exp.Literal.string(value).sql("bigquery")


def _not_kept(name: TableName, dataset: str, error: refusals.GoogleAPICallError) -> WarehouseError:
    return WarehouseError(
        "a table could not be put aside, so none was emptied",
        "Read what BigQuery says, then run again.",
        source=str(name),
        object=dataset,
        actual=str(error)[:500],
        reason="not_put_aside",
    )
