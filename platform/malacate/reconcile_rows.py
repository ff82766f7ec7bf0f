"""Rows of two sides compared by key in a scratch file of DuckDB, which keeps a hash of each row."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from malacate.contracts.chunk import Reject
from malacate.contracts.table import Table
from malacate.names import quote

_SIDES = ("source_rows", "target_rows")
_START = (
    "create or replace table {} (k {}, h ubigint)",
    "create or replace table left_out (k {})",
    "create or replace table behind (k {})",
)
_DIFFERING = """
create or replace table differing as
with s as (select k, count(*) as n, sum(h::hugeint) as h from source_rows group by k),
     t as (select k, count(*) as n, sum(h::hugeint) as h from target_rows group by k)
select coalesce(s.k, t.k) as k, coalesce(s.n, 0) as ns, coalesce(t.n, 0) as nt
from s full join t on s.k = t.k where s.n is distinct from t.n or s.h is distinct from t.h
"""
_WITHOUT = "delete from differing where k in (select k from left_out)"
_COUNTS = (
    "select sum(greatest(ns - nt, 0)) filter (not late), "
    "sum(greatest(nt - ns, 0)) filter (not late), "
    "count(*) filter (ns = nt and not late), count(*) filter (late) "
    "from (select *, k in (select k from behind) as late from differing)"
)
_EXAMPLES = (
    "select case when ns > nt then 'lost' when ns < nt then 'twice' else 'wrong' end, k "
    "from differing where k not in (select k from behind) order by k limit {}"
)


@dataclass(frozen=True)
class Comparison:
    """Two sides of ``table``, a keyed one; a key may come often on either."""

    connection: duckdb.DuckDBPyConnection
    table: Table
    rows: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Forget the rows of both sides."""
        for side in _SIDES:
            self.connection.execute(_START[0].format(side, self._kind))
            self.rows[side] = 0
        for statement in _START[1:]:
            self.connection.execute(statement.format(self._kind))

    def add(self, side: str, rows: pa.Table | pa.RecordBatch) -> None:
        """Rows of ``source_rows`` or ``target_rows``."""
        columns = [column.name for column in self.table.columns]
        rows = pa.table(rows.select(columns)).cast(self._schema(columns))
        values = ", ".join(f"r.{quote(name, 'duckdb')}" for name in columns)
        self._insert(side, f"hash(row({values}))", rows)
        self.rows[side] += rows.num_rows

    def mark(self, what: str, keys: pa.Table | pa.RecordBatch) -> None:
        """Keys that are ``behind``, or ``left_out``."""
        names = list(self.table.key)
        self._insert(what, "", pa.table(keys.select(names)).cast(self._schema(names)))

    def leave_out(self, rejects: Iterable[Reject]) -> None:
        """Rows of the source that no row here can be; some do not tell their key."""
        for reject in rejects:
            if (key := _key_of(self.table, reject.raw)) is not None:
                self.mark("left_out", key)

    def differ(self) -> int:
        """How many keys do, after those that are left out."""
        self.connection.execute(_DIFFERING)
        self.connection.execute(_WITHOUT)
        return self._count("select count(*) from differing")

    def remember(self) -> None:
        """Keep what differs now; ``again`` drops what did not differ then."""
        self.connection.execute(
            "create or replace table before as select k from differing "
            "where k not in (select k from behind)"
        )

    def again(self) -> None:
        """A difference that stands at one look only was none: it was on its way."""
        self.connection.execute(
            "delete from differing where k not in (select k from before) "
            "and k not in (select k from behind)"
        )

    def all_behind(self) -> None:
        """Nothing that differs is wrong."""
        self.connection.execute("insert into behind select k from differing")

    def unexplained(self) -> int:
        """How many keys differ and are not behind."""
        query = "select count(*) from differing where k not in (select k from behind)"
        return self._count(query)

    def counts(self) -> tuple[int, int, int, int]:
        """Rows lost, twice, wrong and behind."""
        (found,) = self.connection.execute(_COUNTS).fetchall()
        lost, twice, wrong, behind = (int(value or 0) for value in found)
        return lost, twice, wrong, behind

    def examples(self, most: int) -> list[str]:
        """Keys of rows that differ, with how they do."""
        found = self.connection.execute(_EXAMPLES.format(most)).fetchall()
        return [f"{kind} {_shown(list(key.values()))}" for kind, key in found]

    def _insert(self, what: str, more: str, given: pa.Table) -> None:
        key = ", ".join(f"{quote(n, 'duckdb')} := r.{quote(n, 'duckdb')}" for n in self.table.key)
        self.connection.register("given", given)
        hashed = f", {more}" if more else ""
        statement = f"insert into {what} select struct_pack({key}){hashed} from given r"  # noqa: S608
        self.connection.execute(statement)
        self.connection.unregister("given")

    @property
    def _kind(self) -> str:
        columns = (self.table.by_name[name] for name in self.table.key)
        fields = (f"{quote(column.name, 'duckdb')} {column.sql_type}" for column in columns)
        return f"struct({', '.join(fields)})"

    def _schema(self, names: Sequence[str]) -> pa.Schema:
        return pa.schema([(name, self.table.by_name[name].type) for name in names])

    def _count(self, query: str) -> int:
        return int(self.connection.execute(query).fetchall()[0][0])


def _shown(key: list[Any]) -> str:
    return str(key[0]) if len(key) == 1 else str(tuple(map(str, key)))


def _key_of(table: Table, raw: bytes) -> pa.Table | None:
    """The key in a rejected row's text, if it can be told."""
    told = json.loads(raw.decode("utf-8", "replace"))
    row = told.get("row", told)
    columns = [table.by_name[name] for name in table.key]
    values = [row.get(c.delivered_as, row.get(c.name)) for c in columns]
    try:
        arrays = [
            pa.array([None if v is None else str(v)], pa.string()).cast(c.type)
            for v, c in zip(values, columns, strict=True)
        ]
    except pa.ArrowInvalid:
        return None
    known = None not in values
    return pa.table(arrays, names=list(table.key)) if known else None
