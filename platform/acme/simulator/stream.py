"""What devices tell live, as JSON messages to a broker of MQTT; here those of the geophones.

What is told is a function of the world, an hour and a number of seconds, and so is its truth. Each
message also says when the gateway had it, by a clock that is right: one sensor's runs fast.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from acme.simulator import columns, geophones
from acme.simulator.drops import deliver, parquet
from acme.simulator.geophones_truth import hour_truth
from acme.simulator.stream_gateway import Gateway
from acme.simulator.tables import AT
from acme.simulator.world import World, instant

PER_MINUTE, PER_HOUR = 60, 3600
TOPIC = "{sector_id}/{sensor_id}/vibration"
"""Below the path of the broker's URL."""

FILTER = "+/+/vibration"


class Devices(Protocol):
    """What devices tell in a time of the mine, and what is true of it."""

    def told(self) -> Iterator[list[tuple[str, bytes]]]:
        """Topics and messages of one second after the other; a second may have none."""

    def note_truth(self, folder: Path) -> None:
        """Write what there must be of it wherever all of it came."""


@dataclass(frozen=True)
class Live:
    """What the geophones tell in ``seconds`` of the mine's time, from the start of ``hour`` on."""

    world: World
    hour: int
    seconds: int

    def told(self) -> Iterator[list[tuple[str, bytes]]]:
        """Topics and messages of one second after the other; some seconds may lack all."""
        for rows, _ in self._minutes():
            for _, some in groupby(_by_second(rows), key=itemgetter("seq")):
                yield [(TOPIC.format(**row), json.dumps(row).encode()) for row in some]

    def truth(self) -> Iterator[tuple[int, pa.Table, pa.Table]]:
        """Each hour, its sound readings, each once, and what an hourly table must say of them."""
        for hour, minutes in groupby(enumerate(self._minutes()), key=self._hour_of):
            rows = pa.concat_tables([rows.filter(counted) for _, (rows, counted) in minutes])
            yield hour, rows, hour_truth(rows.drop_columns(["sent_at"]), 1, PER_HOUR)

    def note_truth(self, folder: Path) -> None:
        """Write ``reading_<hour>.parquet`` and ``vibration_hour_<hour>.parquet`` for each hour."""
        for hour, readings, known in self.truth():
            at = f"{instant(self.world.end_s + hour * PER_HOUR):%Y%m%dT%H}"
            deliver(folder / f"reading_{at}.parquet", parquet(readings))
            deliver(folder / f"vibration_hour_{at}.parquet", parquet(known))

    def _hour_of(self, numbered: tuple[int, Any]) -> int:
        return self.hour + numbered[0] // 60

    def _minutes(self) -> Iterator[tuple[pa.Table, pa.Array]]:
        """Rows, and which of them count."""
        for number in range(-(-self.seconds // 60)):
            hour, minute = self.hour + number // 60, number % 60
            made = geophones.minute(self.world, hour, minute, PER_MINUTE)
            sent_s = made.rows["seq"].to_numpy() + self.world.start_s
            rows = made.rows.append_column("sent_at", columns.column(sent_s, AT))
            is_told = sent_s < self.world.after(self.hour).timestamp() + self.seconds
            yield rows.filter(pa.array(is_told)), pa.array(made.is_counted[is_told])


def publish(live: Devices, url: str, speed: float, saved_seconds: float) -> int:
    """Send it all, ``speed`` seconds of the mine in a second; how many messages that were.

    A broker that is away is waited for; returns once it must have saved what it was sent.
    """
    sent = 0
    with Gateway(url, saved_seconds) as gateway:
        begun = time.monotonic()
        for number, messages in enumerate(live.told()):
            for topic, message in messages:
                gateway.wait_until(begun + number / speed)
                gateway.send(topic, message)
            sent += len(messages)
        gateway.flush()
    return sent


def _by_second(rows: pa.Table) -> list[dict[str, Any]]:
    """As JSON has it: instants as text, and nothing for a value that is no number."""
    for place, field in enumerate(rows.schema):
        values = rows.column(place).combine_chunks()
        if pa.types.is_timestamp(field.type):
            values = pc.strftime(values, "%Y-%m-%dT%H:%M:%SZ")
        elif pa.types.is_floating(field.type):
            values = pa.array(values.to_numpy(), mask=np.isnan(values.to_numpy()))
        rows = rows.set_column(place, field.name, values)
    return rows.sort_by("seq").to_pylist()  # type: ignore[no-any-return]
