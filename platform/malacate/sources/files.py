"""Drops: files that somebody else puts into a folder or a bucket, each version read once."""

from dataclasses import dataclass

from malacate.batch import Found, Reading
from malacate.contracts.table import Table
from malacate.errors import UnreadableFile
from malacate.formats import FileFormat
from malacate.formats import read as read_format
from malacate.lake.lake import Lake, Staged
from malacate.sources.completeness import Promise
from malacate.sources.discovery import Discovery, Tick
from malacate.sources.protocol import Known
from malacate.sources.selection import Selection
from malacate.stores.protocol import Store


@dataclass(frozen=True)
class FileDrops:
    """Files that ``discovery`` finds as rows of ``table``."""

    table: Table
    discovery: Discovery
    form: FileFormat
    supersedes: bool = True

    def look(self, cursor: str | None, now: float) -> Tick:
        """See ``Looks``."""
        return self.discovery.tick(cursor, now)

    def discover(self, known: Known) -> list[Found]:
        """Every drop that stands; the ledger knows which is new."""
        return self.discovery.everything()

    def read(self, found: Found, lake: Lake) -> Reading:
        """Copy the file into ``input``, then decode the copy."""
        staged = stage(self.discovery.selection.store, found, lake)
        reading = read_format(staged.path, self.table, self.form)
        reading.sha256 = staged.sha256
        return reading

    def release(self, found: Found) -> bool:
        """See ``Releases``."""
        return self.discovery.selection.store.remove(found.object, found.version)


def all_files(
    table: Table, store: Store, patterns: tuple[str, ...] = ("*",), settle_seconds: float = 0.0
) -> Discovery:
    """The files of a store, listed one and all at each look."""
    name = table.name.table
    return Discovery(Selection(store, patterns, settle_seconds), table.source, name)


def stage(store: Store, found: Found, lake: Lake) -> Staged:
    """The complete copy of one version of a drop; once it stands, the drop is not needed.

    Raises ``UnreadableFile`` unless it is what its store, and a manifest if there is one, promise.
    """
    staged = lake.staged(found.batch_id)
    if staged is None:
        with store.open(found.object, found.version) as drop:
            staged = lake.stage(found.batch_id, drop, drop.verify)
    if staged.size != found.size:
        raise UnreadableFile(
            "the copy of a file is not as long as the file",
            "Look at the place of the drops, then release the file.",
            source=f"{found.source}/{found.table}",
            object=found.object,
            expected=f"{found.size} bytes",
            actual=f"{staged.size}",
            reason="short_copy",
        )
    if found.promise:
        Promise.from_json(found.promise).hold(sha256=staged.sha256)
    return staged
