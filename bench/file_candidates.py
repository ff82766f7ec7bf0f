"""Candidates that read files; see ``candidates``. For the small files ``source`` is a folder."""

from pathlib import Path

from candidates import candidate, landed, platform_in, ready, route_of


@candidate
def avro_blocks(path: str, rows: int, folder: Path) -> int:
    """The limit: every block decompressed, none decoded."""
    import fastavro

    ready()
    with Path(path).open("rb") as file:
        return sum(block.num_records for block in fastavro.block_reader(file))


@candidate
def avro_fastavro(path: str, rows: int, folder: Path) -> int:
    """fastavro's rows, as Arrow, to one Parquet file."""
    import itertools

    import fastavro
    import pyarrow as pa
    import pyarrow.parquet as pq
    from source import drop

    ready()
    schema, done = drop().schema, 0
    with (
        Path(path).open("rb") as file,
        pq.ParquetWriter(folder / "fast.parquet", schema, compression="zstd") as writer,
    ):
        found = fastavro.reader(file)
        while some := list(itertools.islice(found, 100_000)):
            writer.write_table(pa.Table.from_pylist(some, schema))
            done += len(some)
    return done


@candidate
def avro_parquet(path: str, rows: int, folder: Path) -> int:
    """Walk, decode and encode Parquet, without claiming, copying and checksumming the drop."""
    from source import drop

    from malacate.formats import avro
    from malacate.lake.background import Background
    from malacate.lake.lake import Lake

    lake, table = Lake(folder / "lake"), drop()
    ready()
    with lake.writing("final", "rows", table.schema) as part, Background(part) as writer:
        for chunk in avro.read(Path(path), table).chunks:
            writer.write(chunk.rows.cast(table.schema))
    return part.rows


@candidate
def avro_malacate(path: str, rows: int, folder: Path) -> int:
    """Discover, claim, copy, walk, decode, split, land: Parquet in the lake."""
    from source import drop

    from malacate.formats import FileFormat, avro  # noqa: F401
    from malacate.sources.files import FileDrops, all_files
    from malacate.stores.folder import FolderStore

    drops = FileDrops(drop(), all_files(drop(), FolderStore(Path(path).parent)), FileFormat("avro"))
    ingest, route = platform_in(folder), route_of(drops, "append")
    ready()
    return landed(ingest, route)


@candidate
def avro_published(path: str, rows: int, folder: Path) -> int:
    """The whole path: the rows stand in the raw table, with their marker."""
    from source import drop

    from malacate.formats import FileFormat, avro  # noqa: F401
    from malacate.sources.files import FileDrops, all_files
    from malacate.stores.folder import FolderStore

    drops = FileDrops(drop(), all_files(drop(), FolderStore(Path(path).parent)), FileFormat("avro"))
    ingest = platform_in(folder)
    ready()
    return ingest.run(route_of(drops, "append")).total("rows_loaded")


@candidate
def avro_fastavro_table(path: str, rows: int, folder: Path) -> int:
    """fastavro's rows, as Arrow, into a DuckDB table."""
    import itertools

    import duckdb
    import fastavro
    import pyarrow as pa
    from source import drop

    ready()
    schema, done = drop().schema, 0
    with Path(path).open("rb") as file, duckdb.connect(folder / "fast.duckdb") as connection:
        empty = schema.empty_table()  # noqa: F841
        connection.execute("create table drop as from empty")
        found = fastavro.reader(file)
        while some := list(itertools.islice(found, 100_000)):
            batch = pa.Table.from_pylist(some, schema)  # noqa: F841
            connection.execute("insert into drop from batch")
            done += len(some)
    return done


@candidate
def avro_polars_table(path: str, rows: int, folder: Path) -> int:
    """polars.read_avro, into a DuckDB table."""
    import duckdb
    import polars as pl

    ready()
    frame = pl.read_avro(path).to_arrow()
    with duckdb.connect(folder / "polars.duckdb") as connection:
        connection.execute("create table drop as from frame")
    return frame.num_rows


@candidate
def small_files(source: str, files: int, folder: Path) -> int:
    """Many small files from the folder to the raw table; returns how many are loaded."""
    from source import drop

    from malacate.formats import FileFormat, avro  # noqa: F401
    from malacate.sources.files import FileDrops, all_files
    from malacate.stores.folder import FolderStore

    drops = FileDrops(drop(), all_files(drop(), FolderStore(Path(source))), FileFormat("avro"))
    ingest = platform_in(folder)
    ready()
    return len(ingest.run(route_of(drops, "append")).of("loaded"))


@candidate
def small_files_fastavro(source: str, files: int, folder: Path) -> int:
    """The same files by fastavro, one after the other, into a DuckDB table: no marker, no copy."""
    import duckdb
    import fastavro
    import pyarrow as pa
    from source import drop

    ready()
    schema, done = drop().schema, 0
    with duckdb.connect(folder / "fast.duckdb") as connection:
        empty = schema.empty_table()  # noqa: F841
        connection.execute("create table drop as from empty")
        for path in sorted(Path(source).iterdir()):
            with path.open("rb") as file:
                batch = pa.Table.from_pylist(list(fastavro.reader(file)), schema)  # noqa: F841
            connection.execute("insert into drop from batch")
            done += 1
    return done
