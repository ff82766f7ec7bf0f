"""Is the target what the source is? Everything is read again from scratch and compared.

The scratch platform takes the same path as the real one, once and undisturbed; what kills, repeats
and late files did to the real one shows as a difference. Nothing of the real one is changed.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.ingest import Ingest, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.names import quote
from malacate.warehouse.duckdb import DuckDBWarehouse

SAMPLE = 5
_LOADED = BATCH.c.state == "loaded"
_TAKEN = BATCH.c.state != "rejected"
_NOT_COMPARED = ("revision",)
"""Columns that tell how a row came to be, not what it says."""


@dataclass(frozen=True)
class Difference:
    """Source against target, row by row. ``examples`` are keys of rows that differ.

    ``behind`` counts rows that changed at the source after the target's position, or after its
    snapshot was taken: they are not wrong, they are due with the next run. ``gone`` counts drops
    that the source has no more: their rows are compared with what the lake has of them. ``ranges``
    says how much of the table was compared; ``position`` up to where the target has the source's
    changes.
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
    gone: int = 0
    ranges: str = "all"
    position: str = ""

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
        _leave_out_rejected(route, real, fresh)
        report = fresh.run(replace(route, after_load="keep"))
        gone = _bring_back_gone(route, real, fresh)
        position = real.warehouse.position(route.table.name)
        due = None if cursor is None or position is None else (cursor, int(position))
        tables = [(route.table, report.total("rows_quarantined"), due)]
        if route.derives is not None:
            tables.append((route.derives.target, 0, None))
        found = [compare(table, fresh, real, kept, late) for table, kept, late in tables]
        if route.mode is WriteMode.SNAPSHOT and not found[0].is_equal:
            found[0] = _since_its_snapshot(route.table, real, found[0])
        return [replace(found[0], gone=gone), *found[1:]]


def _since_its_snapshot(table: Table, real: Ingest, found: Difference) -> Difference:
    """The target against the snapshot that it is to be; what differs at the source is behind.

    That no row was missing in the snapshot was checked when it was read, by the source's own count.
    """
    name = table.name
    standing = [m for m in real.warehouse.markers(name).values() if m.is_current]
    snapshot = real.lake.landed(name.schema, name.table, standing[0].batch_id) if standing else None
    if snapshot is None:
        return found
    held = _compared(table, real.lake.read(snapshot), real)
    changed = found.lost + found.twice + found.wrong
    behind = max(0, changed - held.lost - held.twice - held.wrong)
    return replace(
        held, source_rows=found.source_rows, quarantined=found.quarantined, behind=behind
    )


def _leave_out_rejected(route: Route, real: Ingest, fresh: Ingest) -> None:
    """A version that the table does not take is not what it should be compared with."""
    rejected = real.ledger.waiting(*route.batches, BATCH.c.state == "rejected")
    fresh.ledger.note(rejected)
    fresh.ledger.mend((found.batch_id, Outcome("rejected")) for found in rejected)


def _bring_back_gone(route: Route, real: Ingest, fresh: Ingest) -> int:
    """Drops that the source has no more stand in the lake alone: publish them from there."""
    there = {row["object"] for row in fresh.ledger.batches(*route.batches, _TAKEN)}
    loaded = real.ledger.batches(*route.batches, BATCH.c.kind == "object", _LOADED)
    name = route.table.name
    markers = real.warehouse.markers(name, [row["batch_id"] for row in loaded])
    gone = 0
    for row in loaded:
        marker = markers.get(row["batch_id"])
        landing = real.lake.landed(name.schema, name.table, row["batch_id"])
        if row["object"] in there or landing is None or not (marker and marker.is_current):
            continue
        fresh.lake.bring(landing, real.lake)
        fresh.warehouse.publish([route.publication(landing, 0)])
        gone += 1
    return gone


def compare(
    table: Table,
    fresh: Ingest,
    real: Ingest,
    quarantined: int = 0,
    due: tuple[str, int] | None = None,
) -> Difference:
    """The multisets of rows of one table in two warehouses, by key (or whole rows without one)."""
    return _compared(table, fresh.warehouse.read(table.name), real, quarantined, due)


def _compared(
    table: Table,
    rows: pa.Table,
    real: Ingest,
    quarantined: int = 0,
    due: tuple[str, int] | None = None,
) -> Difference:
    columns = [c.name for c in table.columns if c.name not in _NOT_COMPARED]
    source = rows.select(columns)
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
    shown = () if is_personal(table) else examples
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


def is_personal(table: Table) -> bool:
    """Whether its keys are not to be shown."""
    classes = (table.by_name[name].classification for name in table.key)
    return any(text.startswith(("pii", "secret")) for text in classes)
