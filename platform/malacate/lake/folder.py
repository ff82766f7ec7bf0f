"""A lake in a folder of this machine: parts are written in place, copies renamed into it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from malacate.errors import LakeError, refused
from malacate.lake.place import Bytes, Stored


class FolderPlace:
    """See ``Place``; below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        for zone in ("tmp", "input", "final", "quarantine"):
            (self.root / zone).mkdir(parents=True, exist_ok=True)
        self._store = LocalStore(self.root)

    @property
    def tmp(self) -> Path:
        """See ``Place``."""
        return self.root / "tmp"

    def uri(self, path: str = "") -> str:
        """See ``Place``."""
        return str(self.root / path)

    def draft(self, path: str) -> Path:
        """See ``Place``; nobody looks at a part before a manifest names it, so it is in place."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def put(self, draft: Path, path: str) -> Path:
        """See ``Place``; by a rename."""
        target = self.root / path
        _sync(draft)
        if draft != target:
            draft.replace(target)
            _sync(target.parent)
        return target

    def create(self, path: str, data: bytes) -> None:
        """See ``Place``."""
        try:
            obstore.put(self._store, path, data, mode="create")
        except AlreadyExistsError as error:
            raise FileExistsError(path) from error
        except BaseError as error:
            raise refused(error, path) from error
        _sync(self.root / path)
        _sync((self.root / path).parent)

    def replace(self, path: str, data: bytes) -> None:
        """See ``Place``; killed, it leaves ``<path>.<hex>`` beside it at most."""
        fresh = f"{path}.{secrets.token_hex(4)}"
        self.create(fresh, data)
        self.move(fresh, path)
        _sync((self.root / path).parent)

    def content(self, path: str) -> bytes:
        """See ``Place``."""
        with self.open(path) as file:
            return file.read()

    @contextmanager
    def open(self, path: str) -> Iterator[Bytes]:
        """See ``Place``."""
        try:
            file = (self.root / path).open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        with file:
            yield file

    def local(self, path: str) -> Path:
        """See ``Place``; the very file."""
        file = self.root / path
        file.stat()
        return file

    def forget(self, path: str) -> None:
        """See ``Place``; there is no other copy."""

    def head(self, path: str) -> Stored | None:
        """See ``Place``."""
        try:
            facts = (self.root / path).stat()
        except FileNotFoundError:
            return None
        return Stored(path, facts.st_size, facts.st_mtime_ns) if S_ISREG(facts.st_mode) else None

    def move(self, path: str, to: str) -> None:
        """See ``Place``."""
        if (self.root / path).exists():
            (self.root / path).replace(self.root / to)

    def remove(self, path: str) -> None:
        """See ``Place``."""
        (self.root / path).unlink(missing_ok=True)

    def list(self, folder: str) -> Iterator[Stored]:
        """See ``Place``."""
        try:
            for found in obstore.list(self._store, prefix=f"{folder}/"):
                for item in found:
                    modified = round(item["last_modified"].timestamp() * 10**6) * 1000
                    yield Stored(item["path"], item["size"], modified)
        except BaseError as error:
            raise _unreadable(folder, error) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unreadable(path: str, error: Exception) -> LakeError:
    return LakeError(
        "the lake could not be read",
        "Check the folder's disk and permissions, then retry.",
        object=path,
        actual=str(error),
        reason="lake_unreadable",
    )
