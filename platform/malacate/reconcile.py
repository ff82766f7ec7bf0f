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
from malacate.errors import LakeError
from malacate.hours.in_process import in_this_process
from malacate.ingest import Ingest, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger, Outcome
from malacate.ledger.tables import BATCH
from malacate.names import quote
from malacate.sources.hours import HoursDue, microseconds
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.hourly import HourlyStats

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


def reconcile(
    route: Route, real: Ingest, cursor: str | None = None, beside: HourlyStats | None = None
) -> list[Difference]:
    """Compare the route's table, the one derived from it, and the hours of it that are computed
    ``beside`` the warehouse, with the source as it is now.
    """
    with tempfile.TemporaryDirectory(prefix="malacate-") as scratch:
        folder = Path(scratch)
        lake = Lake(folder / "lake")
        warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", lake.root)
        fresh = Ingest(Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), lake, warehouse)
        _leave_out_rejected(route, real, fresh)
        report = fresh.run(replace(route, after_load="keep"))
        gone = _bring_back_gone(route, real, fresh)
        position = real.warehouse.position(route.table.name)
        late = "false" if cursor is None or position is None else _is_after(cursor, int(position))
        found = [_compare(route.table, fresh, real, report.total("rows_quarantined"), late)]
        if route.derives is not None:
            found.append(_compare(route.derives.target, fresh, real))
        if beside is not None:
            found.append(_hours(route, beside, fresh, real))
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
        fresh.lake.commit(landing)
        fresh.warehouse.publish([route.publication(landing, 0)])
        gone += 1
    return gone


def _is_after(cursor: str, position: int) -> str:
    """Of a source's rows of one key: one changed since the position."""
    return f"epoch_us(max({quote(cursor, 'duckdb')})) >= {position}"


def _hours(route: Route, stats: HourlyStats, fresh: Ingest, real: Ingest) -> Difference:
    """Hours that an engine computes, against those that this process computes of all readings.

    Those of readings that came or went since the engine's last run are behind, if it is known
    which these are.
    """
    again = HoursDue(route.table, stats, fresh.lake, fresh.warehouse, in_this_process(fresh.lake))
    fresh.run(Route(stats.table, again, WriteMode.UPSERT))
    standing = replace(again, lake=real.lake, warehouse=real.warehouse)
    try:
        due = standing.touched(standing.published())
    except LakeError:
        due = None
    instants = ", ".join(str(microseconds(hour)) for hour in sorted(due or ()))
    late = f"epoch_us(max(hour_at)) in ({instants})" if due else "false"
    return _compare(stats.table, fresh, real, late=late, late_of_target=late)


def _compare(
    table: Table,
    fresh: Ingest,
    real: Ingest,
    quarantined: int = 0,
    late: str = "false",
    late_of_target: str = "false",
) -> Difference:
    """The multisets of rows of one table in two warehouses, by key (or whole rows without one).

    ``late`` and ``late_of_target`` tell of the rows of a key, in SQL, whether they are behind.
    """
    rows = fresh.warehouse.read(table.name)
    return _compared(table, rows, real, quarantined, late, late_of_target)


def _compared(
    table: Table,
    rows: pa.Table,
    real: Ingest,
    quarantined: int = 0,
    late: str = "false",
    late_of_target: str = "false",
) -> Difference:
    columns = [c.name for c in table.columns if c.name not in _NOT_COMPARED]
    source = rows.select(columns)
    target = _standing(real, table, source.schema)
    key = ", ".join(quote(name, "duckdb") for name in table.key or columns)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("source_rows", source)
        connection.register("target_rows", target)
        connection.execute(
            "create temp table both_sides as select coalesce(s.k, t.k) as k, s.h as hs, t.h as ht, "
            "coalesce(s.n, 0) as ns, coalesce(t.n, 0) as nt, "
            "coalesce(s.is_late, t.is_late, false) as late from "
            f"(select ({key}) as k, count(*) as n, sum(hash(r)::hugeint) as h, {late} as is_late "
            "from source_rows r group by k) s full join "
            f"(select ({key}) as k, count(*) as n, sum(hash(r)::hugeint) as h, "
            f"{late_of_target} as is_late "
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
