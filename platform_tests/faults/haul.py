"""One table of drops in any store: routes over it, and what must come of its bytes."""

import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from platform_tests.faults.expected import Row
from platform_tests.faults.verdict import Verdict

from malacate.batch import WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import MalacateError
from malacate.formats import FileFormat
from malacate.ingest import Ingest, Route
from malacate.ledger.tables import BATCH
from malacate.names import TableName
from malacate.sources.discovery import Discovery
from malacate.sources.files import FileDrops
from malacate.sources.selection import Selection
from malacate.stores.protocol import Store

NAME = "raw_pit.haul"
UNFINISHED = BATCH.c.state.in_(("seen", "processing"))
RUNS = 12
"""A history has come to rest after so many runs, or it never does."""


def haul(maximum: float = 400, **more: Any) -> Table:
    """The table; a larger ``maximum`` is another contract."""
    tonnes = Column("tonnes", pa.float64(), minimum=0, maximum=maximum)
    columns = (Column("id", pa.int64(), required=True), tonnes)
    return Table(TableName("raw_pit", "haul"), columns, key=("id",), **more)


def route_of(store: Store, table: Table | None = None, **more: Any) -> Route:
    """Drops of ``store`` into the table; ``more`` goes to discovery, selection or the route."""
    table = table or haul()
    chosen = {k: more.pop(k) for k in ("complete", "patterns") if k in more}
    looked = {k: more.pop(k) for k in ("plan", "reconcile_seconds") if k in more}
    selection = Selection(store, **{"patterns": ("*.csv",), **chosen})
    discovery = Discovery(selection, table.source, table.name.table, **looked)
    source = FileDrops(table, discovery, FileFormat(name="csv"))
    return Route(table, source, WriteMode.APPEND, **more)


def file_of(number: int, rows: int = 2, tonnes: float | None = None) -> bytes:
    """A file whose rows no other number has; ``tonnes`` tells its versions apart."""
    first = number * 1000
    value = number % 399 + 0.5 if tonnes is None else tonnes
    lines = [f"{first + row},{value}" for row in range(rows)]
    return "\n".join(["id,tonnes", *lines, ""]).encode()


def rows_in(contents: Iterable[bytes]) -> Counter[Row]:
    """The rows of files, by other code than the product's."""
    lines = [line for content in contents for line in content.decode().splitlines()[1:]]
    pairs = (line.split(",") for line in lines)
    return Counter((number, repr(float(tonnes))) for number, tonnes in pairs)


def standing(ingest: Ingest) -> Counter[Row]:
    """The rows in the raw table."""
    rows = ingest.warehouse.query(f"select id, tonnes from {NAME}").to_pylist()
    return Counter((str(row["id"]), repr(row["tonnes"])) for row in rows)


def run_to_rest(ingest: Ingest, route: Route, this: Verdict) -> None:
    """Run until nothing waits; every error has to be one that a user can do something about."""
    for _ in range(RUNS):
        waits = run_once(ingest, route, this)
        if not waits and not ingest.ledger.batches(*route.batches, UNFINISHED):
            return
        time.sleep(0.01)
    this.problems.append("it never came to rest")


def run_once(ingest: Ingest, route: Route, this: Verdict) -> bool:
    """Whether it failed."""
    try:
        report = ingest.run(route)
    except Exception as error:
        require_advice(error, this)
        return True
    return bool(report.warnings)


def require_advice(error: BaseException, this: Verdict) -> None:
    """An error is typed and says what to do, or the history is bad."""
    if not isinstance(error, MalacateError) or not error.advice:
        this.problems.append(f"raised {type(error).__name__} without advice: {error}"[:600])


def judge(ingest: Ingest, route: Route, wanted: Counter[Row], this: Verdict) -> None:
    """Compare, check the ledger, run once more: nothing may change."""
    before = standing(ingest)
    this.compare(NAME, wanted, before)
    markers = ingest.warehouse.markers(route.table.name)
    for row in ingest.ledger.batches(*route.batches):
        if row["state"] in ("seen", "processing"):
            this.problems.append(f"{row['object']} is still {row['state']}")
        if (row["state"] == "loaded") != (row["batch_id"] in markers):
            this.problems.append(f"{row['object']} is {row['state']}, its marker says otherwise")
    run_once(ingest, route, this)
    if standing(ingest) != before:
        this.problems.append("a second run changed the table")
