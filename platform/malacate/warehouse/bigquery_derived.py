"""BigQuery's statements that renew what is derived of a published table, in its transaction.

Written in DuckDB's words by the derivation, translated here, and kept by constants to the
partitions that can matter: see ``bigquery_spans``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import sqlglot
from sqlglot import exp

from malacate.contracts.table import Table
from malacate.names import TableName
from malacate.warehouse.bigquery_spans import Span, of_hours, pruned
from malacate.warehouse.bigquery_types import literal
from malacate.warehouse.protocol import Derivation

_WORDS = {"epoch_us": "unix_micros"}
"""Functions that sqlglot does not know under DuckDB's name."""


@dataclass(frozen=True)
class Derived:
    """What is derived of ``table``, where rows come or go that are in ``spans``."""

    table: Table
    derives: Derivation
    spans: Sequence[Span | None]

    def touched(self, older: Sequence[str]) -> Iterable[str]:
        """Remember the keys that older versions of the objects fed, while their rows are there."""
        yield _touching(older)
        select = self._bounded(self.derives.touched(self.table))
        yield f"create or replace temp table gone as {select}"

    def renewed(self, batches: Sequence[str]) -> Iterable[str]:
        """Renew the target for the batches that came, and for what is in ``gone``."""
        yield _touching(batches)
        batch_id = literal(batches[-1])
        for one in self.derives.statements(self.table):
            if isinstance(one, str):
                yield self._bounded(one.replace("$batch_id", batch_id))
                continue
            inner = "".join(
                f"{self._bounded(each.replace('$batch_id', batch_id))};\n"
                for each in one.statements
            )
            yield f"if (select count(*) > 0 from {one.table}) then\n{inner}end if"

    def _bounded(self, sql: str) -> str:
        statement = _in_duckdb(sql)
        if by_hour := self.derives.by_hour:
            target = self.derives.target
            spans = [span and of_hours(span, by_hour[0]) for span in self.spans]
            there = [span and replace(span, column=by_hour[1]) for span in spans]
            _keep(statement, self.table.name, pruned(self.table, spans))
            _keep(statement, target.name, pruned(target, there))
        return statement.sql(dialect="bigquery")


def translated(sql: str) -> str:
    """A statement in DuckDB's words, in BigQuery's."""
    return _in_duckdb(sql).sql(dialect="bigquery")


def _in_duckdb(sql: str) -> exp.Expr:
    statement = sqlglot.parse_one(sql, read="duckdb")
    for called in statement.find_all(exp.Anonymous):
        called.set("this", _WORDS.get(called.name, called.name))
    return statement


def _keep(statement: exp.Expr, name: TableName, condition: str) -> None:
    """Have a statement read, or delete, only those rows of a table that meet the condition."""
    if not condition:
        return
    bounds = sqlglot.parse_one(condition.removeprefix(" and "), read="bigquery")
    for found in list(statement.find_all(exp.Table)):
        if (found.db, found.name) != (name.schema, name.table):
            continue
        if isinstance(found.parent, exp.Delete):
            found.parent.where(bounds.copy(), copy=False)
        elif not isinstance(found.parent, (exp.Insert, exp.Schema)):
            alias = found.alias_or_name
            found.set("alias", None)
            kept = exp.select("*").from_(found.copy()).where(bounds.copy())
            found.replace(kept.subquery(exp.to_identifier(alias, quoted=True)))


def _touching(batches: Sequence[str]) -> str:
    ids = f"array<string>[{', '.join(map(literal, batches))}]"
    return (
        f"create or replace temp table touching as select batch_id from unnest({ids}) as batch_id"
    )
