"""DuckDB as warehouse: one file, one writing process at a time, one transaction per publish."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import tenacity

from malacate import crash
from malacate.batch import WriteMode
from malacate.contracts.table import Table
from malacate.errors import LakeError, WarehouseBusy, refused
from malacate.ledger.aside import renamed
from malacate.names import TableName, quote
from malacate.warehouse.duckdb_tables import described, follow, kind_of, prepare
from malacate.warehouse.duckdb_views import create, hand_out
from malacate.warehouse.duckdb_write import begin_touching, derive, within, write
from malacate.warehouse.protocol import (
    BATCH_COLUMN,
    Marker,
    Partition,
    Publication,
    Published,
)
from malacate.warehouse.verdict import Holdings
from malacate.warehouse.views import View

_DELIVERED = f"columns(lambda c: c <> '{BATCH_COLUMN}')"
_MARKER = "batch_id, object, version, ordinal, rows, rows_quarantined, landing, is_current"


class DuckDBWarehouse:
    """The warehouse in the DuckDB file ``path``; ``lake_root`` is where landings are read from.

    Other processes are waited for, ``patience_seconds`` at most, then ``WarehouseBusy``.
    """

    dialect = "duckdb"

    def __init__(self, path: Path, lake_root: Path, patience_seconds: float = 60.0) -> None:
        self.path = path.absolute()
        self._lake_root = lake_root.absolute()
        self._patience = patience_seconds
        self.path.parent.mkdir(parents=True, exist_ok=True)

    @property
    def location(self) -> str:
        """See ``Warehouse.location``."""
        return str(self.path)

    @contextmanager
    def _open(self) -> Iterator[duckdb.DuckDBPyConnection]:
        waiting = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(duckdb.IOException),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=2.0),
            stop=tenacity.stop_after_delay(self._patience),
            reraise=True,
        )
        try:
            connection = waiting(duckdb.connect, str(self.path))
        except duckdb.IOException as error:
            raise _busy(self.path, error) from error
        try:
            connection.execute("set timezone = 'UTC'")
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self._open() as connection:
            connection.begin()
            try:
                prepare(connection)
                yield connection
                crash.point("tx_marker")
                connection.commit()
            except (duckdb.FatalException, duckdb.TransactionException) as error:
                raise refused(error, str(self.path)) from error
            except BaseException:
                connection.rollback()
                raise
            crash.point("committed")

    def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ``Warehouse.publish``."""
        with self._transaction() as connection:
            done = [
                published
                for _, some in groupby(publications, key=lambda one: (one.table.name, one.derives))
                for published in self._publish_all(connection, list(some))
            ]
        crash.point("closed")
        return done

    def _publish_all(
        self,
        connection: duckdb.DuckDBPyConnection,
        publications: Sequence[Publication],
    ) -> list[Published]:
        table, derives = publications[0].table, publications[0].derives
        accumulates = any(one.mode is not WriteMode.SNAPSHOT for one in publications)
        if accumulates and kind_of(connection, table.name) != "view":
            follow(connection, table)
        if derives is not None:
            begin_touching(connection, table, derives)
        done = [self._publish(connection, publication) for publication in publications]
        written = [one.batch_id for one in done if one.outcome == "published"]
        if derives is not None and written:
            derive(connection, table, derives, written)
        return done

    def _publish(self, connection: duckdb.DuckDBPyConnection, this: Publication) -> Published:
        landing = this.landing
        held = _holdings(connection, this)
        has_older = landing.object in held.newest
        verdict = held.take(this)
        if verdict != "published":
            return Published(landing.batch_id, verdict, landing.rows if verdict == "already" else 0)
        crash.point("tx_checked")
        try:
            write(connection, this, self._lake_root, has_older)
        except (duckdb.IOException, duckdb.InvalidInputException) as error:
            raise _unreadable(this, error) from error
        crash.point("tx_rows")
        _mark(connection, this, has_older)
        return Published(landing.batch_id, "published", landing.rows)

    def markers(
        self, table: TableName, batch_ids: Sequence[str] | None = None
    ) -> dict[str, Marker]:
        """See ``Warehouse.markers``."""
        if not self.path.exists():
            return {}
        where = "schema_name = ? and table_name = ?"
        values: list[Any] = [table.schema, table.table]
        if batch_ids is not None:
            where += " and list_contains(?, batch_id)"
            values.append(list(batch_ids))
        with self._transaction() as connection:
            query = f"select {_MARKER} from malacate.loads where {where}"
            rows = connection.execute(query, values).fetchall()
        return {row[0]: Marker(*row) for row in rows}

    def position(self, table: TableName) -> str | None:
        """See ``Warehouse.position``."""
        if not self.path.exists():
            return None
        with self._transaction() as connection:
            return _position(connection, table)

    def read(
        self, table: TableName, columns: Sequence[str] = (), partition: Partition | None = None
    ) -> pa.Table:
        """See ``Warehouse.read``."""
        chosen = ", ".join(quote(name, "duckdb") for name in columns) or _DELIVERED
        sql = f"select {chosen} from {table.sql('duckdb')}"
        values: dict[str, Any] = {}
        if partition is not None:
            condition, values = within(partition)
            sql += f" where {condition}"
        return self.query(sql, values)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See ``Warehouse.query``."""
        with self._open() as connection:
            return connection.sql(sql, params=dict(parameters or {})).to_arrow_table()

    def columns(self, table: TableName) -> dict[str, pa.DataType]:
        """See ``Warehouse.columns``."""
        with self._open() as connection:
            return described(connection, table)

    def ensure(self, tables: Sequence[Table]) -> None:
        """See ``Warehouse.ensure``."""
        with self._transaction() as connection:
            for table in tables:
                if kind_of(connection, table.name) != "view":
                    follow(connection, table)

    def pause(self, table: TableName) -> float:
        """See ``Warehouse.pause``: a file has no quota."""
        return 0.0

    def exists(self, table: TableName) -> bool:
        """See ``Warehouse.exists``."""
        if not self.path.exists():
            return False
        with self._open() as connection:
            return kind_of(connection, table) is not None

    def share(self, view: View) -> None:
        """See ``Warehouse.share``; what each reader may see is also in a folder of his."""
        with self._transaction() as connection:
            create(connection, view)
            hand_out(connection, view, self.path.parent / view.name.schema)

    def put_aside(self, tables: Sequence[Sequence[TableName]], stamp: str) -> str:
        """See ``Warehouse.put_aside``: the whole file is, so no table is left."""
        return renamed(self.path, ("", ".wal"), stamp)


def _holdings(connection: duckdb.DuckDBPyConnection, this: Publication) -> Holdings:
    """What the table holds of this batch and its object."""
    landing, name = this.landing, this.table.name
    found = connection.execute(
        "select max(ordinal) filter (object = $object), bool_or(batch_id = $batch_id) "
        "from malacate.loads where (schema_name = $schema and table_name = $table "
        "and object = $object) or batch_id = $batch_id",
        {"schema": name.schema, "table": name.table, "object": landing.object,
         "batch_id": landing.batch_id},
    ).fetchone() or (None, None)  # fmt: skip
    newest = {} if found[0] is None else {landing.object: found[0]}
    batches = {landing.batch_id} if found[1] else set()
    return Holdings(batches, newest, _position(connection, name))


def _position(connection: duckdb.DuckDBPyConnection, table: TableName) -> str | None:
    found = connection.execute(
        "select position from malacate.positions where schema_name = ? and table_name = ?",
        [table.schema, table.table],
    ).fetchone()
    return str(found[0]) if found else None


def _mark(connection: duckdb.DuckDBPyConnection, this: Publication, has_older: bool) -> None:
    landing, name = this.landing, this.table.name
    where = "schema_name = ? and table_name = ?"
    at = [name.schema, name.table]
    if has_older and (this.replaces_older or this.mode is WriteMode.SNAPSHOT):
        connection.execute(
            f"update malacate.loads set is_current = false where {where} and object = ?",
            [*at, landing.object],
        )
    connection.execute(
        "insert into malacate.loads (batch_id, schema_name, table_name, object, version, ordinal, "
        "mode, rows, rows_quarantined, landing, epoch, is_current) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, true)",
        [landing.batch_id, *at, landing.object, landing.version, landing.ordinal, this.mode.value,
         landing.rows, landing.rows_quarantined, f"{landing.schema}/{landing.table}", this.epoch],
    )  # fmt: skip
    if landing.hi is not None:
        connection.execute(f"delete from malacate.positions where {where}", at)
        values = [*at, landing.hi, landing.batch_id]
        connection.execute("insert into malacate.positions values (?, ?, ?, ?)", values)


def _busy(path: Path, error: Exception) -> WarehouseBusy:
    return WarehouseBusy(
        "the warehouse file is held by another process, or cannot be opened",
        "Close notebooks and shells that have it open (a DuckDB file has one writer), then retry.",
        object=str(path),
        actual=str(error).splitlines()[0],
        reason="warehouse_busy",
    )


def _unreadable(this: Publication, error: duckdb.Error) -> LakeError:
    return LakeError(
        "the Parquet of a landing is missing or cannot be read",
        "Restore the lake's folder; or remove the landing's manifest and run again.",
        source=str(this.table.name),
        object=this.landing.object,
        actual=str(error).splitlines()[0],
        reason="landing_unreadable",
    )
