"""Making an iterator's items on another thread, one ahead of their use."""

from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterator[T]) -> Iterator[T]:
    """``items``, each made while the one before is used; what they raise is raised here.

    Left early, nothing is waited for: a generator may be collected on any thread, under any lock,
    so its end only puts into a queue that is safe to put into from there.
    """
    wanted: SimpleQueue[bool] = SimpleQueue()
    made: SimpleQueue[object] = SimpleQueue()
    Thread(target=_make, args=(items, wanted, made), daemon=True).start()
    try:
        wanted.put(True)
        while (item := made.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            wanted.put(True)
            yield item  # type: ignore[misc]
    finally:
        wanted.put(False)


class _Raised:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _make(items: Iterator[T], wanted: SimpleQueue[bool], made: SimpleQueue[object]) -> None:
    try:
        while wanted.get():
            made.put(next(items, _END))
    except BaseException as error:
        made.put(_Raised(error))
