"""The platform that reads a mine's slot as a Dagster step does, and the verdict on what it has."""

from collections import Counter
from pathlib import Path
from typing import Any

from platform_tests.faults.cdc_mine import PUBLICATION, TABLES, Mine
from platform_tests.faults.cdc_witness import witnessed
from platform_tests.faults.expected import cell
from platform_tests.faults.verdict import Verdict
from platform_tests.faults.worker import DONE, STUCK, note, notes

from malacate.batch import WriteMode
from malacate.contracts.changes import changes_of, state_of
from malacate.contracts.table import Table
from malacate.errors import MalacateError
from malacate.ingest import Ingest
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.ledger.tables import BATCH
from malacate.orchestration.raw_assets import RawAsset
from malacate.orchestration.slot_assets import SlotAssets, positions, take_in
from malacate.route import Route
from malacate.sources.cdc import slot_setup
from malacate.sources.cdc.slot import ReplicationSlot, SlotTable, relation_of
from malacate.sources.cdc.slot_position import Position
from malacate.sources.cdc.slot_server import SlotServer
from malacate.warehouse.duckdb import DuckDBWarehouse
from malacate.warehouse.fold import Fold

AT_ONCE = 250
"""Changes after which a look ends: a burst takes several."""

HARMLESS = {"Fenced", "WarehouseBusy", "slot_in_use"}
"""What a worker may raise when another one was faster, or holds the file or the slot."""


class Reader:
    """Ledger, lake, warehouse and slot as one process has them."""

    def __init__(self, root: Path, mine: Mine) -> None:
        self.root, self.mine = root, mine
        lake = Lake(root / "lake")
        ledger = Ledger(f"sqlite:///{root}/ledger.db", max_crashes=1_000_000)
        warehouse = DuckDBWarehouse(root / "warehouse.duckdb", lake.root)
        self.ingest = Ingest(ledger, lake, warehouse)
        slot_server = SlotServer(mine.url, mine.name, PUBLICATION)
        self.slot = ReplicationSlot(slot_server, TABLES, AT_ONCE)
        raw = [RawAsset(self._route(t), frozenset(), delivers=t.name.table) for t in TABLES]
        self.assets = SlotAssets(self.slot, raw, 30, 1 << 30)

    def _route(self, table: Table) -> Route:
        log = changes_of(table)
        source = SlotTable(self.slot, table, log)
        return Route(log, source, WriteMode.APPEND, derives=Fold(state_of(table)))

    def step(self) -> None:
        """What a run of the slot's assets does."""
        self.beyond()
        reports = take_in(self.ingest, self.assets)
        told = [str(b["batch_id"]) for report in reports.values() for b in report.batches]
        self.ingest.ledger.mark_reported(told)

    def fix(self) -> list[str]:
        """``malacate doctor --fix``."""
        return slot_setup.fix(self.slot, self.positions)

    @property
    def positions(self) -> dict[str, str | None]:
        """What is published of each table."""
        return positions(self.ingest, self.assets)

    def beyond(self) -> None:
        """Note a slot that is ahead of what was published; it is asked first, it may move on."""
        query = "select confirmed_flush_lsn - '0/0' from pg_replication_slots where slot_name = %s"
        found = self.mine.ask(query, self.mine.name)
        for relation, text in self.positions.items() if found else ():
            position = Position.of(text)
            if position is None or position.generation:
                continue
            if position.lsn < int(found[0][0]):
                note(self.root, "errors", ["beyond", relation, f"{position.lsn} < {found[0][0]}"])

    def has(self, query: str) -> list[dict[str, Any]]:
        """Rows of the warehouse."""
        return list(self.ingest.warehouse.query(query).to_pylist())

    def state(self, table: Table, is_deleted: bool = False) -> Counter[tuple[Any, ...]]:
        """Rows that are alive, or tombstones' keys."""
        names = table.key if is_deleted else [c.name for c in table.columns]
        chosen = f"select {', '.join(names)} from {table.name.sql('duckdb')}"
        rows = self.has(f"{chosen} where is_deleted = {is_deleted}")
        return Counter(tuple(cell(row[n]) for n in names) for row in rows)

    def at_source(self, table: Table) -> Counter[tuple[Any, ...]]:
        """Rows of the table itself."""
        names = [c.name for c in table.columns]
        rows = self.mine.ask(f"select {', '.join(names)} from {relation_of(table)}")
        return Counter(tuple(map(cell, row)) for row in rows)

    def log(self, table: Table) -> list[dict[str, Any]]:
        """All changes of a table but the large values."""
        names = [*table.key, "_op", "_position_hi", "_position_lo", "_seq", "_is_snapshot",
                 "_event_id"]  # fmt: skip
        return self.has(f"select {', '.join(names)} from {changes_of(table).name.sql('duckdb')}")


def work(root: Path, mine: Mine) -> int:
    """The body of a worker process: one step, and a note of what it met."""
    try:
        Reader(root, mine).step()
    except MalacateError as error:
        kind = "slot_in_use" if error.reason == "slot_in_use" else type(error).__name__
        note(root, "errors", [kind, error.source, str(error)[:600]])
        return STUCK
    return DONE


def judge(root: Path, mine: Mine) -> Verdict:
    """State is the source, the log is what the witness saw, the slot stands where all do."""
    reader, this = Reader(root, mine), Verdict()
    events = witnessed(mine, {relation_of(table): table.key for table in TABLES})
    for table in TABLES:
        log = reader.log(table)
        equal_rows(reader, table, log, this)
        _equal_events(reader, table, log, events[relation_of(table)], this)
    _stands_where_all_do(reader, this)
    before = [reader.state(table) for table in TABLES], [len(reader.log(t)) for t in TABLES]
    work(root, mine)
    if ([reader.state(t) for t in TABLES], [len(reader.log(t)) for t in TABLES]) != before:
        this.problems.append("a second run changed the tables")
    for kind, table, text in notes(root, "errors"):
        this.fenced += kind == "Fenced"
        if kind not in HARMLESS:
            this.problems.append(f"raised {kind} for {table}: {text}")
    return this


def equal_rows(reader: Reader, table: Table, log: list[dict[str, Any]], this: Verdict) -> None:
    """Alive rows are the source's, and every other key that came is a tombstone."""
    short = {"document"} & {c.name for c in table.columns}
    expected, found = reader.at_source(table), reader.state(table)
    if short:
        expected, found = _digested(expected), _digested(found)
    this.compare(str(table.name), expected, found)
    width = len(table.key)
    keys = {tuple(cell(row[name]) for name in table.key) for row in log if row["_op"] != "T"}
    places = [[c.name for c in table.columns].index(name) for name in table.key]
    gone = keys - {tuple(row[p] for p in places) for row in expected}
    if set(reader.state(table, is_deleted=True)) != gone:
        this.problems.append(f"{table.name}: tombstones are not the {len(gone)} keys of {width}")
    if len({row["_event_id"] for row in log}) != len(log):
        this.twice += len(log) - len({row["_event_id"] for row in log})
        this.problems.append(f"{table.name}: an event stands twice in the log")


def _digested(rows: Counter[tuple[Any, ...]]) -> Counter[tuple[Any, ...]]:
    return Counter(
        {tuple(f"{v[:6]}~{hash(v)}" if isinstance(v, str) and len(v) > 40 else v for v in row): n
         for row, n in rows.items()}
    )  # fmt: skip


def _equal_events(
    reader: Reader, table: Table, log: list[dict[str, Any]], events: Any, this: Verdict
) -> None:
    name = changes_of(table).name
    batches = reader.ingest.ledger.batches(
        BATCH.c.table_name == name.table, BATCH.c.state == "loaded"
    )
    stands = {m.batch_id for m in reader.ingest.warehouse.markers(name).values() if m.is_current}
    begins = [
        Position.parse(row["hi"]).lsn
        for row in batches
        if row["lo"] is None and row["batch_id"] in stands
    ]
    if len(begins) != 1:
        this.problems.append(f"{table.name}: {len(begins)} snapshots")
        return
    wanted = Counter((f"{at}:{seq}", op, key) for at, seq, op, key in events if at > begins[0])
    came = [row for row in log if not row["_is_snapshot"]]
    found = Counter((_place(row), row["_op"], _key(table, row)) for row in came)
    this.compare(f"{table.name}'s log", wanted, found)


def _place(row: dict[str, Any]) -> str:
    return f"{(row['_position_hi'] << 32) | row['_position_lo']}:{row['_seq']}"


def _key(table: Table, row: dict[str, Any]) -> tuple[str, ...]:
    return () if row["_op"] == "T" else tuple(str(row[name]) for name in table.key)


def _stands_where_all_do(reader: Reader, this: Verdict) -> None:
    """Once everything is in, the slot holds nothing that every table has published."""
    reached = [Position.parse(text or "0").lsn for text in reader.positions.values()]
    confirmed = reader.slot.server.generations()[0].confirmed
    if confirmed != min(reached):
        this.problems.append(f"the slot is at {confirmed}, its tables are at {reached}")
