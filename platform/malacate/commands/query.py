"""``malacate query``: one reading statement in DuckDB's words, on the warehouse of the target."""

import sys
from csv import DictWriter
from typing import Annotated

import duckdb
import sqlglot
import typer
from sqlglot import exp
from sqlglot.errors import SqlglotError

from malacate.commands.project import show, target
from malacate.errors import ConfigError


def query(
    sql: Annotated[str, typer.Argument(help='Say "select * from gold.payload_compliance".')],
    first: Annotated[int, typer.Option(help="How many rows are shown.")] = 50,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all rows, as CSV.")] = False,
) -> None:
    """Rows of a query; it is put into the words of the target's engine. Nothing is changed."""
    try:
        (tree,) = sqlglot.parse(sql, read="duckdb")
        if not isinstance(tree, exp.Query) or tree.find(exp.DML, exp.DDL, exp.Command, exp.Into):
            raise ValueError("this is not one reading statement")
        rows = target().open_warehouse().query(sql)
    except (SqlglotError, duckdb.ProgrammingError, ValueError) as error:
        advice = "Write one select, in DuckDB's words."
        raise ConfigError(str(error).strip(), advice, reason="bad_query") from error
    if as_csv:
        writer = DictWriter(sys.stdout, rows.schema.names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows.to_pylist())
    else:
        shown = rows.slice(0, first).to_pylist()
        show(shown, False, f"{len(shown)} of {rows.num_rows:,} rows")
