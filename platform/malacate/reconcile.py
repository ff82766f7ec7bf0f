"""Is the target what the source is? Everything is read again from scratch and compared.

The scratch platform takes the same path as the real one, once and undisturbed; what kills, repeats
and late files did to the real one shows as a difference. Nothing of the real one is changed.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from malacate.contracts.table import Table
from malacate.ingest import Ingest, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.names import quote
from malacate.warehouse.duckdb import DuckDBWarehouse

SAMPLE = 5
_NOT_COMPARED = ("revision",)
"""Columns that tell how a row came to be, not what it says."""


@dataclass(frozen=True)
class Difference:
    """Source against target, row by row. ``examples`` are keys of rows that differ.

    ``behind`` counts rows that changed at the source after the target's position: they are not
    wrong, they are due with the next run.
    """

    table: str
    source_rows: int
    target_rows: int
    quarantined: int
    lost: int
    twice: int
    wrong: int
    behind: int
    examples: Sequence[str] = ()

    @property
    def is_equal(self) -> bool:
        """Nothing lost, nothing twice, nothing wrong."""
        return not (self.lost or self.twice or self.wrong)


def reconcile(route: Route, real: Ingest, cursor: str | None = None) -> list[Difference]:
    """Compare the route's table, and the one derived from it, with the source as it is now."""
    with tempfile.TemporaryDirectory(prefix="malacate-") as scratch:
        folder = Path(scratch)
        lake = Lake(folder / "lake")
        warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", lake.root)
        fresh = Ingest(Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), lake, warehouse)
        report = fresh.run(route)
        position = real.warehouse.position(route.table.name)
        due = None if cursor is None or position is None else (cursor, int(position))
        tables = [(route.table, report.total("rows_quarantined"), due)]
        if route.derives is not None:
            tables.append((route.derives.target, 0, None))
        return [compare(table, fresh, real, kept, late) for table, kept, late in tables]


def compare(
    table: Table,
    fresh: Ingest,
    real: Ingest,
    quarantined: int = 0,
    due: tuple[str, int] | None = None,
) -> Difference:
    """The multisets of rows of one table in two warehouses, by key (or whole rows without one)."""
    columns = [c.name for c in table.columns if c.name not in _NOT_COMPARED]
    source = fresh.warehouse.read(table.name, columns)
    target = _standing(real, table, source.schema)
    key = ", ".join(quote(name, "duckdb") for name in table.key or columns)
    late = "false"
    if due is not None:
        late = f"epoch_us(max({quote(due[0], 'duckdb')})) >= {due[1]}"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("source_rows", source)
        connection.register("target_rows", target)
        connection.execute(
            "create temp table both_sides as select coalesce(s.k, t.k) as k, s.h as hs, t.h as ht, "
            "coalesce(s.n, 0) as ns, coalesce(t.n, 0) as nt, coalesce(is_late, false) as late from "
            f"(select ({key}) as k, count(*) as n, sum(hash(r)::hugeint) as h, {late} as is_late "
            "from source_rows r group by k) s full join "
            f"(select ({key}) as k, count(*) as n, sum(hash(r)::hugeint) as h "
            "from target_rows r group by k) t on s.k is not distinct from t.k"
        )
        counts = connection.execute(_COUNTS).fetchone() or (0, 0, 0, 0)
        examples = [str(row[0]) for row in connection.execute(_EXAMPLES).fetchall()]
    lost, twice, wrong, behind = (int(value or 0) for value in counts)
    shown = () if _is_personal(table) else examples
    return Difference(
        "/".join(table.name.key), source.num_rows, target.num_rows, quarantined,
        lost, twice, wrong, behind, shown,
    )  # fmt: skip


def _standing(real: Ingest, table: Table, schema: pa.Schema) -> pa.Table:
    """The table as it is; one that was not made yet, or a column that is new, is empty."""
    if not real.warehouse.exists(table.name):
        return schema.empty_table()
    rows = real.warehouse.read(table.name)
    for field in schema:
        if field.name not in rows.schema.names:
            rows = rows.append_column(field, pa.nulls(rows.num_rows, field.type))
    return rows.select(schema.names)


_COUNTS = (
    "select sum(greatest(ns - nt, 0)) filter (not late), "
    "sum(greatest(nt - ns, 0)) filter (not late), "
    "count(*) filter (ns = nt and hs <> ht and not late), "
    "count(*) filter ((ns <> nt or hs <> ht) and late) from both_sides"
)
_EXAMPLES = (
    f"select k from both_sides where (ns <> nt or hs <> ht) and not late order by k limit {SAMPLE}"
)


def _is_personal(table: Table) -> bool:
    classes = (table.by_name[name].classification for name in table.key)
    return any(text.startswith(("pii", "secret")) for text in classes)
