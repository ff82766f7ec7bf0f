"""A ledger that is to be made again is put aside first, never deleted."""

from pathlib import Path

import sqlalchemy as sa

from malacate.ledger.tables import COST, METADATA


def put_aside(url: str, stamp: str) -> str:
    """Leave no ledger at ``url``; tell where the old one is, empty if there was none.

    SQLite's file gets another name. Postgres' tables get a schema of their own, except for what
    was spent, which nothing could tell again.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return renamed(Path(parsed.database or ""), ("", "-wal", "-shm"), stamp)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        schema = f"malacate_aside_{stamp.lower()}"
        standing = set(sa.inspect(connection).get_table_names())
        names = [x.name for x in METADATA.sorted_tables if x.name in standing and x is not COST]
        if names:
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
        for name in names:
            connection.exec_driver_sql(f"alter table {name} set schema {schema}")
    engine.dispose()
    return f"schema {schema}" if names else ""


def renamed(file: Path, tails: tuple[str, ...], stamp: str) -> str:
    """Give a database's files other names; tell the first, empty if there was none."""
    standing = [x for tail in tails if (x := file.with_name(file.name + tail)).exists()]
    moved = [path.rename(path.with_name(f"{path.name}.{stamp}")) for path in standing]
    return str(moved[0]) if moved else ""
