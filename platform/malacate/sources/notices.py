"""From what a bucket tells to the ledger: an event is only a hint, the store says what stands.

``handle`` asks with our own credentials and notes what it is told: a cloud function or a webhook
needs nothing else. The shapes of events are in ``events``, polling queues in ``orchestration``.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from malacate.ledger.ledger import Ledger
from malacate.ledger.work import Found
from malacate.sources.completeness import SUCCESS, Passed
from malacate.sources.discovery import Discovery
from malacate.sources.events import DeadLetter, Notice, dead, read
from malacate.stores.names import raw, readable
from malacate.stores.protocol import Entry


@dataclass(frozen=True)
class Listener:
    """Drops that events may be of: those of ``discovery``, whose store is ``bucket`` below
    ``prefix`` (empty, or ending with a slash).
    """

    bucket: str
    prefix: str
    discovery: Discovery
    supersedes: bool = False

    def name_of(self, notice: Notice) -> str | None:
        """The object's name in the store; ``None`` if it is not there."""
        key, prefix = raw(notice.name), raw(self.prefix)
        if notice.bucket != self.bucket or not key.startswith(prefix):
            return None
        return readable(key.removeprefix(prefix))


@dataclass
class Handled:
    """What came of a payload: ``new`` of ``found`` were not known.

    ``vanished`` are objects that were gone already, ``passed`` those that are no drops.
    """

    found: list[Found] = field(default_factory=list)
    new: int = 0
    vanished: list[str] = field(default_factory=list)
    passed: list[Passed] = field(default_factory=list)
    dead: list[DeadLetter] = field(default_factory=list)
    validation: str | None = None


def handle(
    payload: bytes | dict[str, Any],
    listeners: Sequence[Listener],
    ledger: Ledger,
    now: float | None = None,
) -> Handled:
    """Note in the ledger what stands of the objects that ``payload`` tells of.

    Raises ``SourceUnreachable`` if a store does not answer: nothing is noted, deliver it again.
    """
    heard = read(payload)
    handled = Handled(dead=heard.dead, validation=heard.validation)
    noted: dict[bool, list[Found]] = {}
    written = {(n.bucket, n.name): n for n in heard.notices if n.kind == "written"}
    for notice in written.values():
        places = [(ear, name) for ear in listeners if (name := ear.name_of(notice))]
        if not places:
            where = f"{notice.bucket}/{notice.name}"
            handled.dead.append(dead("another_bucket", where, notice.name))
        for listener, name in places:
            found = _look(listener, name, handled, time.time() if now is None else now)
            noted.setdefault(listener.supersedes, []).extend(found)
    for supersedes, found in noted.items():
        unique = list({one.batch_id: one for one in found}.values())
        handled.found += unique
        handled.new += ledger.note(unique, supersedes)
    return handled


def _look(listener: Listener, name: str, handled: Handled, now: float) -> list[Found]:
    """What stands of an object: its version now, or the files that it speaks for."""
    discovery = listener.discovery
    chosen = discovery.selection
    speaks = chosen.is_manifest(name)
    entries: Iterable[Entry]
    if chosen.complete == "success" and name.rpartition("/")[2] == SUCCESS:
        entries, speaks = chosen.store.list(name[: name.rfind("/") + 1]), True
    elif not speaks and (reason := chosen.passed_over(name)):
        handled.passed.append(Passed(name, reason))
        return []
    else:
        try:
            entries = [chosen.store.head(name)]
        except FileNotFoundError:
            handled.vanished.append(name)
            return []
    picked = chosen.pick(entries, now)
    handled.passed += [] if speaks and picked.drops else picked.passed
    promises = {name: promise.to_json() for name, promise in picked.promises.items()}
    return [discovery.found(entry, promises.get(entry.name)) for entry in picked.drops]
