"""Drops in a bucket: what all services have in common; each is spoken to by a ``Bucket``.

Retries live here and nowhere else: the clients that are handed in must have none of their own.
"""

import errno
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Protocol, TypeVar

from malacate.errors import SourceUnreachable, Superseded
from malacate.stores.answers import Busy, Changed, Gone, Held, Refused
from malacate.stores.names import raw, readable
from malacate.stores.patience import patiently
from malacate.stores.protocol import Entry
from malacate.stores.reading import Pieces

_T = TypeVar("_T")


class Bucket(Protocol):
    """One service's client. Every method asks once and raises what ``answers`` holds."""

    @property
    def uri(self) -> str:
        """Scheme and name."""

    def rank(self, key: str) -> bytes:
        """What the service orders its listing by."""

    def page(self, prefix: str, after: str, token: str) -> tuple[list[Held], str]:
        """Objects and the token of the next page, empty at the end.

        ``after`` is a hint: a service that cannot start there begins earlier.
        """

    def head(self, key: str) -> Held:
        """The object that stands, with its checksum and writer."""

    def read(self, held: Held, start: int, stop: int) -> bytes:
        """Bytes of exactly this version; ``Changed`` if another stands."""

    def create(self, key: str, data: BinaryIO, writer: str) -> None:
        """Write all of ``data`` with ``writer`` as metadata; ``Changed`` if one stands."""

    def replace(self, key: str, data: BinaryIO) -> None:
        """Write all of ``data``, over what stands."""

    def remove(self, held: Held) -> None:
        """Remove exactly this version; ``Changed`` if another stands."""


class ObjectStore:
    """Objects of ``bucket`` whose key begins with ``prefix``; names are what follows it.

    An object that is called as the prefix itself marks the place and is not one of its drops.
    """

    def __init__(self, bucket: Bucket, prefix: str = "") -> None:
        self._bucket = bucket
        self._prefix = prefix

    @property
    def uri(self) -> str:
        """Scheme, bucket and prefix."""
        return f"{self._bucket.uri}/{readable(self._prefix.encode())}".rstrip("/")

    def list(self, prefix: str = "", after: str = "") -> Iterator[Entry]:
        """See ``Store``; a service that lists in another order is refused."""
        rank = self._bucket.rank
        start = last = self._key(after) if after else self._prefix
        for held in self._listed(self._key(prefix), self._key(after) if after else ""):
            if rank(held.key) <= rank(start):
                continue
            if rank(held.key) <= rank(last):
                raise _refused(self.uri, Refused(200, f"{held.key!r} is listed after {last!r}"))
            last = held.key
            yield self._entry(held)

    def _listed(self, prefix: str, after: str) -> Iterator[Held]:
        token, is_first = "", True
        while token or is_first:
            try:
                held, token = self._ask(self._bucket.page, prefix, after, token)
            except Gone as error:
                raise _refused(self.uri, Refused(404, str(error))) from error
            except Changed as error:
                raise _refused(self.uri, Refused(412, str(error))) from error
            yield from held
            is_first = False

    def head(self, name: str) -> Entry:
        """See ``Store``."""
        return self._entry(self._head(name))

    @contextmanager
    def open(self, name: str, version: str) -> Iterator[Pieces]:
        """See ``Store``; every piece is asked for by version."""
        held = self._head(name)
        if held.version != version:
            raise _superseded(name, version, held.version)
        yield Pieces(partial(self._piece, name, held), name, held)

    def create(self, name: str, data: BinaryIO) -> Entry:
        """See ``Store``; a token in the metadata tells an own write whose answer was lost."""
        writer = secrets.token_hex(16)
        failed: Changed | Busy | None = None
        try:
            patiently(self._bucket.create, self._key(name), data, writer)
        except Refused as error:
            raise _refused(self.uri, error) from error
        except Gone as error:
            raise _refused(self.uri, Refused(404, str(error))) from error
        except (Changed, Busy) as error:
            failed = error
        try:
            held: Held | None = self._ask(self._bucket.head, self._key(name))
        except Gone:
            if isinstance(failed, Busy):
                raise _silent(self.uri, failed) from failed
            held = None
        if held and held.writer == writer:
            return self._entry(held)
        if failed:
            raise FileExistsError(errno.EEXIST, "an object stands there", name) from failed
        raise _superseded(name, "the object just written", held.version if held else "none")

    def replace(self, name: str, data: BinaryIO) -> None:
        """See ``Store``; by one write, again while its outcome is unknown."""
        try:
            self._ask(self._bucket.replace, self._key(name), data)
        except Gone as error:
            raise _refused(self.uri, Refused(404, str(error))) from error
        except Changed as error:
            raise _refused(self.uri, Refused(412, str(error))) from error

    def remove(self, name: str, version: str) -> bool:
        """See ``Store``; a service without conditional removal may lose what replaces it."""
        try:
            held = self._head(name)
            if held.version != version:
                return False
            self._ask(self._exactly, self._bucket.remove, held)
        except (FileNotFoundError, Changed, Gone):
            return False
        return True

    def others(self) -> Iterator[str]:
        """See ``Store``; a bucket holds objects alone."""
        return iter(())

    def _piece(self, name: str, held: Held, start: int, stop: int) -> bytes:
        try:
            return self._ask(self._whole, held, start, stop)
        except Changed as error:
            raise _superseded(name, held.version, "another version") from error
        except Gone as error:
            raise self._missing(name) from error

    def _whole(self, held: Held, start: int, stop: int) -> bytes:
        data = self._exactly(self._bucket.read, held, start, stop)
        if len(data) != stop - start:
            raise Busy(f"{len(data)} of {stop - start} bytes came")
        return data

    def _exactly(self, call: Callable[..., _T], held: Held, *asked: object) -> _T:
        try:
            return call(held, *asked)
        except Changed as error:
            if self._bucket.head(held.key).version == held.version:
                raise Busy(f"refused, although it stands unchanged: {error}") from error
            raise

    def _head(self, name: str) -> Held:
        try:
            return self._ask(self._bucket.head, self._key(name))
        except Gone as error:
            raise self._missing(name) from error
        except Changed as error:
            raise _refused(self.uri, Refused(412, str(error))) from error

    def _missing(self, name: str) -> FileNotFoundError:
        next(self.list(prefix=name), None)  # a bucket that is gone is not a file that is gone
        return FileNotFoundError(errno.ENOENT, "there is no such object", name)

    def _ask(self, call: Callable[..., _T], *asked: object) -> _T:
        try:
            return patiently(call, *asked)
        except Refused as error:
            raise _refused(self.uri, error) from error
        except Busy as error:
            raise _silent(self.uri, error) from error

    def _key(self, name: str) -> str:
        try:
            return self._prefix + raw(name).decode()
        except UnicodeDecodeError as error:
            raise FileNotFoundError(errno.ENOENT, "keys are UTF-8, this is not", name) from error

    def _entry(self, held: Held) -> Entry:
        name = readable(held.key[len(self._prefix) :].encode())
        return Entry(name, held.size, held.version, held.ordinal, held.modified_ns)


def _silent(uri: str, error: Busy) -> SourceUnreachable:
    return SourceUnreachable(
        "a bucket does not answer",
        "Check the network and the endpoint; nothing was lost, the next attempt goes on.",
        object=uri,
        actual=str(error),
        reason="unreachable",
    )


def _refused(uri: str, error: Refused) -> SourceUnreachable:
    return SourceUnreachable(
        "a bucket refuses a request",
        error.advice,
        object=uri,
        actual=str(error),
        reason="unreachable",
    )


def _superseded(name: str, version: str, now: str) -> Superseded:
    return Superseded(
        "the object was written again while it waited",
        "Nothing to do: its new version is next.",
        object=name,
        expected=version,
        actual=now,
        reason="superseded",
    )
