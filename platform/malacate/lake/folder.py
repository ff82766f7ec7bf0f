"""A folder that someone else drops files into: its listing, and opening one version of a file.

Names are data here: they are listed and hashed, and never become a path that is written to.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

from malacate.errors import SourceUnreachable, Superseded

IGNORED = ("_SUCCESS", "*.crc", "*.tmp", ".*", "*.part", "*~", "_temporary*", "*.filepart")
"""Names of files and folders that producers use for work in progress and for markers."""

_PLAIN = bytes(set(range(32, 127)) - {ord("%")}).decode()


@dataclass(frozen=True)
class Entry:
    """A version of a file: ``name`` relative to the folder, with odd bytes percent-encoded."""

    name: str
    size: int
    mtime_ns: int
    inode: int

    @property
    def version(self) -> str:
        """Changes whenever the file is written again."""
        return f"{self.inode}-{self.mtime_ns}-{self.size}"


class Folder:
    """Files below ``root`` whose relative name matches one of ``patterns``.

    ``resolve`` turns ``root`` into a path when it is needed.
    """

    def __init__(
        self,
        root: str | Path,
        patterns: tuple[str, ...] = ("*",),
        resolve: Callable[[str], str] = str,
    ) -> None:
        self._root = str(root)
        self._patterns = patterns
        self._resolve = resolve

    @property
    def root(self) -> Path:
        """The folder."""
        return Path(self._resolve(self._root))

    def list(self) -> Iterator[Entry]:
        """Every file now; a folder that cannot be read is an error, never an empty listing."""
        for entry, _ in self._walk():
            if entry is not None:
                yield entry

    def ignored(self) -> Iterator[str]:
        """Names that ``list`` passes over: markers, work in progress, other patterns."""
        for entry, name in self._walk():
            if entry is None:
                yield name

    def _walk(self) -> Iterator[tuple[Entry | None, str]]:
        root = self.root
        waiting = [os.fsencode(root)]
        base = len(waiting[0]) + 1
        while waiting:
            folder = waiting.pop()
            try:
                with os.scandir(folder) as items:
                    found = sorted(items, key=lambda item: item.name)
            except OSError as error:
                raise _unreachable(root, error) from error
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    waiting.append(item.path)
                elif (name := _readable(item.path[base:])) is not None:
                    yield self._entry(item, name), name

    def _entry(self, item: "os.DirEntry[bytes]", name: str) -> Entry | None:
        if any(fnmatchcase(part, marker) for part in name.split("/") for marker in IGNORED):
            return None
        if not any(fnmatchcase(name, pattern) for pattern in self._patterns):
            return None
        try:
            facts = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(facts.st_mode):
            return None
        return Entry(name, facts.st_size, facts.st_mtime_ns, facts.st_ino)

    @contextmanager
    def open(self, name: str, version: str) -> Iterator[BinaryIO]:
        """Read exactly ``version``; raise ``Superseded`` if the file is, or becomes, another one.

        ``FileNotFoundError`` means that it is gone, ``SourceUnreachable`` that it is kept closed.
        """
        with self._open(name) as file:
            require(file, name, version)
            yield file
            require(file, name, version)

    def _open(self, name: str) -> BinaryIO:
        raw, root = unquote_to_bytes(name), self.root
        path = os.path.join(os.fsencode(root), raw)  # noqa: PTH118
        try:
            if {b"", b".."} & set(raw.split(b"/")):
                raise PermissionError(errno.EPERM, "it is not below the folder")
            return open(path, "rb", buffering=0, opener=_without_links)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(root, name, error) from error


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW)


def require(file: BinaryIO, name: str, version: str) -> None:
    """Raise ``Superseded`` unless ``file`` is ``version`` of ``name``."""
    facts = os.fstat(file.fileno())
    now = Entry(name, facts.st_size, facts.st_mtime_ns, facts.st_ino).version
    if now != version:
        raise Superseded(
            "the file was written again while it waited",
            "Nothing to do: its new version is next.",
            object=name,
            expected=version,
            actual=now,
            reason="superseded",
        )


def _readable(name: bytes) -> str:
    """``name`` as text: one to one, whatever bytes it has."""
    return quote_from_bytes(name, safe=_PLAIN) if _odd(name) else name.decode()


def _odd(name: bytes) -> bool:
    try:
        return "%" in (text := name.decode()) or not text.isprintable()
    except UnicodeDecodeError:
        return True


def _unreachable(root: Path, error: OSError) -> SourceUnreachable:
    return SourceUnreachable(
        "a drop folder cannot be listed",
        "Create it, or give this user read access to it.",
        object=str(root),
        actual=error.strerror or str(error),
        reason="unreachable",
    )


def _unreadable(root: Path, name: str, error: OSError) -> SourceUnreachable:
    return SourceUnreachable(
        "a file of a drop folder cannot be opened",
        "Give this user read access to it; a link is never followed.",
        object=f"{root}/{name}",
        actual=error.strerror or str(error),
        reason="unreachable",
    )
