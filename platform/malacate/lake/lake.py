"""The lake's zones. Everything in it is named by an id, never by what somebody else called it.

``tmp`` holds what is being written, ``input`` complete copies of drops, ``final`` landings,
``quarantine`` rows and files that did not make it. A batch that is being processed is so in the
ledger; its bytes do not move for it. ``tmp`` is on this machine, the others are where the lake is.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from malacate import crash
from malacate.errors import LakeError
from malacate.lake.folder import FolderPlace
from malacate.lake.landing import Landing
from malacate.lake.parts import PartWriter
from malacate.lake.place import Bytes, Place, Stored

COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class Staged:
    """A complete copy of a drop in ``input``: a file to read it, its size and its checksum."""

    path: Path
    size: int
    sha256: str


class Lake:
    """A lake in a folder, or in another ``Place``."""

    def __init__(self, place: Path | Place) -> None:
        self._place: Place = FolderPlace(place) if isinstance(place, Path) else place

    @property
    def root(self) -> Path:
        """The folder of a lake that is in one; others have none."""
        if isinstance(self._place, FolderPlace):
            return self._place.root
        raise LakeError(
            "a lake in a bucket has no folder",
            "Use an engine that reads from the bucket, or give the target a lake in a folder.",
            object=self.uri(),
            reason="no_folder",
        )

    @property
    def tmp(self) -> Path:
        """See ``Place``."""
        return self._place.tmp

    def uri(self, path: str = "") -> str:
        """Where an engine reads ``path`` from."""
        return self._place.uri(path)

    def probe(self) -> str:
        """Write, read and remove something; return where the lake is."""
        path = f"quarantine/probe-{secrets.token_hex(6)}.parquet"
        self._place.create(path, b"probe")
        self._place.content(path)
        self._place.remove(path)
        return self.uri()

    def stage(self, batch_id: str, drop: Bytes, verify: Callable[[], None]) -> Staged:
        """Copy a drop into ``input``; it appears there whole and verified, or not at all."""
        working = self._working(batch_id)
        try:
            size, sha256 = _copy(drop, working)
            verify()
            crash.point("input_before_rename")
            file = self._place.put(working, f"input/{batch_id}")
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        crash.point("input_after_rename")
        return Staged(file, size, sha256)

    def staged(self, batch_id: str) -> Staged | None:
        """The copy that an earlier attempt made: what stands in ``input`` is complete."""
        try:
            file = self._place.local(f"input/{batch_id}")
            with file.open("rb") as copy:
                sha256 = hashlib.file_digest(copy, "sha256").hexdigest()
                return Staged(file, os.fstat(copy.fileno()).st_size, sha256)
        except FileNotFoundError:
            return None

    def quarantine_file(self, batch_id: str) -> str:
        """Keep the staged copy of a drop; return its path in the lake."""
        self._place.move(f"input/{batch_id}", f"quarantine/{batch_id}")
        return f"quarantine/{batch_id}"

    def recall(self, batch_id: str, size: int | None) -> None:
        """Take kept bytes back into ``input`` for another try; not if they are not ``size``."""
        kept = self._place.head(f"quarantine/{batch_id}")
        if kept and size in (None, kept.size) and not self._place.head(f"input/{batch_id}"):
            self._place.move(kept.path, f"input/{batch_id}")

    def lend(self, batch_id: str, other: str) -> bool:
        """Stage the kept bytes of ``batch_id`` for ``other`` as well; whether there are any."""
        place, target = self.place(batch_id), f"input/{other}"
        if self._place.head(target):
            return True
        if place:
            working = self._working(other)
            with self._place.open(place) as kept, working.open("wb") as copy:
                shutil.copyfileobj(kept, copy, COPY_BYTES)
            self._place.put(working, target)
            self._place.forget(target)
        return bool(place)

    def place(self, batch_id: str) -> str:
        """Where the bytes of a drop are in the lake; empty if it has no copy of them."""
        places = (f"{zone}/{batch_id}" for zone in ("input", "quarantine"))
        return next((place for place in places if self._place.head(place)), "")

    def discard_input(self, batch_id: str) -> None:
        """Remove the copies of a drop; only after its marker was read back."""
        for zone in ("input", "quarantine"):
            self._place.remove(f"{zone}/{batch_id}")

    @contextmanager
    def writing(self, folder: str, name: str, schema: pa.Schema) -> Iterator[PartWriter]:
        """Write a Parquet file that nobody sees until a manifest names it."""
        path = f"{folder}/{name}-{secrets.token_hex(6)}.parquet"
        writer = PartWriter(self._place, path, schema)
        try:
            yield writer
            writer.close()
        except BaseException:
            writer.abandon()
            raise

    def commit(self, landing: Landing) -> Landing:
        """Make a landing exist: the first manifest of a batch stays, whoever wrote it.

        Returns the landing that stands. A loser's files are removed.
        """
        path = manifest_path(landing.schema, landing.table, landing.batch_id)
        crash.point("landing_before_manifest")
        try:
            self._place.create(path, landing.to_json())
        except FileExistsError:
            standing = self.landed(landing.schema, landing.table, landing.batch_id)
            if standing is None:
                raise _lost(path) from None
            self._remove_parts(landing, keep=standing)
            return standing
        crash.point("landed")
        return landing

    def withdraw(self, landing: Landing) -> None:
        """Take back a landing that will never be published: its manifest first."""
        self.remove(manifest_path(landing.schema, landing.table, landing.batch_id))
        for part in landing.all_parts:
            self.remove(part.path)

    def landed(self, schema: str, table: str, batch_id: str) -> Landing | None:
        """The landing of a batch, if it is complete."""
        try:
            return self._manifest(manifest_path(schema, table, batch_id))
        except FileNotFoundError:
            return None

    def landings(self, schema: str = "", table: str = "") -> Iterator[Landing]:
        """Every complete landing of a table, or of the lake."""
        for item in self.files("/".join(part for part in ("final", schema, table) if part)):
            if item.path.endswith("/manifest.json"):
                yield self._manifest(item.path)

    def read(self, landing: Landing) -> pa.Table:
        """The rows of a landing."""
        parts = (pa.BufferReader(self._place.content(part.path)) for part in landing.parts)
        return pa.concat_tables(pq.read_table(part) for part in parts)

    def bring(self, landing: Landing, other: "Lake") -> None:
        """Copy the parts of a landing of another lake; its manifest is not."""
        for part in landing.all_parts:
            draft = self._place.draft(part.path)
            with other._place.open(part.path) as there, draft.open("wb") as here:
                shutil.copyfileobj(there, here, COPY_BYTES)
            self._place.put(draft, part.path)
            self._place.forget(part.path)

    def files(self, folder: str) -> Iterator[Stored]:
        """All that stands below ``folder``, a zone or a path in one; nothing of ``tmp``."""
        return self._place.list(folder)

    def replace(self, path: str, data: bytes) -> None:
        """Make ``data`` stand at ``path``, whole, in place of what stands there; see ``Place``."""
        self._place.replace(path, data)

    def content(self, path: str) -> bytes | None:
        """What stands at ``path``, if anything does."""
        try:
            return self._place.content(path)
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        """Remove what stands at ``path``, if anything does."""
        self._place.remove(path)

    def _working(self, batch_id: str) -> Path:
        return self._place.tmp / f"{batch_id}.{secrets.token_hex(4)}"

    def _manifest(self, path: str) -> Landing:
        return Landing.from_json(self._place.content(path))

    def _remove_parts(self, landing: Landing, keep: Landing) -> None:
        kept = {part.path for part in keep.all_parts}
        for part in landing.all_parts:
            if part.path not in kept:
                self.remove(part.path)


def manifest_path(schema: str, table: str, batch_id: str) -> str:
    """Where the manifest of a batch stands."""
    return f"{folder(schema, table, batch_id)}/manifest.json"


def folder(schema: str, table: str, batch_id: str) -> str:
    """Where a batch lands."""
    return f"final/{schema}/{table}/{batch_id}"


def _copy(drop: Bytes, working: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with working.open("wb") as copy:
        while block := drop.read(COPY_BYTES):
            digest.update(block)
            size += len(block)
            copy.write(block[: len(block) // 2])
            crash.point("input_torn")
            copy.write(block[len(block) // 2 :])
    return size, digest.hexdigest()


def _lost(path: str) -> LakeError:
    return LakeError(
        "a manifest vanished while it was read",
        "Something else deletes in the lake: find it.",
        object=path,
        reason="lake_lost",
    )
