"""Drops in a folder, staged for real, and a worker over them that can be killed."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from malacate.batch import Chunk, Found, Reading, Reject, WriteMode
from malacate.contracts.table import Column, Table
from malacate.errors import SourceUnreachable, Superseded, UnreadableFile
from malacate.ingest import Ingest, Route
from malacate.lake.lake import Lake
from malacate.ledger.ledger import Ledger
from malacate.names import TableName
from malacate.sources.protocol import Known
from malacate.warehouse.duckdb import DuckDBWarehouse

TABLE = Table(
    TableName("raw_lab", "rock"),
    (Column("id", pa.int64(), True), Column("rqd", pa.float64(), minimum=0, maximum=100)),
    ("id",),
)
LOOSE = pa.schema([("id", pa.int64()), ("rqd", pa.float64())])


@dataclass
class Drops:
    """Files ``<name>@<version>`` of ``folder``: lines ``id rqd``, or ``!`` for a bad file."""

    folder: Path
    supersedes: bool = True
    reads: list[str] = field(default_factory=list)
    is_closed: bool = False

    def put(self, name: str, text: str, version: int = 1) -> None:
        for older in self.folder.glob(f"{name}@*"):
            older.unlink()
        (self.folder / f"{name}@{version}").write_text(text)

    def discover(self, known: Known) -> list[Found]:
        found = []
        for path in sorted(self.folder.iterdir()):
            name, _, version = path.name.partition("@")
            size, number = path.stat().st_size, int(version)
            found.append(Found("lab", "rock", "object", name, version, number, size))
        return found

    def read(self, found: Found, lake: Lake) -> Reading:
        self.reads.append(found.object)
        staged = lake.staged(found.batch_id)
        if staged is None:
            if not list(self.folder.glob(f"{found.object}@*")):
                raise FileNotFoundError(found.object)
            path = self.folder / f"{found.object}@{found.version}"
            if not path.exists():
                raise Superseded("written again", "Nothing to do.", reason="superseded")
            with path.open("rb") as drop:
                staged = lake.stage(found.batch_id, drop, lambda: None)
        text = staged.path.read_text()
        if text.startswith("!"):
            raise UnreadableFile("it is torn", "Ask for it again.", reason="torn")
        return Reading(self._chunks(text), sha256=staged.sha256)

    def _chunks(self, text: str) -> Iterator[Chunk]:
        rows: list[dict[str, Any]] = []
        rejects, places = [], []
        for place, line in enumerate(text.splitlines()):
            try:
                number, rqd = line.split()
                rows.append({"id": int(number), "rqd": float(rqd)})
                places.append(place)
            except ValueError:
                rejects.append(Reject(place, "torn", "no two numbers", line.encode()))
        yield Chunk(pa.RecordBatch.from_pylist(rows, LOOSE), rejects, places)

    def release(self, found: Found) -> bool:
        if self.is_closed:
            raise SourceUnreachable("no right to remove", "Grant it.", reason="forbidden")
        path = self.folder / f"{found.object}@{found.version}"
        if not path.exists():
            return False
        path.unlink()
        return True


@dataclass
class Mine:
    """A folder of drops, and a platform over it."""

    root: Path

    def __post_init__(self) -> None:
        (self.root / "drops").mkdir(parents=True, exist_ok=True)
        self.drops = Drops(self.root / "drops")

    @property
    def ingest(self) -> Ingest:
        lake = Lake(self.root / "lake")
        warehouse = DuckDBWarehouse(self.root / "warehouse.duckdb", lake.root)
        return Ingest(Ledger(f"sqlite:///{self.root}/ledger.sqlite"), lake, warehouse)

    def route(self, table: Table = TABLE, **policies: Any) -> Route:
        return Route(table, self.drops, WriteMode.APPEND, **policies)

    def run(self, **policies: Any) -> Any:
        return self.ingest.run(self.route(**policies))

    def ids(self) -> list[int]:
        return sorted(self.ingest.warehouse.read(TABLE.name).column("id").to_pylist())

    def states(self) -> dict[str, str]:
        rows = self.ingest.ledger.batches()
        return {f"{r['object']}@{r['version'].partition('#')[0]}": r["state"] for r in rows}

    def zone(self, name: str) -> list[str]:
        return sorted(p.read_text() for p in (self.root / "lake" / name).iterdir() if p.is_file())


if __name__ == "__main__":
    Mine(Path(sys.argv[1])).run(**dict(pair.split("=") for pair in sys.argv[2:]))
