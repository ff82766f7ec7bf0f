"""malacate: every source takes one path to its raw table; every row arrives once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from malacate.readers.asked import Wanted
    from malacate.readers.rows import Rows


def read(
    table: str,
    *,
    partition: Wanted = None,
    columns: Sequence[str] | str = (),
    as_of: datetime | None = None,
) -> Rows:
    """Rows of the asset ``table``, say ``gold/tonnes_hauled_shift``, in the chosen target.

    ``partition`` is ``(column, lo, hi)`` for ``lo <= column < hi``, ``(column, value)``, or a day
    of the table's one date column. ``as_of`` gives the rows that a raw table held at that instant,
    from what is kept in the lake: the same ones whenever it is asked for. Raises ``ConfigError``
    for names that are not there, and for an instant that is not kept.

    Of a change table, say ``raw/datastream/haul_cycle``, ``as_of`` goes by the source's clock, not
    by when malacate published: it gives the rows that were committed at the source by then,
    tombstones of deleted ones too. They are folded from the log ``<table>_changes``, so changes
    that come late are among them once they have come; the fingerprint tells that they have.
    """
    from malacate.commands import project
    from malacate.readers import read as readers

    target = project.target()
    warehouse = target.open_warehouse()
    if as_of is None:
        return readers.now(warehouse, table, columns, partition)

    def key() -> Sequence[str]:
        tables = [one for raw in project.routes() for one in raw.route.tables]
        found = [one.key for one in tables if "/".join(one.name.key) == table]
        return found[0] if found else project.routes(table)[0].route.table.key

    return readers.at(warehouse, target.open_lake, key, table, as_of, columns, partition)
