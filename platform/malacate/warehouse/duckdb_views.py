"""Views for readers on DuckDB, and a folder for each reader: a DuckDB file knows no users.

Whoever can open the warehouse's file sees all of it. So what a reader may see is also written
beside it, one Parquet file per view, which is replaced whole: it is given to readers by the rights
of its folder, and is never locked.
"""

from dataclasses import replace
from pathlib import Path

import duckdb

from malacate.errors import WarehouseError, refused
from malacate.warehouse.duckdb_tables import make_schema
from malacate.warehouse.views import View


def create(connection: duckdb.DuckDBPyConnection, view: View) -> None:
    """Create the view, or put it in place of itself; raise ``WarehouseError`` if it cannot be."""
    make_schema(connection, view.name)
    try:
        connection.execute(view.create(guarded=False))
    except (duckdb.BinderException, duckdb.CatalogException) as error:
        raise _impossible(view, error) from error


def hand_out(connection: duckdb.DuckDBPyConnection, view: View, folder: Path) -> None:
    """Write each reader's rows below ``folder``, and take the file from who is no reader any more.

    Called in the transaction that makes the view, so that of two writers one is after the other.
    """
    readers = {reader.name for reader in view.readers}
    for place in folder.glob(f"*/{view.name.table}.parquet"):
        if place.parent.name not in readers:
            place.unlink(missing_ok=True)
    for reader in view.readers:
        rows = replace(view, readers=(reader,)).select(guarded=False)
        place = folder / reader.name / f"{view.name.table}.parquet"
        working = place.with_suffix(".working")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            connection.execute(f"copy ({rows}) to {_text(str(working))} (format parquet)")
            working.replace(place)
        except (OSError, duckdb.IOException) as error:
            raise refused(error, str(place)) from error


def _text(value: str) -> str:
    quoted = value.replace("'", "''")
    return f"'{quoted}'"


def _impossible(view: View, error: duckdb.Error) -> WarehouseError:
    return WarehouseError(
        "a view cannot be made of its table",
        f"Materialize {'/'.join(view.table.key)} first; then look whether it has the columns.",
        source=str(view.name),
        actual=str(error).partition("\n")[0],
        reason="impossible_view",
    )
