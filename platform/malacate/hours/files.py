"""Hours as Parquet files for machine learning: one for each hour, in the lake, with a manifest.

The same rows are the same bytes (by one release of the writer), so a file that did not change is
not written, and who trains on it can name it by its checksum.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq

from malacate.lake.lake import Lake

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Hour:
    """An hour as it stands in the warehouse: its highest revision, and ``seen``, a text that is
    another whenever one of its rows is.
    """

    at: datetime
    revision: int
    seen: str

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.at:%Y-%m-%dT%H}.parquet"


@dataclass(frozen=True)
class Told:
    """What the manifest says of a file."""

    revision: int
    seen: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True)
class Written:
    """What a run did: files written, files left as they were, files of hours that are gone."""

    written: tuple[str, ...]
    unchanged: int
    removed: tuple[str, ...]


def content(rows: pa.Table, key: tuple[str, ...]) -> bytes:
    """Rows as Parquet: sorted by ``key``, one row group, nothing in it but the rows."""
    ordered = rows.sort_by([(name, "ascending") for name in key]).combine_chunks()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        ordered.schema.remove_metadata(),
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=False,
        write_statistics=True,
    ) as writer:
        writer.write_table(ordered, row_group_size=max(1, ordered.num_rows))
    return bytes(sink.getvalue())


@dataclass(frozen=True)
class HourFiles:
    """The files of hours in ``folder`` of a lake."""

    lake: Lake
    folder: str

    @property
    def manifest(self) -> dict[str, Told]:
        """What stands, by file."""
        data = self.lake.content(f"{self.folder}/{MANIFEST}")
        return {name: Told(**one) for name, one in json.loads(data or b"{}").items()}

    def bring_up(self, hours: list[Hour], read: Callable[[Hour], bytes]) -> Written:
        """Make the files those of ``hours``, which are all there are; ``read`` makes the bytes.

        The manifest is written last. Killed before, the next call does the same again.
        """
        told = self.manifest
        standing = {one.path: one.size for one in self.lake.files(self.folder)}
        files: dict[str, Told] = {}
        written: list[str] = []
        for hour in hours:
            path, before = f"{self.folder}/{hour.file}", told.get(hour.file)
            stands = before is not None and standing.get(path) == before.size
            if before is not None and stands and before.seen == hour.seen:
                files[hour.file] = before
                continue
            data = read(hour)
            files[hour.file] = _told(hour, data)
            if before is None or not stands or before.sha256 != files[hour.file].sha256:
                self.lake.replace(path, data)
                written.append(hour.file)
        wanted = {f"{self.folder}/{name}" for name in (*files, MANIFEST)}
        removed = sorted(standing.keys() - wanted)
        for path in removed:
            self.lake.remove(path)
        if files != told:
            self.lake.replace(f"{self.folder}/{MANIFEST}", _as_json(files))
        return Written(tuple(written), len(files) - len(written), tuple(removed))


def _told(hour: Hour, data: bytes) -> Told:
    rows = pq.read_metadata(pa.BufferReader(data)).num_rows
    return Told(hour.revision, hour.seen, rows, len(data), hashlib.sha256(data).hexdigest())


def _as_json(files: Mapping[str, Told]) -> bytes:
    return json.dumps({name: asdict(one) for name, one in sorted(files.items())}, indent=1).encode()
