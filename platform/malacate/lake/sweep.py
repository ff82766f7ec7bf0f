"""What nobody needs any more: leavings of workers that died, and snapshots long replaced.

Nothing younger than the retention goes, so a worker that is slow or asleep loses nothing.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
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
    before_ns = time.time_ns() - round(retention_seconds * 10**9)
    old = {zone: _old(lake, zone, before_ns) for zone in ("final", "quarantine", "input")}
    landings = {_manifest(one): one for one in lake.landings()}
    replaced = set(_replaced({p: one for p, one in landings.items() if p in old["final"]}))
    kept = {
        part.path
        for path, landing in landings.items()
        if path not in replaced
        for part in landing.all_parts
    }
    removed = sorted(replaced)
    for zone in ("final", "quarantine"):
        removed += [path for path in old[zone] if path.endswith(".parquet") and path not in kept]
    copies = {path.rpartition("/")[2]: path for path in old["input"]}
    loaded = set(proven(sorted(copies)))
    removed += [path for name, path in copies.items() if name in loaded]
    for path in removed:
        lake.remove(path)
    sizes = {path: size for files in old.values() for path, size in files.items()}
    gone = [*(sizes[path] for path in removed), *_unlinked(lake.tmp, before_ns)]
    return Swept(len(gone), sum(gone), tuple(sorted(copies.keys() - loaded)))


def _old(lake: Lake, zone: str, before_ns: int) -> dict[str, int]:
    return {one.path: one.size for one in lake.files(zone) if one.modified_ns < before_ns}


def _manifest(landing: Landing) -> str:
    return manifest_path(landing.schema, landing.table, landing.batch_id)


def _replaced(landings: Mapping[str, Landing]) -> list[str]:
    newest: dict[tuple[str, str], int] = {}
    snapshots = {path: one for path, one in landings.items() if one.kind == "snapshot"}
    for one in snapshots.values():
        table = (one.schema, one.table)
        newest[table] = max(one.ordinal, newest.get(table, one.ordinal))
    return [p for p, one in snapshots.items() if one.ordinal < newest[(one.schema, one.table)]]


def _unlinked(folder: Path, before_ns: int) -> Iterator[int]:
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            facts = path.stat()
            if path.is_file() and facts.st_mtime_ns < before_ns:
                path.unlink()
                yield facts.st_size
