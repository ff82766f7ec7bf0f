"""Rows of a log on their way to the state, in memory: readers without files, the fold's SQL."""

import functools
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
from platform_tests.cdc.model import TABLE, Key, Values
from platform_tests.sources.test_pgoutput import Log, batch

from malacate.batch import Chunk
from malacate.contracts.changes import changes_of, keyed, state_of
from malacate.contracts.table import Table
from malacate.sources.cdc.datastream import ChangeDrops
from malacate.sources.cdc.datastream_rows import Whose
from malacate.sources.cdc.pgoutput import Decoder
from malacate.sources.cdc.pgoutput_values import rows
from malacate.warehouse.fold import Fold
from malacate.warehouse.protocol import BATCH_COLUMN

_BATCH = pa.field(BATCH_COLUMN, pa.string())
Row = dict[str, Any]


class Folding:
    """A log and its state in a database of their own."""

    def __init__(self, table: Table) -> None:
        self.table, self.log = keyed(table), changes_of(keyed(table))
        self.fold = Fold(state_of(self.table))
        self.made = 0
        self.connection = duckdb.connect()
        self.connection.execute("set timezone = 'UTC'; set threads = 1; create schema raw_lab")
        for one in (self.log, self.fold.target):
            empty = one.schema.append(_BATCH).empty_table()  # noqa: F841 found by its name
            self.connection.execute(f"create table {one.name.sql('duckdb')} as from empty")
        self.connection.execute("create table touching (batch_id varchar)")
        self.connection.execute(f"create table gone as {self.fold.touched(self.log)}")

    def clear(self) -> None:
        for one in (self.log, self.fold.target):
            self.connection.execute(f"delete from {one.name.sql('duckdb')}")

    def publish(self, came: pa.Table) -> None:
        """One batch."""
        self.made += 1
        name = f"b{self.made}"
        names = pa.repeat(pa.scalar(name), len(came))
        came = came.append_column(_BATCH, names)
        self.connection.execute(f"insert into {self.log.name.sql('duckdb')} by name from came")
        self.connection.execute("create or replace table touching as select $1 as batch_id", [name])
        for one in self.fold.statements(self.log):
            if isinstance(one, str):
                self.connection.execute(one)
            elif self.connection.sql(f"select count(*) > 0 from {one.table}").fetchall()[0][0]:
                for statement in one.statements:
                    self.connection.execute(statement)

    def state(self) -> list[Row]:
        name = self.fold.target.name.sql("duckdb")
        found: list[Row] = self.connection.sql(f"from {name}").to_arrow_table().to_pylist()
        keys = {tuple(row[name] for name in self.table.key) for row in found}
        assert len(keys) == len(found), "a key stands twice"
        return found

    def after(self, batches: Iterable[pa.Table]) -> list[Row]:
        self.clear()
        for one in batches:
            self.publish(one)
        return self.state()


@functools.cache
def folding(table: Table) -> Folding:
    return Folding(table)


def shown(state: Sequence[Row]) -> dict[Key, Values | None]:
    """Values by key of the model's table; ``None`` for a tombstone."""
    return {
        (row["life"], row["id"]): None if row["is_deleted"] else (row["value"], row["big"])
        for row in state
    }


def of_messages(log: Log, table: Table) -> list[Chunk]:
    """What the slot's reader makes of messages."""
    chunks, first = list[Chunk](), 0
    for changes in Decoder("slot").decode(batch(log.messages)):
        for chunk in rows(changes, table, changes_of(keyed(table)), first):
            chunks.append(chunk)
            first += chunk.rows_read
    return chunks


def of_file(table: Table, name: str, data: bytes, **said: Any) -> list[Chunk]:
    """What the reader of change files makes of one; nothing of a file without events."""
    if not data:
        return []
    named = keyed(table)
    drops = ChangeDrops(changes_of(named), Whose(named), cast(Any, None), **said)
    with tempfile.TemporaryDirectory(prefix="mlc") as folder:
        path = Path(folder, "file")
        path.write_bytes(data)
        return list(drops.opened(path, name).chunks)


def lines(events: Iterable[Any]) -> bytes:
    return b"".join(json.dumps(one, default=str).encode() + b"\n" for one in events)


def together(chunks: Sequence[Chunk]) -> pa.Table:
    """Their rows; none may have been set aside."""
    assert [reject for chunk in chunks for reject in chunk.rejects] == []
    rows = [chunk.rows for chunk in chunks]
    return pa.Table.from_batches(rows) if rows else changes_of(TABLE).schema.empty_table()


def shuffled(came: pa.Table, batches: int, seed: int) -> list[pa.Table]:
    """Its rows in any order in so many batches, some of them twice; placed anew in each."""
    if not len(came):
        return []
    choose = random.Random(seed)
    order = [*range(len(came)), *choose.choices(range(len(came)), k=3)]
    choose.shuffle(order)
    size = max(1, -(-len(order) // batches))
    parts = [came.take(order[at : at + size]) for at in range(0, len(order), size)]
    return [_placed(one) for one in parts]


def _placed(one: pa.Table) -> pa.Table:
    at = one.schema.get_field_index("_file_row")
    return one.set_column(at, one.schema.field(at), pa.array(range(len(one)), pa.int64()))
