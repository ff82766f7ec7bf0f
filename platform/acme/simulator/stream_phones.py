"""The phones live: events of machine issues, each in the second in which the broker has it.

MQTT does not say when that was, so each message does, as ``received_at``: its gateway knows.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from acme.simulator import phones
from acme.simulator.drops import as_json, deliver
from acme.simulator.phones import Told
from acme.simulator.world import HOUR, World, instant

TOPIC = "{equipment_id}/issue"
"""Below the path of the broker's URL."""

FILTER = "+/issue"


@dataclass(frozen=True)
class LivePhones:
    """What phones tell in ``seconds`` of the mine's time, from the start of ``hour`` on.

    It is of issues that began before, too: late, twice, in the wrong order, against the rules.
    """

    world: World
    hour: int
    seconds: int

    def received(self) -> list[Told]:
        """What comes, in its order."""
        end_us = (self._begin_s + self.seconds) * 1_000_000
        came = phones.received(self.world, self.hour, self.hour + -(-self.seconds // HOUR))
        return [one for one in came if one.received_us < end_us]

    def told(self) -> Iterator[list[tuple[str, bytes]]]:
        """See ``Devices``."""
        by_second = {
            second: [(TOPIC.format(**one.event), message(one)) for one in some]
            for second, some in groupby(self.received(), key=self._second)
        }
        for second in range(self.seconds):
            yield by_second.get(second, [])

    def note_truth(self, folder: Path) -> None:
        """Write ``machine_issue.json``: how much came, and what each issue is by it."""
        deliver(folder / "machine_issue.json", as_json(phones.known(self.received())))

    @property
    def _begin_s(self) -> int:
        return self.world.end_s + self.hour * HOUR

    def _second(self, one: Told) -> int:
        return one.received_us // 1_000_000 - self._begin_s


def message(one: Told) -> bytes:
    """An event, and when its gateway had it."""
    received_at = instant(one.received_us / 1_000_000).isoformat(timespec="microseconds")
    return json.dumps({**one.event, "received_at": received_at}, ensure_ascii=False).encode()
