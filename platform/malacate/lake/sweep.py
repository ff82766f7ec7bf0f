"""What nobody needs any more: leavings of workers that died, and snapshots long replaced.

Nothing younger than the retention goes, so a worker that is slow or asleep loses nothing.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from malacate.lake.lake import Lake, manifest_path
from malacate.lake.landing import Landing


@dataclass(frozen=True)
class Swept:
    """What was removed; ``unknown`` are old copies of drops that no marker speaks for."""

    files: int
    bytes: int
    unknown: tuple[str, ...] = ()


Proven = Callable[[Sequence[str]], Collection[str]]
"""Of these batches, those whose marker was read back from the warehouse."""


def _nothing(batch_ids: Sequence[str]) -> Collection[str]:
    return ()


def sweep(lake: Lake, retention_seconds: float = 7 * 86_400.0, proven: Proven = _nothing) -> Swept:
    """Remove unfinished files, parts that no manifest names, replaced snapshots, and copies of
    drops whose batch is ``proven`` to be loaded; other old copies stay and are told.

    Of a table's snapshots that are past the retention the newest stays, however old: a younger
    one may have landed without being published yet. All other landings stay.
    """
    before = time.time() - retention_seconds
    landings = list(lake.landings())
    old = [one for one in landings if _manifest(lake, one).stat().st_mtime < before]
    manifests = {_manifest(lake, one) for one in _replaced(old)}
    removed = [*_old(lake.root / "tmp", before), *manifests]
    kept = {
        lake.root / part.path
        for landing in landings
        if _manifest(lake, landing) not in manifests
        for part in landing.all_parts
    }
    for zone in ("final", "quarantine"):
        parts = _old(lake.root / zone, before)
        removed += [path for path in parts if path.suffix == ".parquet" and path not in kept]
    copies = {path.name: path for path in _old(lake.root / "input", before)}
    loaded = set(proven(sorted(copies)))
    removed += [path for name, path in copies.items() if name in loaded]
    unknown = tuple(sorted(copies.keys() - loaded))
    return Swept(len(removed), sum(_unlink(path) for path in removed), unknown)


def _manifest(lake: Lake, landing: Landing) -> Path:
    return lake.root / manifest_path(landing.schema, landing.table, landing.batch_id)


def _replaced(landings: list[Landing]) -> Iterator[Landing]:
    newest: dict[tuple[str, str], int] = {}
    snapshots = [one for one in landings if one.kind == "snapshot"]
    for one in snapshots:
        table = (one.schema, one.table)
        newest[table] = max(one.ordinal, newest.get(table, one.ordinal))
    for one in snapshots:
        if one.ordinal < newest[(one.schema, one.table)]:
            yield one


def _old(folder: Path, before: float) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_mtime < before:
            yield path


def _unlink(path: Path) -> int:
    size = path.stat().st_size
    path.unlink(missing_ok=True)
    return size
