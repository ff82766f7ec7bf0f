"""The routes of a world: two kinds of drops, a cursor table, a snapshot, a folded change log."""

from pathlib import Path

import pyarrow as pa
from platform_tests.faults.sources import CursorTable, SnapshotTable, drops

from malacate.batch import WriteMode
from malacate.contracts.changes import CHANGE_COLUMNS
from malacate.contracts.table import Column, Table
from malacate.ingest import Route
from malacate.names import TableName
from malacate.warehouse.fold import Fold

_ID = Column("id", pa.int64(), required=True)


def _text(name: str, since: str = "") -> Column:
    return Column(name, pa.string(), since=since)


WEIGHING = Table(
    TableName("raw_mine", "weighing"),
    (_ID, _text("truck"), Column("tonnes", pa.float64(), minimum=0, maximum=400)),
    key=("id",),
)
TRUCK = Table(TableName("raw_mine", "truck"), (_ID, _text("name")), key=("id",))
TRUCK_WITH_COLOR = Table(
    TRUCK.name, (_ID, _text("color", since="2"), _text("name")), key=("id",), version="2"
)
PURCHASE = Table(
    TableName("raw_erp", "purchase"),
    (_ID, Column("updated", pa.int64(), required=True), _text("value")),
    key=("id",),
)
STOCK = Table(TableName("raw_erp", "stock"), (_ID, Column("amount", pa.int64())), key=("id",))
PART = Table(TableName("raw_log", "part"), (_ID, _text("name")), key=("id",))
PART_CHANGES = PART.having(*CHANGE_COLUMNS, name="part_changes")

COLUMNS = {
    "raw_mine.weighing": "id, truck, tonnes",
    "raw_mine.truck": "id, color, name",
    "raw_erp.purchase": "id, updated, value",
    "raw_erp.stock": "id, amount",
    "raw_log.part_changes": ", ".join(column.name for column in PART_CHANGES.columns),
    "raw_log.part": "id, name, _op, _position_hi, is_deleted",
}
"""What the verdict reads of each table."""


ROUTES = 5


def routes_of(root: Path, act: int, turn: int = 0, number: int = ROUTES) -> list[Route]:
    """As a deployment of that day has them: the contract of trucks grows in the second act.

    ``turn`` says which comes first, ``number`` how many there are.
    """
    truck = TRUCK if act < 2 else TRUCK_WITH_COLOR
    folder = root / "drops"
    routes = [
        Route(WEIGHING, drops(WEIGHING, folder / "weighing"), WriteMode.APPEND),
        Route(truck, drops(truck, folder / "truck"), WriteMode.APPEND),
        Route(PURCHASE, CursorTable(PURCHASE, root), WriteMode.UPSERT),
        Route(STOCK, SnapshotTable(STOCK, root), WriteMode.SNAPSHOT),
        Route(
            PART_CHANGES,
            drops(PART_CHANGES, folder / "part"),
            WriteMode.APPEND,
            derives=Fold(PART),
        ),
    ]
    turned = routes[turn % ROUTES :] + routes[: turn % ROUTES]
    return turned[:number]
