"""What services answer, alike for all: an object as it stands, or why it was not done."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Held:
    """An object as its service tells of it: ``match`` is what a conditional request names.

    ``checksum`` is a hash to feed and the digest that is due; ``writer`` the token of ``create``.
    """

    key: str
    size: int
    version: str
    ordinal: int
    modified_ns: int
    match: str
    checksum: tuple[Callable[[], Any], bytes] | None = None
    writer: str = ""


class Gone(Exception):
    """There is no such object, or no such bucket."""


class Changed(Exception):
    """The condition does not hold: another version stands."""


class Busy(Exception):
    """No answer, or one that asks to come again; the outcome of a write is unknown."""

    def __init__(self, said: str, wait_seconds: float = 0.0) -> None:
        super().__init__(said)
        self.wait_seconds = wait_seconds


class Refused(Exception):
    """Asking again gives the same answer."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status

    @property
    def advice(self) -> str:
        """What a user can do about it."""
        if self.status in (0, 401, 403):
            return "Check the credentials, and that they may list and read there."
        if self.status == 404:
            return "Create the bucket, or correct its name."
        return "Look the answer up at the service; asking again will not help."


def of_status(status: int, said: str, wait: str | None = None) -> Exception:
    """The answer behind an HTTP status; ``wait`` is its ``Retry-After``."""
    if status == 404:
        return Gone(said)
    if status == 412:
        return Changed(said)
    if status in (408, 429) or (status >= 500 and status != 501):
        return Busy(said, float(wait) if wait and wait.isdecimal() else 0.0)
    return Refused(status, said)
