"""Candidates of ``bigquery_side.py``, one a process: ``bigquery_candidates.py NAME SOURCE TARGET``.

``TARGET`` is a table of ``raw_bench`` to load or to read; the cost is printed as JSON. Each imports
what it needs, and has asked its servers for something, before it is measured.
"""

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from source import line

PROJECT, BUCKET = "bench", "bench-lake"
Moved = dict[str, float]
CANDIDATES: dict[str, Callable[[pa.Table, Path, str], Moved]] = {}


def candidate(
    run: Callable[[pa.Table, Path, str], Moved],
) -> Callable[[pa.Table, Path, str], Moved]:
    """Make ``run`` callable by its name."""
    CANDIDATES[run.__name__] = run
    return run


def client() -> Any:
    """The client that everybody uses."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    opened = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
    opened.get_dataset("raw_bench")
    return opened


def lake(folder: Path) -> Any:
    """Ours, in the bucket."""
    from malacate.lake.bucket import BucketPlace
    from malacate.lake.lake import Lake
    from malacate.orchestration.stores import store

    opened = Lake(BucketPlace(store(f"gs://{BUCKET}"), folder))
    opened.probe()
    return opened


def warehouse(folder: Path, reader: Any = None) -> Any:
    """Ours, which loads from the bucket."""
    from malacate.warehouse.bigquery import BigQueryWarehouse
    from malacate.warehouse.bigquery_jobs import Jobs

    return BigQueryWarehouse(Jobs(client()), lake(folder).uri, reader=reader)


def landed(here: Any, rows: pa.Table, name: str) -> Any:
    """Parquet in the lake."""
    with here.writing(f"final/raw_bench/{name}", "rows", rows.schema) as part:
        for batch in rows.to_batches():
            part.write(batch)
    return part.part


@candidate
def malacate_loaded(rows: pa.Table, folder: Path, target: str) -> Moved:
    """Arrow to Parquet in the lake's bucket, then a load job by URI."""
    from google.cloud import bigquery

    from malacate.warehouse.bigquery_jobs import Jobs, Load
    from malacate.warehouse.bigquery_types import fields

    here, jobs = lake(folder), Jobs(client())
    into = bigquery.TableReference.from_string(f"{PROJECT}.raw_bench.{target}")
    with measured() as cost:
        part = landed(here, rows, target)
        jobs.load([Load(f"mlc_{target}", [here.uri(part.path)], into, fields(line(len(rows))))])
    return cost


@candidate
def malacate_published(rows: pa.Table, folder: Path, target: str) -> Moved:
    """The whole path: landing, load, one transaction with the rows and their marker."""
    from malacate.batch import WriteMode
    from malacate.lake.landing import Landing
    from malacate.names import TableName
    from malacate.warehouse.protocol import Publication

    here, into = lake(folder), warehouse(folder)
    table = replace(line(len(rows)), name=TableName("raw_bench", target))
    with measured() as cost:
        part = landed(here, rows, target)
        landing = Landing(
            batch_id=secrets.token_hex(32), schema="raw_bench", table=target, source="bench",
            kind="snapshot", object="table", version="1", ordinal=1, size=None, lo=None, hi=None,
            mode="snapshot", rows_read=len(rows), rows=len(rows), rows_quarantined=0,
            parts=(part,),
        )  # fmt: skip
        into.publish([Publication(table, here.commit(landing), WriteMode.SNAPSHOT)])
    return cost


def _dataframe(rows: pa.Table, target: str, **options: Any) -> Moved:
    from google.cloud import bigquery

    from malacate.warehouse.bigquery_types import fields

    into, config = client(), bigquery.LoadJobConfig(schema=fields(line(len(rows))))
    with measured() as cost:
        used = time.process_time()
        frame = rows.to_pandas(**options)
        cost["frame"] = time.process_time() - used
        into.load_table_from_dataframe(
            frame, f"{PROJECT}.raw_bench.{target}", job_config=config
        ).result()
    return cost


@candidate
def load_table_from_dataframe(rows: pa.Table, folder: Path, target: str) -> Moved:
    """google-cloud-bigquery's way, the schema given."""
    return _dataframe(rows, target)


@candidate
def dataframe_of_arrow(rows: pa.Table, folder: Path, target: str) -> Moved:
    """The same with pandas' Arrow-backed columns, which few frames have."""
    import pandas as pd

    return _dataframe(rows, target, types_mapper=pd.ArrowDtype)


@candidate
def malacate_read(rows: pa.Table, folder: Path, target: str) -> Moved:
    """``Warehouse.read`` by the Storage Read API, the result of a statement."""
    from malacate.names import TableName
    from malacate.orchestration.bigquery import reader

    asked = warehouse(folder, reader())
    with measured() as cost:
        cost["rows"] = asked.read(TableName("raw_bench", target)).num_rows
    return cost


@candidate
def malacate_read_json(rows: pa.Table, folder: Path, target: str) -> Moved:
    """``Warehouse.read`` where that is absent."""
    from malacate.names import TableName

    asked = warehouse(folder)
    with measured() as cost:
        cost["rows"] = asked.read(TableName("raw_bench", target)).num_rows
    return cost


def _listed(rows: pa.Table, target: str, take: str, **options: Any) -> Moved:
    asked = client()
    table = asked.get_table(f"{PROJECT}.raw_bench.{target}")
    wanted = [field for field in table.schema if field.name in rows.schema.names]
    with measured() as cost:
        listed = asked.list_rows(table, selected_fields=wanted)
        cost["rows"] = len(getattr(listed, take)(**options))
    return cost


@candidate
def list_rows_to_arrow(rows: pa.Table, folder: Path, target: str) -> Moved:
    """The plain client by the Storage Read API, straight from the table."""
    from malacate.orchestration.bigquery import reader

    return _listed(rows, target, "to_arrow", bqstorage_client=reader())


@candidate
def list_rows_to_dataframe(rows: pa.Table, folder: Path, target: str) -> Moved:
    """The same, to pandas."""
    from malacate.orchestration.bigquery import reader

    return _listed(rows, target, "to_dataframe", bqstorage_client=reader())


@candidate
def list_rows_json(rows: pa.Table, folder: Path, target: str) -> Moved:
    """The plain client as it is installed: rows as JSON, to Arrow."""
    return _listed(rows, target, "to_arrow", create_bqstorage_client=False)


@contextmanager
def measured() -> Iterator[Moved]:
    """CPU and wall seconds of what is inside."""
    cost: Moved = {}
    begun, used = time.perf_counter(), time.process_time()
    yield cost
    cost |= {"cpu": time.process_time() - used, "wall": time.perf_counter() - begun}


def run(name: str, source: str, target: str) -> None:
    """In a process of its own: print the cost as JSON."""
    rows = pa.ipc.open_file(pa.memory_map(source)).read_all()
    with TemporaryDirectory(prefix="bench") as folder:
        cost = CANDIDATES[name](rows, Path(folder), target)
    print(json.dumps({"rows": len(rows), **cost}))


if __name__ == "__main__":
    run(*sys.argv[1:])
