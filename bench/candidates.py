"""One candidate a process: ``candidates.py NAME SOURCE ROWS FOLDER``; prints the rows it moved."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

READY = 0.0
"""When the candidate had imported what it needs: its own work begins there."""

CANDIDATES: dict[str, Callable[[str, int, Path], int]] = {}


def candidate(run: Callable[[str, int, Path], int]) -> Callable[[str, int, Path], int]:
    """Make ``run`` callable by its name."""
    CANDIDATES[run.__name__] = run
    return run


def ready() -> None:
    """Called by each candidate once it has imported what it needs."""
    global READY
    READY = time.perf_counter()


@candidate
def copy_binary(url: str, rows: int, folder: Path) -> int:
    """The limit: the server's own binary COPY, its bytes thrown away."""
    import psycopg

    ready()
    size = 0
    with psycopg.connect(url) as connection:
        query = f"copy (select * from line_{rows}) to stdout (format binary)"
        with connection.cursor().copy(query) as stream:
            for block in stream:
                size += len(block)
    return rows if size else 0


def platform_in(folder: Path):
    """An empty platform."""
    from malacate.ingest import Ingest
    from malacate.lake.lake import Lake
    from malacate.ledger.ledger import Ledger
    from malacate.warehouse.duckdb import DuckDBWarehouse

    lake = Lake(folder / "lake")
    warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", lake.root)
    return Ingest(Ledger(f"sqlite:///{folder / 'ledger.sqlite'}"), lake, warehouse)


def route_of(source, mode: str):
    """The way of ``source`` to its raw table."""
    from malacate.batch import WriteMode
    from malacate.ingest import Route

    return Route(source.table, source, WriteMode(mode))


def landed(ingest, route) -> int:
    """Rows that stand in the lake once the one batch of ``route`` is read."""
    from malacate.sources.protocol import Known

    ingest.ledger.note(route.source.discover(Known()))
    (claim,) = ingest.ledger.claim(route.table.source, route.table.name.table)
    return ingest._read(route, claim).rows


@candidate
def malacate_landed(url: str, rows: int, folder: Path) -> int:
    """Discover, claim, read, split, land: Parquet in the lake."""
    from source import line

    from malacate.sources.databases import DatabaseTable

    ingest = platform_in(folder)
    ready()
    return landed(ingest, route_of(DatabaseTable(line(rows), url), "snapshot"))


@candidate
def malacate_published(url: str, rows: int, folder: Path) -> int:
    """The whole path: the rows stand in the raw table, with their marker."""
    from source import line

    from malacate.sources.databases import DatabaseTable

    ingest = platform_in(folder)
    ready()
    report = ingest.run(route_of(DatabaseTable(line(rows), url), "snapshot"))
    return report.total("rows_loaded")


def _dlt(url: str, rows: int, folder: Path, backend: str, destination: str) -> int:
    import os

    os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    import dlt
    from dlt.sources.sql_database import sql_table

    ready()
    fast = {"return_type": "arrow_stream", "batch_size": 100_000}
    settings = {"backend_kwargs": fast} if backend == "connectorx" else {}
    table = sql_table(
        credentials=url.replace("postgresql:", "postgresql+psycopg2:"), table=f"line_{rows}",
        backend=backend, chunk_size=100_000, **settings,
    )  # fmt: skip
    places = {
        "duckdb": lambda: dlt.destinations.duckdb(str(folder / "dlt.duckdb")),
        "files": lambda: dlt.destinations.filesystem(f"file://{folder / 'dlt'}"),
    }
    pipeline = dlt.pipeline("bench", destination=places[destination](), dataset_name="x",
                            pipelines_dir=str(folder / "pipelines"))  # fmt: skip
    pipeline.run(table, loader_file_format="parquet", write_disposition="replace")
    return pipeline.last_trace.last_normalize_info.row_counts[f"line_{rows}"]


@candidate
def dlt_fast_files(url: str, rows: int, folder: Path) -> int:
    """dlt's fastest: connectorx as an Arrow stream, to Parquet files."""
    return _dlt(url, rows, folder, "connectorx", "files")


@candidate
def dlt_pyarrow_duckdb(url: str, rows: int, folder: Path) -> int:
    """dlt with its pyarrow backend, to a DuckDB table."""
    return _dlt(url, rows, folder, "pyarrow", "duckdb")


@candidate
def dlt_default_duckdb(url: str, rows: int, folder: Path) -> int:
    """dlt as it comes, to a DuckDB table."""
    return _dlt(url, rows, folder, "sqlalchemy", "duckdb")


@candidate
def pandas_files(url: str, rows: int, folder: Path) -> int:
    """pandas.read_sql in chunks, to one Parquet file."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import sqlalchemy as sa
    from source import line

    ready()
    engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    schema, done = line(rows).schema, 0
    with (
        engine.connect().execution_options(stream_results=True) as connection,
        pq.ParquetWriter(folder / "pandas.parquet", schema, compression="zstd") as writer,
    ):
        query = sa.text(f"select * from line_{rows}")
        for frame in pd.read_sql(query, connection, chunksize=100_000, coerce_float=False):
            writer.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False))
            done += len(frame)
    return done


def main() -> None:
    """Run the candidate that the command line names."""
    import candidates
    import file_candidates  # noqa: F401

    name, source, rows, folder = sys.argv[1:]
    moved = candidates.CANDIDATES[name](source, int(rows), Path(folder))
    print(time.perf_counter() - candidates.READY, moved)


if __name__ == "__main__":
    main()
