"""A lake in a bucket. Formats and Parquet need files, so ``tmp`` is on this machine's disk.

A file there is either a draft, that nothing counts on before it was uploaded, or a verified copy
of what stands in the bucket. Leavings of workers that died go with the sweep.
"""

import hashlib
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from tenacity import Retrying, retry_if_exception_cause_type, stop_after_attempt, wait_random

from malacate.errors import LakeError, SourceUnreachable, Superseded, UnreadableFile
from malacate.lake.place import Bytes, Stored
from malacate.stores.protocol import Store

_PIECE = 8 << 20
_TIMES = 20


class BucketPlace:
    """See ``Place``; below ``store``, with ``tmp`` for drafts and copies."""

    def __init__(self, store: Store, tmp: Path) -> None:
        self._store = store
        self.tmp = tmp.absolute()
        self.tmp.mkdir(parents=True, exist_ok=True)

    def uri(self, path: str = "") -> str:
        """See ``Place``."""
        return f"{self._store.uri}/{path}".rstrip("/")

    def draft(self, path: str) -> Path:
        """See ``Place``."""
        return self._copy_of(path)

    def put(self, draft: Path, path: str) -> Path:
        """See ``Place``; it appears whole, as every object of a bucket."""
        with suppress(FileExistsError):
            self._upload(draft, path)
        return draft.replace(self._copy_of(path))

    def create(self, path: str, data: bytes) -> None:
        """See ``Place``."""
        with _own_trouble():
            self._store.create(path, BytesIO(data))

    def replace(self, path: str, data: bytes) -> None:
        """See ``Place``; by one write."""
        with _own_trouble():
            self._store.replace(path, BytesIO(data))

    def content(self, path: str) -> bytes:
        """See ``Place``; read again where it was replaced between two requests."""
        reading = Retrying(
            retry=retry_if_exception_cause_type(Superseded),
            wait=wait_random(0, 0.1),
            stop=stop_after_attempt(_TIMES),
            reraise=True,
        )
        return reading(self._content, path)

    def _content(self, path: str) -> bytes:
        with self.open(path) as found:
            return found.read()

    @contextmanager
    def open(self, path: str) -> Iterator[Bytes]:
        """See ``Place``."""
        with _own_trouble():
            standing = self._store.head(path)
            with self._store.open(path, standing.version) as opened:
                yield opened
                opened.verify()

    def local(self, path: str) -> Path:
        """See ``Place``; downloaded each time, since a copy that a dead worker left may be torn."""
        draft = self.tmp / f"{self._copy_of(path).name}.{secrets.token_hex(4)}"
        try:
            with self.open(path) as opened, draft.open("wb") as file:
                shutil.copyfileobj(opened, file, _PIECE)
            return draft.replace(self._copy_of(path))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def forget(self, path: str) -> None:
        """See ``Place``."""
        self._copy_of(path).unlink(missing_ok=True)

    def head(self, path: str) -> Stored | None:
        """See ``Place``."""
        with _own_trouble():
            try:
                entry = self._store.head(path)
            except FileNotFoundError:
                return None
        return Stored(path, entry.size, entry.modified_ns)

    def move(self, path: str, to: str) -> None:
        """See ``Place``; what stands at ``to`` is written again only if it has other bytes."""
        try:
            copy = self.local(path)
        except FileNotFoundError:
            return
        try:
            self._upload(copy, to)
        except FileExistsError:
            if not self._stands(copy, to):
                with _own_trouble(), copy.open("rb") as data:
                    self._store.replace(to, data)
        self.remove(path)

    def remove(self, path: str) -> None:
        """See ``Place``."""
        self.forget(path)
        self._erase(path)

    def list(self, folder: str) -> Iterator[Stored]:
        """See ``Place``."""
        with _own_trouble():
            for entry in self._store.list(f"{folder}/"):
                yield Stored(entry.name, entry.size, entry.modified_ns)

    def _copy_of(self, path: str) -> Path:
        return self.tmp / path.rpartition("/")[2]

    def _upload(self, file: Path, path: str) -> None:
        with _own_trouble(), file.open("rb") as data:
            self._store.create(path, data)

    def _erase(self, path: str) -> None:
        with _own_trouble(), suppress(FileNotFoundError):
            self._store.remove(path, self._store.head(path).version)

    def _stands(self, copy: Path, path: str) -> bool:
        try:
            with self.open(path) as there, copy.open("rb") as here:
                return _sha256(there) == _sha256(here)
        except FileNotFoundError:
            return False


def _sha256(data: Bytes) -> str:
    digest = hashlib.sha256()
    while piece := data.read(_PIECE):
        digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _own_trouble() -> Iterator[None]:
    """What a store says here is about the lake, and no verdict on the batch that is on its way."""
    try:
        yield
    except SourceUnreachable as error:
        raise LakeError(**{**asdict(error), "reason": "lake_unreachable"}) from error
    except (Superseded, UnreadableFile) as error:
        raise LakeError(
            "an object of the lake is not as it was written",
            "Run again; if it stays so, something else writes in the lake: find it.",
            object=error.object,
            expected=error.expected,
            actual=error.actual,
            reason="lake_damaged",
        ) from error
