"""Planted bugs: what the driver must find, each a small wrong change of the product."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from platform_tests.faults import (
    mutants_of_bigquery,
    mutants_of_cdc,
    mutants_of_files,
    mutants_of_streams,
)

from malacate import crash
from malacate import ingest as ingest_module
from malacate.ingest import Ingest
from malacate.lake.lake import Lake, Staged
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.ledger.work import Found
from malacate.warehouse import duckdb as engine
from malacate.warehouse import duckdb_write as statements

WAREHOUSE: Any = engine.DuckDBWarehouse


def apply(name: str) -> None:
    """Plant one bug in this process; no name plants none."""
    if name:
        MUTANTS[name]()


def marker_after_the_rows() -> None:
    """Rows and marker are two commits."""
    mark, publish = engine._mark, WAREHOUSE.publish

    def two_commits(self: Any, publications: Any) -> Any:
        engine._mark = lambda *told: None
        done = publish(self, publications)
        engine._mark = mark
        with self._transaction() as connection:
            for this, did in zip(publications, done, strict=True):
                if did.outcome == "published":
                    mark(connection, this, True)
        return done

    WAREHOUSE.publish = two_commits


def loaded_before_the_commit() -> None:
    """The ledger says loaded first, and its word is taken."""
    publish = Ingest._publish

    def early(self: Ingest, route: Any, landed: Any) -> None:
        for claim, landing in landed:
            self.ledger._answer(claim, state="loaded", rows_read=landing.rows_read)
        renew, finish = self.ledger.renew, self.ledger.finish
        self.ledger.renew = self.ledger.finish = lambda *_: None  # type: ignore[method-assign]
        publish(self, route, landed)
        self.ledger.renew, self.ledger.finish = renew, finish  # type: ignore[method-assign]

    Ingest._publish = early  # type: ignore[method-assign]
    never_healed()


def never_healed() -> None:
    """A ledger that outlived its warehouse is believed."""
    Ingest.heal = lambda self, route: 0  # type: ignore[method-assign]


def autocommit() -> None:
    """Each statement is a transaction of its own."""

    @contextmanager
    def loose(self: Any) -> Iterator[Any]:
        with self._open() as connection:
            engine.prepare(connection)
            yield connection
            crash.point("tx_marker")
        crash.point("committed")

    WAREHOUSE._transaction = loose


def copied_in_place() -> None:
    """No tmp and rename: what stands in ``input`` is taken for complete."""

    def stage(self: Lake, batch_id: str, drop: BinaryIO, verify: Any) -> Staged:
        target = self.root / "input" / batch_id
        if not target.exists():
            with target.open("wb") as copy:
                content = drop.read()
                copy.write(content[: len(content) // 2])
                copy.flush()
                crash.point("input_torn")
                copy.write(content[len(content) // 2 :])
        return Staged(target, target.stat().st_size, "")

    Lake.stage = stage  # type: ignore[method-assign]


def input_deleted_before_proof() -> None:
    """The copy goes once it was read, though nothing is published yet."""
    split = Ingest._split

    def forgets(self: Ingest, claim: Any, *rest: Any) -> int:
        rows = split(self, claim, *rest)
        self.lake.discard_input(claim.batch_id)
        return rows

    Ingest._split = forgets  # type: ignore[method-assign]


def nobody_fenced() -> None:
    """Epochs are written and never looked at."""

    def update(self: Ledger, connection: Any, claim: Any, values: Any) -> None:
        one = BATCH.c.batch_id == claim.batch_id
        connection.execute(BATCH.update().where(one).values(**values))

    Ledger._update = update  # type: ignore[method-assign]


def known_by_name_only() -> None:
    """The version is left out of the identity."""
    identity = Found.batch_id.fget  # type: ignore[attr-defined]
    Found.batch_id = property(  # type: ignore[assignment,method-assign]
        lambda self: identity(replace(self, version="") if self.version else self)
    )


def position_before_the_rows() -> None:
    """The position is committed by itself, before what it stands for."""
    publish = WAREHOUSE.publish

    def ahead(self: Any, publications: Any) -> Any:
        for this in publications:
            if this.landing.hi is not None:
                with self._transaction() as connection:
                    _set_position(connection, this)
        return publish(self, publications)

    WAREHOUSE.publish = ahead


def _set_position(connection: Any, this: Any) -> None:
    at = [this.table.name.schema, this.table.name.table]
    connection.execute(
        "delete from malacate.positions where schema_name = ? and table_name = ?", at
    )
    values = [*at, this.landing.hi, this.landing.batch_id]
    connection.execute("insert into malacate.positions values (?, ?, ?, ?)", values)


def manifest_before_parts() -> None:
    """The landing is announced while its rows are still on their way."""
    commit = Lake.commit

    def early(self: Lake, landing: Any) -> Any:
        late = [
            (self.root / part.path, Path(f"{self.root / part.path}.late")) for part in landing.parts
        ]
        for part, aside in late:
            part.rename(aside)
        standing = commit(self, landing)
        for part, aside in late:
            aside.rename(part)
        return standing

    Lake.commit = early  # type: ignore[method-assign]


def inserted_by_place() -> None:
    """Columns are matched by their order."""

    def insert(connection: Any, this: Any, lake_root: Path) -> None:
        table = this.table.name.sql("duckdb")
        files = statements.paths(this.landing.parts, lake_root)
        connection.execute(
            f"insert into {table} select *, $batch_id from read_parquet($files)",
            {"batch_id": this.landing.batch_id, "files": files},
        )

    statements._insert = insert


def rejects_dropped() -> None:
    """Rows that break a rule are left out, and that is all."""
    ingest_module._quarantined = lambda rejects: pa.RecordBatch.from_pylist(
        [], schema=ingest_module.QUARANTINE
    )


MUTANTS: dict[str, Callable[[], None]] = {
    planted.__name__: planted
    for planted in (
        marker_after_the_rows, loaded_before_the_commit, never_healed, autocommit,
        copied_in_place, input_deleted_before_proof, nobody_fenced, known_by_name_only,
        position_before_the_rows, manifest_before_parts, inserted_by_place, rejects_dropped,
    )
} | {
    **mutants_of_files.MUTANTS, **mutants_of_bigquery.MUTANTS,
    **mutants_of_cdc.MUTANTS, **mutants_of_streams.MUTANTS,
}  # fmt: skip
"""By name; a worker plants the one that its orders name."""
