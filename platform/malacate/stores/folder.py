"""A folder that someone else drops files into. Links are never followed, wherever they stand."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from malacate.errors import SourceUnreachable, Superseded, UnreadableFile
from malacate.stores.names import raw, readable
from malacate.stores.protocol import Entry

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class FolderStore:
    """Regular files below ``root``; a version is inode, time of the last write, and size.

    A file that is being written is listed too: wait until it has been still for a while.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.root)

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See ``Store``; in the order of the names' bytes."""
        yield from self._below(b"", raw(prefix), raw(after))

    def _below(self, folder: bytes, prefix: bytes, after: bytes) -> Iterator[Entry]:
        for path, item in self._items(folder):
            is_folder = path.endswith(b"/")
            if not path.startswith(prefix) and not (is_folder and prefix.startswith(path)):
                continue
            if path <= after and not (is_folder and after.startswith(path)):
                continue
            if is_folder:
                yield from self._below(path, prefix, after)
            elif entry := _entry(path, item):
                yield entry

    def _items(self, folder: bytes) -> Iterator[tuple[bytes, "os.DirEntry[bytes]"]]:
        try:
            with os.scandir(os.path.join(os.fsencode(self.root), folder)) as items:  # noqa: PTH118
                found = [
                    (folder + item.name + b"/" * item.is_dir(follow_symlinks=False), item)
                    for item in items
                ]
        except OSError as error:
            raise _unlistable(self.root, error) from error
        yield from sorted(found, key=lambda pair: pair[0])

    def others(self) -> Iterator[str]:
        """Names of what is neither file nor folder and therefore never listed: links, pipes."""
        waiting = [b""]
        while waiting:
            for path, item in self._items(waiting.pop()):
                if path.endswith(b"/"):
                    waiting.append(path)
                elif not item.is_file(follow_symlinks=False):
                    yield readable(path)

    def head(self, name: str) -> Entry:
        """See ``Store``; a link or a folder is no file."""
        with self._folder_of(name) as (folder, file):
            return _described(name, os.stat(file, dir_fd=folder, follow_symlinks=False))

    @contextmanager
    def open(self, name: str, version: str) -> Iterator["_Opened"]:
        """See ``Store``."""
        with self._folder_of(name) as (folder, file):
            _described(name, os.stat(file, dir_fd=folder, follow_symlinks=False))
            handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(handle, "rb", buffering=0) as drop:
            _require(drop, name, version)
            yield _Opened(drop, name, version)
            _require(drop, name, version)

    def create(self, name: str, data: BinaryIO) -> Entry:
        """See ``Store``; it appears whole, by a hard link. What stands there already is durable."""
        self._require_root()
        with self._folder_of(name, make=True) as (folder, file):
            with _written(folder, data) as working:
                os.link(working, file, src_dir_fd=folder, dst_dir_fd=folder)
            return _described(name, os.stat(file, dir_fd=folder, follow_symlinks=False))

    def replace(self, name: str, data: BinaryIO) -> None:
        """See ``Store``; by a rename. Killed, it leaves a hidden file beside it at most."""
        self._require_root()
        with self._folder_of(name, make=True) as (folder, file), _written(folder, data) as working:
            os.rename(working, file, src_dir_fd=folder, dst_dir_fd=folder)

    def remove(self, name: str, version: str) -> bool:
        """See ``Store``; a file that replaces it between the look and the removal is lost."""
        with suppress(FileNotFoundError), self._folder_of(name) as (folder, file):
            facts = os.stat(file, dir_fd=folder, follow_symlinks=False)
            if _described(name, facts).version == version:
                os.unlink(file, dir_fd=folder)
                return True
        return False

    def _require_root(self) -> None:
        if not self.root.is_dir():
            raise _unlistable(self.root, FileNotFoundError(errno.ENOENT, "there is no such folder"))

    @contextmanager
    def _folder_of(self, name: str, make: bool = False) -> Iterator[tuple[int, bytes]]:
        *folders, file = raw(name).split(b"/")
        try:
            if {b"", b".", b".."} & {*folders, file}:
                raise PermissionError(errno.EPERM, "it is not below the folder")
            with _opened(self.root, folders, make) as handle:
                yield handle, file
        except (FileNotFoundError, FileExistsError):
            raise
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG or _is_below_a_file(self.root, folders, error):
                raise FileNotFoundError(errno.ENOENT, "no file can be called so", name) from error
            raise _closed(self.root, name, error) from error


def _is_below_a_file(root: Path, folders: list[bytes], error: OSError) -> bool:
    """A link where a folder should be is no name that cannot be, but one to be told of."""
    if error.errno != errno.ENOTDIR:
        return False
    path = os.fsencode(root)
    for folder in folders:
        path = os.path.join(path, folder)  # noqa: PTH118
        if os.path.islink(path):  # noqa: PTH114
            return False
    return True


@contextmanager
def _opened(root: Path, folders: list[bytes], make: bool) -> Iterator[int]:
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for folder in folders:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=handle)
                    os.fsync(handle)
            below = os.open(folder, _FOLDER, dir_fd=handle)
            os.close(handle)
            handle = below
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _written(folder: int, data: BinaryIO) -> Iterator[bytes]:
    """A hidden file of ``folder`` with all of ``data``, durable; it goes unless it was renamed."""
    working = b".%s.tmp" % secrets.token_hex(8).encode()
    handle = os.open(working, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as copy:
            data.seek(0)
            shutil.copyfileobj(data, copy)
            copy.flush()
            os.fsync(copy.fileno())
        yield working
    finally:
        with suppress(FileNotFoundError):
            os.unlink(working, dir_fd=folder)
        os.fsync(folder)


class _Opened:
    def __init__(self, drop: BinaryIO, name: str, version: str) -> None:
        self._drop, self._name, self._version = drop, name, version
        self._size, self._count = os.fstat(drop.fileno()).st_size, 0

    def read(self, size: int = -1, /) -> bytes:
        block = self._drop.read(size)
        self._count += len(block)
        return block

    def verify(self) -> None:
        _require(self._drop, self._name, self._version)
        if self._count != self._size:
            raise UnreadableFile(
                "fewer bytes of a file came than it has",
                "Look at the drop folder's disk, then release the file.",
                object=self._name,
                expected=f"{self._size} bytes",
                actual=f"{self._count}",
                reason="short_read",
            )


def _entry(path: bytes, item: "os.DirEntry[bytes]") -> Entry | None:
    try:
        facts = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    return _described(readable(path), facts) if stat.S_ISREG(facts.st_mode) else None


def _described(name: str, facts: os.stat_result) -> Entry:
    if stat.S_ISDIR(facts.st_mode):
        raise FileNotFoundError(errno.ENOENT, "it is a folder", name)
    if not stat.S_ISREG(facts.st_mode):
        raise PermissionError(errno.EPERM, "it is not a regular file")
    version = f"{facts.st_ino}-{facts.st_mtime_ns}-{facts.st_size}"
    return Entry(name, facts.st_size, version, facts.st_mtime_ns, facts.st_mtime_ns)


def _require(drop: BinaryIO, name: str, version: str) -> None:
    now = _described(name, os.fstat(drop.fileno())).version
    if now != version:
        raise Superseded(
            "the file was written again while it waited",
            "Nothing to do: its new version is next.",
            object=name,
            expected=version,
            actual=now,
            reason="superseded",
        )


def _unlistable(root: Path, error: OSError) -> SourceUnreachable:
    return SourceUnreachable(
        "a drop folder cannot be listed",
        "Create it, or give this user read access to it.",
        object=str(root),
        actual=error.strerror or str(error),
        reason="unreachable",
    )


def _closed(root: Path, name: str, error: OSError) -> SourceUnreachable:
    return SourceUnreachable(
        "a file of a drop folder cannot be reached",
        "Give this user access to it; a link is never followed.",
        object=f"{root}/{name}",
        actual=error.strerror or str(error),
        reason="unreachable",
    )
