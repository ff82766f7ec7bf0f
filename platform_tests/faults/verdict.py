"""Expected against what stands: lost, twice, wrong, quarantine, conservation, leftovers."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platform_tests.faults.expected import Expected, Row, cell, expected_of
from platform_tests.faults.routes import COLUMNS, routes_of
from platform_tests.faults.worker import Orders, notes, platform_of
from platform_tests.faults.world import World

from malacate.ingest import Ingest
from malacate.ledger.tables import BATCH
from malacate.stores.folder import FolderStore

HARMLESS = {"Fenced", "WarehouseBusy", "OfAnotherDay"}
"""What a worker may raise when another one was faster, holds the file, or knows more."""


@dataclass
class Verdict:
    """What one case came to. ``leftovers`` and ``hits`` are reported, the rest must be nothing."""

    lost: int = 0
    twice: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    fenced: int = 0
    injected: int = 0
    leftovers: dict[str, int] = field(default_factory=dict)
    hits: dict[str, int] = field(default_factory=dict)
    found: str = ""

    def compare(self, table: str, rows: Counter[Row], found: Counter[Row]) -> None:
        """Count what is lost, twice and wrong of ``rows``, by the key in their first field."""
        missing, surplus = rows - found, found - rows
        for key in {row[0] for row in (*missing, *surplus)}:
            gone = sum(n for row, n in missing.items() if row[0] == key)
            more = sum(n for row, n in surplus.items() if row[0] == key)
            changed = min(gone, more)
            is_known = any(row[0] == key for row in rows)
            self.lost += gone - changed
            self.twice += more - changed if is_known else 0
            self.wrong += changed if is_known else more
        if missing or surplus:
            self.problems.append(f"{table}: missing {dict(missing)}, surplus {dict(surplus)}")

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.wrong or self.problems)

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, file: Path) -> "Verdict":
        return cls(**json.loads(file.read_text()))


def judge(root: Path, orders: Orders) -> Verdict:
    """Compare, run once more, and compare again: nothing may have changed."""
    world, ingest, this = World(root), platform_of(root, orders), Verdict()
    routes = routes_of(root, world.act, orders.turn, orders.routes)
    expected = expected_of(world, {r.table.name.schema + "." + r.table.name.table for r in routes})
    before = _tables(ingest, expected)
    for table, rows in expected.tables.items():
        this.compare(table, rows, before[table])
    _quarantine(expected, ingest, this)
    _files(expected, world, ingest, orders, this)
    _conservation(ingest, this)
    _errors(root, this)
    for route in routes:
        ingest.run(route)
    if _tables(ingest, expected) != before:
        this.problems.append("a second run changed the tables")
    this.leftovers = leftovers(root)
    return this


def _tables(ingest: Ingest, expected: Expected) -> dict[str, Counter[Row]]:
    found = {}
    with ingest.warehouse._open() as connection:  # type: ignore[attr-defined]
        for table in expected.tables:
            rows = connection.execute(f"select {COLUMNS[table]} from {table}").fetchall()
            found[table] = Counter(tuple(cell(v) for v in row) for row in rows)
    return found


def _quarantine(expected: Expected, ingest: Ingest, this: Verdict) -> None:
    rows = ingest.warehouse.query("select reason, raw from malacate.quarantine").to_pylist()
    found = Counter((row["reason"], str(_key(row["raw"]))) for row in rows)
    if found != expected.rejects:
        this.problems.append(f"quarantine {dict(found)}, expected {dict(expected.rejects)}")


def _key(raw: bytes) -> str:
    text = raw.decode()
    return str(json.loads(text)["id"]) if text.startswith("{") else text.split(",")[0]


def _files(expected: Expected, world: World, ingest: Ingest, orders: Orders, this: Verdict) -> None:
    """The newest version of every drop ended as it should; a deadly one as poison."""
    rows = ingest.ledger.batches(BATCH.c.kind == "object")
    states = {(row["object"], row["version"]): row for row in rows}
    for kind in expected.kinds:
        for entry in FolderStore(world.root / "drops" / kind).list():
            name, row = entry.name, states.get((entry.name, entry.version))
            state = row and row["state"]
            wanted = "quarantined" if name == orders.deadly else _wanted(expected, kind, name)
            if state != wanted:
                this.problems.append(f"{kind}/{name} is {state}, expected {wanted}")
            if name == orders.deadly and row and row["reason"] != "poison_crash":
                this.problems.append(f"{name} is quarantined for {row['reason']}")


def _wanted(expected: Expected, kind: str, name: str) -> str:
    return expected.files.get(f"{kind}/{name}", "loaded")


def _conservation(ingest: Ingest, this: Verdict) -> None:
    with ingest.warehouse._open() as connection:  # type: ignore[attr-defined]
        query = "select batch_id, rows, rows_quarantined from malacate.loads"
        markers = {row[0]: row[1:] for row in connection.execute(query).fetchall()}
    for row in ingest.ledger.batches():
        _conserved(row, markers, this)
    for landing in ingest.lake.landings():
        if landing.rows_read != landing.rows + landing.rows_quarantined:
            this.problems.append(f"manifest of {landing.object}: counts differ")


def _conserved(row: dict[str, Any], markers: dict[str, Any], this: Verdict) -> None:
    name = f"{row['table_name']}/{row['object']} {row['version']}"
    marker = markers.get(row["batch_id"])
    if row["state"] in ("seen", "processing"):
        this.problems.append(f"{name} is still {row['state']}")
    if (row["state"] == "loaded") != (marker is not None):
        this.problems.append(f"{name}: ledger {row['state']}, marker {marker is not None}")
    if row["state"] != "loaded" or marker is None:
        return
    if row["rows_read"] != (row["rows_loaded"] or 0) + (row["rows_quarantined"] or 0):
        this.problems.append(f"{name}: ledger counts do not add up")
    if marker != (row["rows_loaded"], row["rows_quarantined"]):
        this.problems.append(f"{name}: ledger and marker count differently")


def _errors(root: Path, this: Verdict) -> None:
    for kind, table, text in notes(root, "errors"):
        this.fenced += kind == "Fenced"
        if kind not in HARMLESS:
            this.problems.append(f"raised {kind} for {table}: {text}")


def leftovers(root: Path) -> dict[str, int]:
    """Files that no further run takes away."""
    lake = root / "lake"
    named: set[str] = set()
    for manifest in lake.glob("final/**/manifest.json"):
        landing = json.loads(manifest.read_text())
        extras = [p for p in (landing["quarantine"], landing["keys"]) if p]
        named |= {part["path"] for part in [*landing["parts"], *extras]}
    parts = [*lake.glob("final/**/*"), *lake.glob("quarantine/**/*.parquet")]
    files = {str(p.relative_to(lake)) for p in parts if p.is_file()}
    orphans = [f for f in files - named if not f.endswith("/manifest.json")]
    count = {zone: sum(1 for _ in (lake / zone).iterdir()) for zone in ("tmp", "input")}
    return {**count, "parts without manifest": len(orphans)}
