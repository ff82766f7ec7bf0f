"""The lake's zones. Everything in it is named by an id, never by what somebody else called it.

``tmp`` holds what is being written, ``input`` complete copies of drops, ``final`` landings,
``quarantine`` rows and files that did not make it. A batch that is being processed is so in the
ledger; its bytes do not move for it.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from malacate import crash
from malacate.errors import LakeError, refused
from malacate.lake.landing import Landing, Part

COPY_BYTES = 1 << 20
ROW_GROUP_ROWS = 1 << 17


class Bytes(Protocol):
    """What a drop is copied from."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""


@dataclass(frozen=True)
class Staged:
    """A complete copy of a drop in ``input``: where, how large, and its checksum."""

    path: Path
    size: int
    sha256: str


class Lake:
    """A lake in the folder ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        for zone in ("tmp", "input", "final", "quarantine"):
            (self.root / zone).mkdir(parents=True, exist_ok=True)
        self._store = LocalStore(self.root)

    def uri(self, path: str) -> str:
        """Where an engine reads ``path`` from."""
        return str(self.root / path)

    def stage(self, batch_id: str, drop: Bytes, verify: Callable[[], None]) -> Staged:
        """Copy a drop into ``input``; it appears there whole and verified, or not at all."""
        target = self.root / "input" / batch_id
        working = self.root / "tmp" / f"{batch_id}.{secrets.token_hex(4)}"
        try:
            size, sha256 = _copy(drop, working)
            verify()
        except BaseException:
            working.unlink(missing_ok=True)
            raise
        crash.point("input_before_rename")
        working.replace(target)
        _sync(target.parent)
        crash.point("input_after_rename")
        return Staged(target, size, sha256)

    def staged(self, batch_id: str) -> Staged | None:
        """The copy that an earlier attempt made: what stands in ``input`` is complete."""
        target = self.root / "input" / batch_id
        try:
            with target.open("rb") as copy:
                sha256 = hashlib.file_digest(copy, "sha256").hexdigest()
                return Staged(target, os.fstat(copy.fileno()).st_size, sha256)
        except FileNotFoundError:
            return None

    def quarantine_file(self, batch_id: str) -> str:
        """Keep the staged copy of a drop; return its path in the lake."""
        staged = self.root / "input" / batch_id
        if staged.exists():
            staged.replace(self.root / "quarantine" / batch_id)
        return f"quarantine/{batch_id}"

    def recall(self, batch_id: str, size: int | None) -> None:
        """Take kept bytes back into ``input`` for another try; not if they are not ``size``."""
        kept, staged = self.root / "quarantine" / batch_id, self.root / "input" / batch_id
        if not staged.exists() and kept.exists() and size in (None, kept.stat().st_size):
            kept.replace(staged)

    def lend(self, batch_id: str, other: str) -> bool:
        """Stage the kept bytes of ``batch_id`` for ``other`` as well; whether there are any."""
        place, target = self.place(batch_id), self.root / "input" / other
        if place and not target.exists():
            working = self.root / "tmp" / f"{other}.{secrets.token_hex(4)}"
            shutil.copyfile(self.root / place, working)
            _sync(working)
            working.replace(target)
        return target.exists()

    def place(self, batch_id: str) -> str:
        """Where the bytes of a drop are in the lake; empty if it has no copy of them."""
        places = (f"{zone}/{batch_id}" for zone in ("input", "quarantine"))
        return next((place for place in places if (self.root / place).is_file()), "")

    def discard_input(self, batch_id: str) -> None:
        """Remove the copies of a drop; only after its marker was read back."""
        for zone in ("input", "quarantine"):
            (self.root / zone / batch_id).unlink(missing_ok=True)

    @contextmanager
    def writing(self, folder: str, name: str, schema: pa.Schema) -> Iterator["PartWriter"]:
        """Write a Parquet file that nobody sees until a manifest names it."""
        path = f"{folder}/{name}-{secrets.token_hex(6)}.parquet"
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        writer = PartWriter(path, file, schema)
        try:
            yield writer
        except BaseException:
            writer.abandon()
            raise
        writer.close()

    def commit(self, landing: Landing) -> Landing:
        """Make a landing exist: the first manifest of a batch stays, whoever wrote it.

        Returns the landing that stands. A loser's files are removed.
        """
        path = manifest_path(landing.schema, landing.table, landing.batch_id)
        crash.point("landing_before_manifest")
        try:
            obstore.put(self._store, path, landing.to_json(), mode="create")
        except AlreadyExistsError:
            standing = self.landed(landing.schema, landing.table, landing.batch_id)
            if standing is None:
                raise _lost(path) from None
            self._remove_parts(landing, keep=standing)
            return standing
        except BaseError as error:
            raise refused(error, path) from error
        _sync(self.root / path)
        _sync((self.root / path).parent)
        crash.point("landed")
        return landing

    def withdraw(self, landing: Landing) -> None:
        """Take back a landing that will never be published: its manifest first."""
        path = manifest_path(landing.schema, landing.table, landing.batch_id)
        (self.root / path).unlink(missing_ok=True)
        for part in landing.all_parts:
            (self.root / part.path).unlink(missing_ok=True)

    def landed(self, schema: str, table: str, batch_id: str) -> Landing | None:
        """The landing of a batch, if it is complete."""
        try:
            found = obstore.get(self._store, manifest_path(schema, table, batch_id))
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise LakeError(
                "the lake could not be read",
                "Check the folder's disk and permissions, then retry.",
                object=batch_id,
                actual=str(error),
                reason="lake_unreadable",
            ) from error
        return Landing.from_json(bytes(found.bytes()))

    def landings(self, schema: str = "", table: str = "") -> Iterator[Landing]:
        """Every complete landing of a table, or of the lake."""
        prefix = "/".join(part for part in ("final", schema, table) if part) + "/"
        for objects in obstore.list(self._store, prefix=prefix):
            for item in objects:
                if item["path"].endswith("/manifest.json"):
                    text = obstore.get(self._store, item["path"]).bytes()
                    yield Landing.from_json(bytes(text))

    def read(self, landing: Landing) -> pa.Table:
        """The rows of a landing."""
        return pa.concat_tables(pq.read_table(self.root / part.path) for part in landing.parts)

    def _remove_parts(self, landing: Landing, keep: Landing) -> None:
        kept = {part.path for part in keep.all_parts}
        for part in landing.all_parts:
            if part.path not in kept:
                (self.root / part.path).unlink(missing_ok=True)


class PartWriter:
    """Record batches into one Parquet file of the lake."""

    def __init__(self, path: str, file: Path, schema: pa.Schema) -> None:
        self.path = path
        self._file = file
        self._schema = schema
        # zstd finds what repeats; dictionaries made files neither smaller nor faster to write.
        self._writer = pq.ParquetWriter(
            file, schema, compression="zstd", compression_level=1, use_dictionary=False
        )
        self._waiting: list[pa.RecordBatch] = []
        self._rows_waiting = 0
        self.rows = 0

    def write(self, rows: pa.RecordBatch) -> None:
        """Add rows; they are encoded in groups of ``ROW_GROUP_ROWS``."""
        self._waiting.append(rows)
        self._rows_waiting += rows.num_rows
        self.rows += rows.num_rows
        if self._rows_waiting >= ROW_GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._rows_waiting:
            group = pa.Table.from_batches(self._waiting, self._schema)
            self._writer.write_table(group, row_group_size=group.num_rows)
            crash.point("part_torn")
        self._waiting, self._rows_waiting = [], 0

    def close(self) -> None:
        """Finish the file; it is durable afterwards."""
        self._flush()
        self._writer.close()
        _sync(self._file)

    def abandon(self) -> None:
        """Leave nothing behind."""
        self._writer.close()
        self._file.unlink(missing_ok=True)

    @property
    def part(self) -> Part:
        """What was written, after ``close``."""
        return Part(self.path, self.rows, self._file.stat().st_size)


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
        copy.flush()
        os.fsync(copy.fileno())
    return size, digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lost(path: str) -> LakeError:
    return LakeError(
        "a manifest vanished while it was read",
        "Something else deletes in the lake: find it.",
        object=path,
        reason="lake_lost",
    )
