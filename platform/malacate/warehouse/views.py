"""Views that readers are given: which columns and rows of one table, and who may see them.

A view is one statement in DuckDB's words on every engine. What its owner wrote for its rows is
parsed, and only what reads the row itself is allowed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from malacate.errors import ConfigError
from malacate.names import TableName, quote

LAYER = "share"
"""The schema that views for readers are in: the only one that readers have to be let into."""

GUARDS = "malacate_readers"
"""A table for each reader, with a row that its members alone can see."""

_ALLOWED = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE,
    exp.Is, exp.In, exp.Between, exp.Like, exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg, exp.Lower,
    exp.Upper, exp.Cast, exp.DataType, exp.Literal, exp.Boolean, exp.Null, exp.Column,
    exp.Identifier,
)  # fmt: skip
_SAYS = (exp.Predicate, exp.Connector, exp.Not, exp.Boolean, exp.Column)
"""What is true or false; a column may be either."""


@dataclass(frozen=True)
class Reader:
    """Who may see a view, and which of its rows; all of them if ``rows`` is empty.

    ``members`` are those of the cloud's IAM: ``group:planning@acme.example``.
    """

    name: str
    members: tuple[str, ...]
    rows: str = ""


@dataclass(frozen=True)
class View:
    """``table`` under another name: ``columns`` are the view's, each with the table's behind it.

    Columns in ``masked`` are there and always null. ``rows`` holds for every reader.
    """

    name: TableName
    table: TableName
    columns: Mapping[str, str]
    readers: tuple[Reader, ...]
    masked: Collection[str] = ()
    rows: str = ""

    def create(self, *, guarded: bool) -> str:
        """The statement that makes it, or puts it in place of itself."""
        return f"create or replace view {self.name.sql('duckdb')} as {self.select(guarded=guarded)}"

    def select(self, *, guarded: bool) -> str:
        """Its rows: those that the asking reader may see, or unguarded, that any reader may."""
        return f"select {self._columns()} {self._seen(guarded)}"

    def count(self) -> str:
        """How many rows its readers may see together, as ``n``."""
        return f"select count(*) as n {self._seen(guarded=False)}"

    def empty(self) -> str:
        """Its columns, without rows."""
        return f"select {self._columns()} from {self.table.sql('duckdb')} where false"

    def _columns(self) -> str:
        return ", ".join(self._shown(name, column) for name, column in self.columns.items())

    def _seen(self, guarded: bool) -> str:
        seen = " or ".join(_seen(reader, guarded) for reader in self.readers)
        every = f"({self.rows}) and " if self.rows else ""
        return f"from {self.table.sql('duckdb')} where {every}({seen})"

    def _shown(self, name: str, column: str) -> str:
        value = quote(column, "duckdb")
        value = f"case when false then {value} end" if name in self.masked else value
        return f"{value} as {quote(name, 'duckdb')}"


def guard(reader: str) -> TableName:
    """The table whose only row the members of ``reader`` can see."""
    return TableName(GUARDS, reader)


def _seen(reader: Reader, guarded: bool) -> str:
    rows = f"({reader.rows})" if reader.rows else "true"
    is_one = f"exists (select 1 from {guard(reader.name).sql('duckdb')})"
    return f"({is_one} and {rows})" if guarded else rows


def condition(text: str, columns: Collection[str]) -> str:
    """``text`` as one condition over a row's own ``columns``, each of them quoted.

    Raises ``ConfigError`` for anything else: subqueries, other tables, functions that read.
    """
    try:
        parsed = sqlglot.parse(text, read="duckdb")
    except SqlglotError as error:
        raise _refused(text, str(error).splitlines()[0]) from error
    tree = parsed[0] if len(parsed) == 1 else None
    if tree is None:
        raise _refused(text, f"{len(parsed)} statements")
    for node in tree.walk():
        if not isinstance(node, _ALLOWED) or node.comments or _reads(node):
            raise _refused(text, f"{type(node).__name__}: {node.sql('duckdb')}")
        if isinstance(node, exp.Column) and node.name not in columns:
            raise _unknown(text, node.name, columns)
    if not isinstance(tree.unnest(), _SAYS):
        raise _refused(text, f"{type(tree).__name__}, which is neither true nor false")
    return tree.transform(_quoted).sql("duckdb")


def _reads(node: exp.Expr) -> bool:
    """A column of some other table, or a list that is a query."""
    if isinstance(node, exp.Column):
        return bool(node.table) or not isinstance(node.this, exp.Identifier)
    return isinstance(node, exp.In) and bool(node.args.get("query") or node.args.get("unnest"))


def _quoted(node: exp.Expr) -> exp.Expr:
    return exp.column(node.name, quoted=True) if isinstance(node, exp.Column) else node


def _refused(text: str, what: str) -> ConfigError:
    return ConfigError(
        "what a view shows of its rows is no condition over the columns of its table",
        "Compare columns with values: pit = 'north' and payload_t > 0. Subqueries and functions "
        "are not allowed; compute a column in the table for them.",
        object=text, actual=what, reason="bad_condition",
    )  # fmt: skip


def _unknown(text: str, column: str, columns: Collection[str]) -> ConfigError:
    return ConfigError(
        f"there is no column {column!r}",
        f"Use one of {', '.join(columns)}.",
        object=text,
        reason="unknown_column",
    )
