"""Drops: files that somebody else puts into a folder, each version read once."""

import time
from dataclasses import dataclass
from functools import partial

from malacate.batch import Found, Reading
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats import FileFormat
from malacate.formats import read as read_format
from malacate.lake.folder import Folder, require
from malacate.lake.lake import Lake, Staged
from malacate.sources.protocol import Known


@dataclass(frozen=True)
class FileDrops:
    """Files of ``folder`` as rows of ``table``."""

    table: Table
    folder: Folder
    form: FileFormat
    settle_seconds: float = 0.0
    supersedes: bool = True

    def discover(self, known: Known) -> list[Found]:
        """Every file that has been still for ``settle_seconds``; the ledger knows which is new."""
        return found_in(self.folder, self.table, self.settle_seconds)

    def read(self, found: Found, lake: Lake) -> Reading:
        """Copy the file into ``input``, then decode the copy."""
        staged = stage(self.folder, found, lake)
        reading = read_format(staged.path, self.table, self.form)
        reading.sha256 = staged.sha256
        return reading


def found_in(folder: Folder, table: Table, settle_seconds: float = 0.0) -> list[Found]:
    """Versions of the files in ``folder`` now, as batches of ``table``."""
    entries = list(folder.list())
    if settle_seconds:
        latest = (time.time() - settle_seconds) * 1e9
        entries = [entry for entry in entries if entry.mtime_ns <= latest]
    name = table.name.table
    return [
        Found(table.source, name, "object", e.name, e.version, e.mtime_ns, e.size) for e in entries
    ]


def stage(folder: Folder, found: Found, lake: Lake) -> Staged:
    """The complete copy of one version of a drop; once it stands, the drop is not needed."""
    staged = lake.staged(found.batch_id)
    if staged is None:
        with folder.open(found.object, found.version) as drop:
            same = partial(require, drop, found.object, found.version)
            staged = lake.stage(found.batch_id, drop, same)
    if staged.size == found.size:
        return staged
    raise UnreadableFile(
        "the copy of a file is not as long as the file",
        "Look at the drop folder's disk, then release the file.",
        source=f"{found.source}/{found.table}",
        object=found.object,
        expected=f"{found.size} bytes",
        actual=f"{staged.size}",
        reason="short_copy",
    )
