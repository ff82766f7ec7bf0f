"""What is known to be true of the mine's data, kept apart from it: ``<home>/truth``.

``state.json``: seed, scale, ticks, clock. ``datastream/<table>.parquet``: each row that must be
there once every change file was applied. ``lab`` and ``geophones`` are written by those modules.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from acme.simulator.drops import as_json, deliver, parquet
from acme.simulator.journal import Change, Row
from acme.simulator.tables import TABLES
from acme.simulator.world import World


class Truth:
    """The truth under ``folder``; every write of it can be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_written(self) -> bool:
        """Whether a start once came to its end."""
        return (self.folder / "state.json").exists()

    def note_state(self, world: World, ticks: int) -> None:
        """Where the mine stands."""
        state: dict[str, Any] = {"seed": world.seed, "scale": world.scale, "ticks": ticks}
        state |= {"now_at": world.after(ticks).isoformat()}
        deliver(self.folder / "state.json", as_json(state))

    def note_rows(self, table: str, rows: pa.Table) -> None:
        """All rows of a streamed table."""
        deliver(self._rows(table), parquet(rows))

    def note_changes(self, table: str, changes: Sequence[Change]) -> None:
        """Apply what a tick did to a streamed table, in the order in which it was done."""
        key, schema = TABLES[table].key, TABLES[table].schema
        last: dict[tuple[Any, ...], Row | None] = {}
        for change in changes:
            if change.old_key is not None:
                last[tuple(change.old_key[name] for name in key)] = None
            gone = change.kind == "DELETE"
            last[tuple(change.row[name] for name in key)] = None if gone else change.row
        touched = pa.Table.from_pylist(
            [dict(zip(key, values, strict=True)) for values in last],
            pa.schema([schema.field(name) for name in key]),
        )
        rows = pq.read_table(self._rows(table)).join(touched, list(key), join_type="left anti")
        new = pa.Table.from_pylist([row for row in last.values() if row is not None], schema)
        rows = pa.concat_tables([rows.select(schema.names).cast(schema), new])
        self.note_rows(table, rows.sort_by([(name, "ascending") for name in key]))

    def _rows(self, table: str) -> Path:
        return self.folder / "datastream" / f"{table}.parquet"
