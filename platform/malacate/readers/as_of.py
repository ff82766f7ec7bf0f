"""Tables as they stood: what was published by an instant, read again from the lake.

Landings are immutable, so the same instant gives the same rows whenever it is asked for, in the
same order, as long as no publication that began before it is still under way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from malacate.batch import WriteMode
from malacate.contracts.drift import widens
from malacate.contracts.table import Column, Table
from malacate.errors import ConfigError, LakeError
from malacate.ingest import GROUP
from malacate.lake.lake import Lake
from malacate.lake.landing import Landing
from malacate.names import TableName
from malacate.readers.history import Loaded, standing
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.protocol import Partition, Publication

Key = Callable[[], Sequence[str]]


@dataclass(frozen=True)
class Past:
    """A table at an instant: its batches, their landings, and the columns that these brought.

    ``folder`` is where the landings' paths are below, on this machine.
    """

    name: TableName
    batches: Sequence[Loaded]
    landings: Sequence[Landing]
    folder: Path
    schema: pa.Schema

    def rows(self, columns: Sequence[str], partition: Partition | None, key: Key) -> pa.Table:
        """Its rows; ``key`` is what upserts replace by, where no landing tells."""
        if any(one.mode == WriteMode.UPSERT for one in self.batches):
            return self._replayed(columns, partition, key)
        paths = [str(self.folder / part.path) for one in self.landings for part in one.parts]
        parts = ds.dataset(paths, schema=self.schema, format="parquet")
        return parts.to_table(list(columns), filter=_within(partition) if partition else None)

    def _replayed(self, columns: Sequence[str], partition: Partition | None, key: Key) -> pa.Table:
        """Published again, in order, into a warehouse of its own: as slow as loading them was."""
        with TemporaryDirectory(prefix="malacate-") as scratch:
            warehouse = DuckDBWarehouse(Path(scratch) / "as_of.duckdb", self.folder)
            publications = [
                Publication(
                    self._table(landing, key),
                    replace(landing, quarantine=None),
                    WriteMode(one.mode),
                    replaces_older=False,
                )
                for one, landing in zip(self.batches, self.landings, strict=True)
            ]
            for start in range(0, len(publications), GROUP):
                warehouse.publish(publications[start : start + GROUP])
            rows = warehouse.read(self.name, columns, partition)
        return rows.cast(pa.schema([self.schema.field(column) for column in columns]))

    def _table(self, landing: Landing, key: Key) -> Table:
        """As its batches brought it, with the key that the landing was read by."""
        columns = tuple(Column(field.name, field.type) for field in self.schema)
        if landing.keys is not None:
            names: Sequence[str] = pq.read_schema(self.folder / landing.keys.path).names
        else:
            names = key() if landing.mode == WriteMode.UPSERT else ()
        return Table(self.name, columns, tuple(names))


def _within(partition: Partition) -> pc.Expression:
    column = pc.field(partition.column)
    if partition.hi is None:
        return column == partition.lo
    return (column >= partition.lo) & (column < partition.hi)


@contextmanager
def past(
    name: TableName, published: Sequence[Loaded], lake: Lake, instant: datetime
) -> Iterator[Past]:
    """The table at ``instant``; raises ``ConfigError`` for what is not kept of it."""
    require_instant(name, instant)
    _require_kept(name, published, instant)
    batches = standing(published, instant)
    found = [lake.landed(name.schema, name.table, one.batch_id) for one in batches]
    landings = [landing for landing in found if landing is not None]
    if not batches or len(landings) < len(batches):
        raise _not_kept(name, published, lake, instant)
    try:
        with _here(lake, landings) as folder:
            yield Past(name, batches, landings, folder, _schema(folder, landings))
    except FileNotFoundError as error:
        raise _lost(name, error) from error


@contextmanager
def _here(lake: Lake, landings: Sequence[Landing]) -> Iterator[Path]:
    """A folder of this machine with the landings; those of a bucket are copied for the while."""
    if (standing_here := _folder(lake)) is not None:
        yield standing_here
        return
    with TemporaryDirectory(prefix="malacate-") as folder:
        copy = Lake(Path(folder))
        for landing in landings:
            copy.bring(replace(landing, quarantine=None), lake)
        yield copy.root


def _folder(lake: Lake) -> Path | None:
    try:
        return lake.root
    except LakeError:
        return None


def _schema(folder: Path, landings: Sequence[Landing]) -> pa.Schema:
    """The columns of the landings in order of appearance, each in the widest type it came in."""
    kinds: dict[str, pa.DataType] = {}
    for part in (part for landing in landings for part in landing.parts):
        for field in pq.read_schema(folder / part.path):
            had = kinds.get(field.name)
            if had is None or widens(had, field.type):
                kinds[field.name] = field.type
    return pa.schema(list(kinds.items()))


def require_instant(name: TableName, instant: datetime) -> None:
    """Raise ``ConfigError`` for what is no instant, or is still to come."""
    if not isinstance(instant, datetime) or not instant.tzinfo or instant > datetime.now(UTC):
        raise ConfigError(
            "as_of is no instant that has been",
            "Give a datetime of the past with its zone: datetime(2026, 11, 3, tzinfo=UTC).",
            source=str(name), actual=str(instant), reason="bad_instant",
        )  # fmt: skip


def _require_kept(name: TableName, published: Sequence[Loaded], instant: datetime) -> None:
    if not published or any(one.mode == WriteMode.PARTITION for one in published):
        raise ConfigError(
            "what stood in this table is not kept: it is computed, and written over",
            "Read the raw tables it is made of as_of the instant, or keep what you read now.",
            source=str(name), object=instant.isoformat(), reason="not_kept",
        )  # fmt: skip


def _not_kept(
    name: TableName, published: Sequence[Loaded], lake: Lake, instant: datetime
) -> ConfigError:
    """Nothing was published by then, or its landing was swept: from when on there is something."""
    earliest = "none is left: restore the lake"
    for one in reversed(published):
        if lake.landed(name.schema, name.table, one.batch_id) is None:
            break
        earliest = f"{one.published_at.astimezone(UTC).isoformat()} or later"
    return ConfigError(
        "what stood in the table at that instant is not kept",
        "Ask for a later instant. Replaced snapshots stay for the retention of the lake, "
        "and a warehouse that was rebuilt knows when it was.",
        source=str(name), object=instant.isoformat(), expected=earliest, reason="not_kept",
    )  # fmt: skip


def _lost(name: TableName, error: FileNotFoundError) -> LakeError:
    return LakeError(
        "the Parquet of a landing is missing",
        "If the lake was being swept, ask again; else restore it.",
        source=str(name),
        object=str(error.filename or error),
        reason="landing_unreadable",
    )
