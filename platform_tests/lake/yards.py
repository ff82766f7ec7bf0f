"""Lakes in each kind of place, with somebody else's look into it."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from platform_tests.stores.yards import BUCKET, opened, supplier

from malacate.lake.bucket import BucketPlace
from malacate.lake.lake import Lake, folder
from malacate.lake.landing import Landing

KINDS = ("folder", "s3", "gcs", "azure")
SCHEMA = pa.schema([("id", pa.int64()), ("name", pa.string())])
BATCH = "b" * 64


@dataclass(frozen=True)
class Yard:
    """An empty lake; ``elsewhere`` opens it on another machine, which has another ``tmp``."""

    kind: str
    elsewhere: Callable[[], Lake]
    lake: Lake
    put: Callable[[str, bytes], object]
    listed: Callable[[], list[str]]

    @property
    def files(self) -> list[str]:
        """All that stands, and what is in ``tmp`` without being a copy of it."""
        stands = self.listed()
        return sorted([*stands, *(f"tmp/{x}" for x in self.drafts if f"input/{x}" not in stands)])

    @property
    def drafts(self) -> list[str]:
        """What is in ``tmp`` on this machine."""
        return sorted(path.name for path in self.lake.tmp.iterdir())

    def bytes_at(self, path: str) -> bytes:
        with self.elsewhere()._place.open(path) as found:
            return found.read()


def lake_yard(kind: str, server: str, root: Path) -> Yard:
    """An empty lake of its own, below ``root`` or at ``server``."""
    if kind == "folder":
        return _folder(root)
    prefix = uuid.uuid4().hex
    put, _ = supplier(kind, server)
    store = opened(kind, f"{BUCKET}/{prefix}", server)

    def elsewhere() -> Lake:
        return Lake(BucketPlace(store, root / uuid.uuid4().hex))

    return Yard(
        kind,
        elsewhere,
        elsewhere(),
        lambda path, data: put(f"{prefix}/{path}", data),
        lambda: [entry.name for entry in store.list()],
    )


def _folder(root: Path) -> Yard:
    def listed() -> list[str]:
        paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
        return [str(path) for path in paths if path.parts[0] != "tmp"]

    return Yard("folder", lambda: Lake(root), Lake(root), lambda p, d: _write(root / p, d), listed)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def seconds_since_now() -> Callable[[], float]:
    """How long ago this call was: what stood before it is older, what comes after is younger."""
    time.sleep(0.05)
    moment = time.time()
    time.sleep(0.05)
    return lambda: time.time() - moment


def rows(*ids: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"id": list(ids), "name": [f"n{i}" for i in ids]}, SCHEMA)


def landing(lake: Lake, *ids: int, batch_id: str = BATCH) -> Landing:
    """Rows written, and not committed."""
    with lake.writing(folder("raw_lab", "rock", batch_id), "rows", SCHEMA) as part:
        part.write(rows(*ids))
    return Landing(
        batch_id=batch_id,
        schema="raw_lab",
        table="rock",
        source="lab",
        kind="object",
        object="a\n🪨.csv",
        version="1",
        ordinal=1,
        size=3,
        lo=None,
        hi=None,
        mode="append",
        rows_read=len(ids),
        rows=len(ids),
        rows_quarantined=0,
        parts=(part.part,),
        evolutions=({"kind": "absent", "column": "c", "detail": "d"},),
    )
