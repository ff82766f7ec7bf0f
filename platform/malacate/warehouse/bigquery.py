"""BigQuery as warehouse: Parquet is loaded into own staging tables, then published by one script.

Transactions conflict only where they change rows of one table: so each begins by updating its
claims, and ends if a table has other markers than it was decided on.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from malacate import crash
from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.contracts.types import unencoded
from malacate.errors import ConfigError, LakeError, WarehouseBusy, WarehouseError
from malacate.lake.landing import Landing, Part
from malacate.names import TableName, quote
from malacate.warehouse.bigquery_bind import Records
from malacate.warehouse.bigquery_jobs import Conflict, Jobs, Load
from malacate.warehouse.bigquery_tables import STAGING, SYSTEM, Tables
from malacate.warehouse.bigquery_types import fields
from malacate.warehouse.bigquery_write import Staged, script, translated, within
from malacate.warehouse.protocol import BATCH_COLUMN, Marker, Partition, Publication, Published
from malacate.warehouse.verdict import Holdings, outside_partition

_WHOLE = "(mode = 'snapshot' and is_current)"
_SEEN = "schema_name || '.' || table_name in unnest(@tables)"
_REJECTS = Table(
    TableName("malacate", "quarantine"),
    (
        Column("position", pa.int64()),
        Column("reason", pa.string()),
        Column("detail", pa.string()),
        Column("raw", pa.binary()),
    ),
)


@dataclass
class _Held:
    """What a table holds, how many markers it has, the batches of each object."""

    holdings: Holdings = field(default_factory=Holdings)
    markers: int = 0
    versions: dict[str, list[str]] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)

    def note(self, row: Any) -> None:
        """Take in a marker."""
        batch, name, ordinal = row["batch_id"], row["object"], row["ordinal"]
        self.holdings.batches.add(batch)
        self.holdings.newest[name] = max(ordinal, self.holdings.newest.get(name, ordinal))
        self.versions.setdefault(name, []).append(batch)
        if row["is_whole"]:
            self.whole.append(batch)


def _quoted(load: Load) -> str:
    return f"`{load.target.dataset_id}`.`{load.target.table_id}`"


def _name(row: Any) -> TableName:
    return TableName(row["schema_name"], row["table_name"])


class BigQueryWarehouse:
    """The warehouse in the client's project; ``uri`` tells where a part of the lake is read from.

    Rows are read by the Storage Read API where its client is installed, and else ``by_rest``. Other
    writers are waited for, ``patience_seconds`` at most, then ``WarehouseBusy``.
    """

    dialect = "bigquery"

    def __init__(
        self,
        jobs: Jobs,
        uri: Callable[[str], str],
        location: str | None = None,
        key: str | None = None,
        by_rest: bool = False,
        patience_seconds: float = 600.0,
    ) -> None:
        self._jobs = jobs
        self._uri = uri
        self._tables = Tables(jobs, location, key)
        self._by_rest = by_rest
        self._patience = patience_seconds

    @property
    def location(self) -> str:
        """See ``Warehouse.location``."""
        return str(self._jobs.client.project)

    def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ``Warehouse.publish``."""
        self._tables.prepare()
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return self._publish(publications)
            except Conflict as error:
                if time.monotonic() > deadline:
                    raise _busy(publications[0], error) from error
                time.sleep(secrets.randbelow(1000) / 1000)

    def _publish(self, publications: Sequence[Publication]) -> list[Published]:
        held = self._held(publications)
        done, wanted = [], []
        for this in publications:
            verdict = held[this.table.name].holdings.take(this)
            rows = 0 if verdict == "superseded" else this.landing.rows
            done.append(Published(this.landing.batch_id, verdict, rows))
            if verdict == "published":
                wanted.append(this)
        crash.point("tx_checked")
        if wanted:
            self._commit(held, wanted)
        return done

    def _commit(self, held: Mapping[TableName, "_Held"], wanted: Sequence[Publication]) -> None:
        staged = [self._staged(this, held[this.table.name]) for this in wanted]
        try:
            self._jobs.load([load for _, loads in staged for load in loads])
        except WarehouseError as error:
            raise _unreadable(wanted[0], error) from error
        for one, _ in staged:
            self._require_inside(one)
        for this in {this.table.name: this for this in wanted}.values():
            self._tables.follow(this.table)
            if this.derives is not None:
                self._tables.follow(this.derives.target)
        crash.point("tx_rows")
        claim = secrets.token_hex(12)
        self._claim(claim, wanted)
        crash.point("tx_marker")
        seen = {name: one.markers for name, one in held.items()}
        self._jobs.once(script(claim, seen, [one for one, _ in staged]), None, f"mlc_tx_{claim}")
        crash.point("committed")

    def _require_inside(self, one: Staged) -> None:
        if (partition := one.this.partition) is None:
            return
        outside = f"select count(*) as n from {one.rows} where ({within(partition)}) is not true"
        if number := self._rows(outside, {})[0]["n"]:
            raise outside_partition(one.this, number)

    def _held(self, publications: Sequence[Publication]) -> dict[TableName, "_Held"]:
        """How many markers each table has, and what matters to these publications of them."""
        held = {this.table.name: _Held() for this in publications}
        tables = {"tables": [str(name) for name in held]}
        counted = self._rows(
            "select schema_name, table_name, count(*) as n from malacate.loads "
            f"where {_SEEN} group by schema_name, table_name", tables,
        )  # fmt: skip
        for row in counted:
            held[_name(row)].markers = row["n"]
        these = {
            "batches": [this.landing.batch_id for this in publications],
            "objects": [this.landing.object for this in publications],
        }
        matters = f"batch_id in unnest(@batches) or object in unnest(@objects) or {_WHOLE}"
        for row in self._rows(
            f"select schema_name, table_name, object, batch_id, ordinal, {_WHOLE} as is_whole "
            f"from malacate.loads where {_SEEN} and ({matters})",
            {**tables, **these},
        ):
            held[_name(row)].note(row)
        for row in self._rows(f"select * from malacate.positions where {_SEEN}", tables):
            held[_name(row)].holdings.position = row["position"]
        return held

    def _rows(self, sql: str, values: Mapping[str, Any]) -> list[Any]:
        return list(self._jobs.query(sql, values).result(timeout=self._patience))

    def _staged(self, this: Publication, held: "_Held") -> tuple[Staged, list[Load]]:
        """A publication with the tables it will be staged in, and the loads that fill them."""
        landing, table = this.landing, this.table
        keys = Table(table.name, tuple(table.by_name[name] for name in table.key))
        adds = not this.replaces_older and this.mode is not WriteMode.SNAPSHOT
        loads = {
            "rows": self._loaded(landing, "rows", landing.parts, table),
            "keys": self._loaded(landing, "keys", [landing.keys], keys),
            "rejects": self._loaded(landing, "rejects", [landing.quarantine], _REJECTS),
        }
        tables = {what: _quoted(load) if load else "" for what, load in loads.items()}
        older = () if adds else tuple(held.versions.get(landing.object, ()))
        staged = Staged(this, **tables, older=older, whole=tuple(held.whole))
        return staged, [load for load in loads.values() if load]

    def _loaded(
        self, landing: Landing, what: str, parts: Sequence[Part | None], table: Table
    ) -> Load | None:
        uris = [self._uri(part.path) for part in parts if part]
        name = f"{what}_{landing.batch_id}"
        target = self._tables.reference(STAGING, name)
        return Load(f"mlc_{name}", uris, target, fields(table)) if uris else None

    def _claim(self, claim: str, wanted: Sequence[Publication]) -> None:
        """Insert what the transaction will update, its values bound."""
        last = {this.table.name: this for this in wanted if this.landing.hi is not None}
        newest = {(this.table.name, this.landing.object): this for this in wanted}
        rows = []
        for this in wanted:
            landing, name = this.landing, this.table.name
            adds = not this.replaces_older and this.mode is not WriteMode.SNAPSHOT
            row = {
                "batch_id": landing.batch_id, "schema_name": name.schema, "table_name": name.table,
                "object": landing.object, "version": landing.version, "ordinal": landing.ordinal,
                "mode": this.mode.value, "rows": landing.rows,
                "rows_quarantined": landing.rows_quarantined,
                "landing": f"{landing.schema}/{landing.table}", "epoch": this.epoch,
                "is_current": adds or newest[name, landing.object] is this,
                "position": landing.hi if last.get(name) is this else None,
                "claim": claim, "state": "claimed",
            }  # fmt: skip
            rows.append(row)
        self._tables.insert("claims", Records(SYSTEM["claims"], rows), {})

    def markers(
        self, table: TableName, batch_ids: Sequence[str] | None = None
    ) -> dict[str, Marker]:
        """See ``Warehouse.markers``."""
        self._tables.prepare()
        columns = ", ".join(quote(name, "bigquery") for name in Marker.__dataclass_fields__)
        where = "schema_name = @schema and table_name = @table"
        values: dict[str, Any] = {"schema": table.schema, "table": table.table}
        if batch_ids is not None:
            where += " and batch_id in unnest(@batches)"
            values["batches"] = list(batch_ids)
        found = self._rows(f"select {columns} from malacate.loads where {where}", values)
        return {row["batch_id"]: Marker(**dict(row)) for row in found}

    def position(self, table: TableName) -> str | None:
        """See ``Warehouse.position``."""
        self._tables.prepare()
        found = self._rows(
            f"select position from malacate.positions where {_SEEN}", {"tables": [str(table)]}
        )
        return next((str(row["position"]) for row in found), None)

    def read(
        self, table: TableName, columns: Sequence[str] = (), partition: Partition | None = None
    ) -> pa.Table:
        """See ``Warehouse.read``."""
        chosen = ", ".join(quote(name, "bigquery") for name in columns)
        here = self._tables.standing(table)
        if here is None:
            raise _missing(table)
        if not chosen:
            hidden = any(field.name == BATCH_COLUMN for field in here.schema)
            chosen = f"* except ({BATCH_COLUMN})" if hidden else "*"
        sql = f"select {chosen} from {table.sql('bigquery')}"
        if partition is not None:
            sql += f" where {within(partition)}"
        rows = self._arrow(sql, {})
        noted = self._tables.noted(table)
        kinds = [(f.name, noted.get(f.name, f.type)) for f in rows.schema]
        return rows.cast(pa.schema(kinds))

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """See ``Warehouse.query``: in DuckDB's words, which are put into BigQuery's."""
        return self._arrow(translated(sql), dict(parameters or {}))

    def _arrow(self, sql: str, values: Mapping[str, Any]) -> pa.Table:
        found = self._jobs.query(sql, values).to_arrow(create_bqstorage_client=not self._by_rest)
        kinds = [(f.name, unencoded(f.type)) for f in found.schema]
        return found.cast(pa.schema(kinds))

    def columns(self, table: TableName) -> dict[str, pa.DataType]:
        """See ``Warehouse.columns``."""
        here = self._tables.standing(table)
        noted = self._tables.noted(table) if here else {}
        return noted

    def ensure(self, tables: Sequence[Table]) -> None:
        """See ``Warehouse.ensure``."""
        self._tables.prepare()
        for table in tables:
            self._tables.follow(table)

    def exists(self, table: TableName) -> bool:
        """See ``Warehouse.exists``."""
        return self._tables.standing(table) is not None


def _busy(this: Publication, error: Conflict) -> WarehouseBusy:
    return WarehouseBusy(
        "other writers of the warehouse were always first",
        "Run again; if it stays so, let fewer runs publish at once.",
        source=str(this.table.name),
        actual=str(error)[:300],
        reason="warehouse_busy",
    )


def _unreadable(this: Publication, error: WarehouseError) -> LakeError:
    return LakeError(
        "the Parquet of a landing is missing or cannot be read by BigQuery",
        "Restore the lake's bucket; or remove the landing's manifest and run again.",
        source=str(this.table.name),
        object=error.object,
        actual=error.actual,
        reason="landing_unreadable",
    )


def _missing(table: TableName) -> ConfigError:
    return ConfigError(
        "there is no such table in the warehouse",
        "Materialize its asset first.",
        source=str(table),
        reason="unknown_table",
    )
