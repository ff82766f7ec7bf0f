"""BigQuery as warehouse: Parquet is loaded into own staging tables, then published by one script.

Transactions conflict only where they change rows of one table: so each begins by updating its
claims, and ends if a table has other markers than it was decided on.
"""

import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa
from google.api_core.exceptions import Forbidden, MethodNotImplemented

from malacate import crash
from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.contracts.types import unencoded
from malacate.errors import ConfigError, LakeError, WarehouseBusy, WarehouseError
from malacate.lake.landing import Landing, Part
from malacate.names import TableName, quote
from malacate.warehouse.bigquery_aside import emptied, keep
from malacate.warehouse.bigquery_bind import Records
from malacate.warehouse.bigquery_derived import translated
from malacate.warehouse.bigquery_held import SEEN, Held, held
from malacate.warehouse.bigquery_jobs import BOOKKEEPING, Conflict, Jobs, Load
from malacate.warehouse.bigquery_quotas import EACH_DAY, Pace, TooMuch, require_fits
from malacate.warehouse.bigquery_room import placed
from malacate.warehouse.bigquery_tables import STAGING, SYSTEM, Tables, labels
from malacate.warehouse.bigquery_types import fields
from malacate.warehouse.bigquery_views import Views
from malacate.warehouse.bigquery_write import Staged, script, within
from malacate.warehouse.protocol import BATCH_COLUMN, Marker, Partition, Publication, Published
from malacate.warehouse.verdict import outside_partition
from malacate.warehouse.views import View

Done = TypeVar("Done")

_log = logging.getLogger(__name__)
_REJECTS = Table(
    TableName("malacate", "quarantine"),
    (
        Column("position", pa.int64()),
        Column("reason", pa.string()),
        Column("detail", pa.string()),
        Column("raw", pa.binary()),
    ),
)


def _quoted(load: Load) -> str:
    return f"`{load.target.dataset_id}`.`{load.target.table_id}`"


class BigQueryWarehouse:
    """The warehouse in the client's project; ``uri`` tells where a part of the lake is read from.

    Rows are read by ``reader``, a client of the Storage Read API; as JSON without one, or where the
    project forbids it. Other writers are waited for, ``patience_seconds`` at most, then
    ``WarehouseBusy``.
    """

    dialect = "bigquery"

    def __init__(
        self,
        jobs: Jobs,
        uri: Callable[[str], str],
        location: str | None = None,
        key: str | None = None,
        reader: Any = None,
        patience_seconds: float = 600.0,
        pace: Pace = EACH_DAY,
    ) -> None:
        self._jobs = jobs
        self._pace = pace
        self._uri = uri
        self._tables = Tables(jobs, location, key)
        self._reader = reader
        self._patience = patience_seconds

    @property
    def location(self) -> str:
        """See ``Warehouse.location``."""
        return str(self._jobs.client.project)

    def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """See ``Warehouse.publish``; what is too much for one transaction goes by halves."""
        self._tables.prepare()
        try:
            return self._patiently(publications[0].table, partial(self._publish, publications))
        except TooMuch:
            half = len(publications) // 2
            return [*self.publish(publications[:half]), *self.publish(publications[half:])]

    def _patiently(self, table: Table, do: Callable[[], Done]) -> Done:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return do()
            except Conflict as error:
                if time.monotonic() > deadline:
                    raise _busy(table, error) from error
                time.sleep(secrets.randbelow(1000) / 1000)

    def _publish(self, publications: Sequence[Publication]) -> list[Published]:
        holds = held(self._rows, publications)
        done, wanted = [], []
        for this in publications:
            verdict = holds[this.table.name].holdings.take(this)
            rows = 0 if verdict == "superseded" else this.landing.rows
            done.append(Published(this.landing.batch_id, verdict, rows))
            if verdict == "published":
                wanted.append(this)
        crash.point("tx_checked")
        if wanted:
            self._commit(holds, wanted)
        return done

    def _commit(self, holds: Mapping[TableName, Held], wanted: Sequence[Publication]) -> None:
        staged = [self._staged(this, holds[this.table.name]) for this in wanted]
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
        ready = placed(lambda sql: self._rows(sql, {}, "check"), [one for one, _ in staged])
        claim, seen = secrets.token_hex(12), {name: one.markers for name, one in holds.items()}
        whole = script(claim, seen, ready)
        require_fits(len(ready), whole, sum(one.span.months for one in ready if one.span))
        self._claim(claim, ready)
        crash.point("tx_marker")
        jobs = self._jobs.labelled(labels(wanted[0].table.name.schema))
        jobs.once(whole, None, f"mlc_tx_{claim}", "publish")
        crash.point("committed")

    def _require_inside(self, one: Staged) -> None:
        if (partition := one.this.partition) is None:
            return
        outside = f"select count(*) as n from {one.rows} where ({within(partition)}) is not true"
        if number := self._rows(outside, {}, "check")[0]["n"]:
            raise outside_partition(one.this, number)

    def _rows(self, sql: str, values: Mapping[str, Any], kind: str = BOOKKEEPING) -> list[Any]:
        return list(self._jobs.query(sql, values, kind).result(timeout=self._patience))

    def _staged(self, this: Publication, holds: Held) -> tuple[Staged, list[Load]]:
        """A publication with the tables it will be staged in, and the loads that fill them."""
        landing, table = this.landing, this.table
        key = Table(table.name, tuple(table.by_name[name] for name in table.key))
        adds = not this.replaces_older and this.mode is not WriteMode.SNAPSHOT
        loads = (
            self._loaded(landing, "rows", landing.parts, table),
            self._loaded(landing, "keys", [landing.keys], key),
            self._loaded(landing, "rejects", [landing.quarantine], _REJECTS),
        )
        rows, keys, rejects = (_quoted(load) if load else "" for load in loads)
        older = () if adds else tuple(holds.versions.get(landing.object, ()))
        if this.mode is WriteMode.APPEND:
            older = tuple(batch for batch in older if batch in holds.current)
        whole = tuple(holds.whole)
        staged = Staged(this, rows, keys, rejects, older, whole, holds.spans)
        return staged, [load for load in loads if load]

    def _loaded(
        self, landing: Landing, what: str, parts: Sequence[Part | None], table: Table
    ) -> Load | None:
        uris = [self._uri(part.path) for part in parts if part]
        name = f"{what}_{landing.batch_id}"
        target = self._tables.reference(STAGING, name)
        about = labels(landing.schema)
        return Load(f"mlc_{name}", uris, target, fields(table), about) if uris else None

    def _claim(self, claim: str, ready: Sequence[Staged]) -> None:
        """Insert what the transaction will update, its values bound."""
        wanted = [one.this for one in ready]
        last = {this.table.name: this for this in wanted if this.landing.hi is not None}
        newest = {(this.table.name, this.landing.object): this for this in wanted}
        rows = []
        for one in ready:
            this, landing, name = one.this, one.this.landing, one.this.table.name
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
                "span": one.span.to_json() if one.span else None,
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
            f"select position from malacate.positions where {SEEN}", {"tables": [str(table)]}
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
        found = self._fetched(self._jobs.query(sql, values, "read"))
        kinds = [(f.name, unencoded(f.type)) for f in found.schema]
        return found.cast(pa.schema(kinds))

    def _fetched(self, job: Any) -> pa.Table:
        if self._reader is not None:
            try:
                return job.to_arrow(bqstorage_client=self._reader)
            except (Forbidden, MethodNotImplemented) as error:
                _log.warning("no Storage Read API, rows come as JSON: %s", error)
                self._reader = None
        return job.to_arrow(create_bqstorage_client=False)

    def columns(self, table: TableName) -> dict[str, pa.DataType]:
        """See ``Warehouse.columns``."""
        here = self._tables.standing(table)
        noted = self._tables.noted(table) if here else {}
        return noted

    def ensure(self, tables: Sequence[Table]) -> None:
        """See ``Warehouse.ensure``."""
        self._tables.prepare()
        for table in tables:
            self._patiently(table, partial(self._tables.follow, table))

    def pause(self, table: TableName) -> float:
        """See ``Warehouse.pause``: the pace of ``bigquery_quotas``, by what the markers tell."""
        self._tables.prepare()
        ago = "timestamp_diff(current_timestamp(), max(published_at), millisecond) / 1000"
        seconds = int(self._pace.period.total_seconds())
        (found,) = self._rows(
            f"select count(distinct published_at) as done, {ago} as since from malacate.loads "
            f"where {SEEN} and published_at > "
            f"timestamp_sub(current_timestamp(), interval {seconds} second)",
            {"tables": [str(table)]},
        )
        return self._pace.pause(found["done"], found["since"] or 0.0)

    def exists(self, table: TableName) -> bool:
        """See ``Warehouse.exists``."""
        return self._tables.standing(table) is not None

    def share(self, view: View) -> None:
        """See ``Warehouse.share``: the readers are members of IAM."""
        Views(self._jobs, self._tables).share(view)

    def put_aside(self, tables: Sequence[Sequence[TableName]], stamp: str) -> str:
        """See ``Warehouse.put_aside``: clones in a dataset, that may be dropped."""
        self._tables.prepare()
        kept = f"malacate_aside_{stamp}"
        keep(self._jobs, self._tables, [name for some in tables for name in some], kept)
        for some in tables:
            empty = partial(self._jobs.query, emptied(self._tables, some))
            self._patiently(Table(some[0], ()), empty)
        return f"dataset {kept}"


def _busy(table: Table, error: Conflict) -> WarehouseBusy:
    return WarehouseBusy(
        "other writers of the warehouse were always first",
        "Run again; if it stays so, let fewer runs publish at once.",
        source=str(table.name),
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
