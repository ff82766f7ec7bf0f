"""What is known to be true of the mine's data, kept apart from it: ``<home>/truth``.

``state.json``: seed, scale, ticks, clock. ``datastream/<table>.parquet`` and ``plant/...``: each
row that must be there once every change was applied. ``lab`` and ``geophones`` are written by those
modules.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from acme.simulator.drops import as_json, deliver, parquet
from acme.simulator.journal import Change, Row
from acme.simulator.tables import AppTable
from acme.simulator.world import World


class Truth:
    """The truth under ``folder``; every write of it can be repeated."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def is_written(self) -> bool:
        """Whether a start once came to its end."""
        return (self.folder / "state.json").exists()

    @property
    def ticks(self) -> int:
        """How many hours were lived and told to the end."""
        return int(json.loads((self.folder / "state.json").read_text())["ticks"])

    def note_state(self, world: World, ticks: int) -> None:
        """Where the mine stands."""
        state: dict[str, Any] = {"seed": world.seed, "scale": world.scale, "ticks": ticks}
        state |= {"now_at": world.after(ticks).isoformat()}
        deliver(self.folder / "state.json", as_json(state))

    def note_rows(self, source: str, table: AppTable, rows: pa.Table) -> None:
        """All rows of a table whose changes are captured."""
        ordered = rows.sort_by([(name, "ascending") for name in table.key])
        deliver(self.folder / source / f"{table.name}.parquet", parquet(ordered))

    def note_changes(self, source: str, table: AppTable, changes: Sequence[Change]) -> None:
        """Apply what a tick did to such a table, in the order in which it was done."""
        key, schema = table.key, table.schema
        last: dict[tuple[Any, ...], Row | None] = {}
        for change in (one for one in changes if one.table == table.name):
            if change.old_key is not None:
                last[tuple(change.old_key[name] for name in key)] = None
            gone = change.kind == "DELETE"
            last[tuple(change.row[name] for name in key)] = None if gone else change.row
        touched = pa.Table.from_pylist(
            [dict(zip(key, values, strict=True)) for values in last],
            pa.schema([schema.field(name) for name in key]),
        )
        path = self.folder / source / f"{table.name}.parquet"
        rows = pq.read_table(path).join(touched, list(key), join_type="left anti")
        new = pa.Table.from_pylist([row for row in last.values() if row is not None], schema)
        rows = pa.concat_tables([rows.select(schema.names).cast(schema), new])
        self.note_rows(source, table, rows)
