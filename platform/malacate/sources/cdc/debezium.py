"""Debezium's events in files -> rows of the log: JSON with and without schema, or Avro.

A file may be one that Kafka Connect's S3 sink wrote, ``<topic>+<partition>+<offset>``; its topic
names the table where events do not. Tombstones, heartbeats, messages, transaction marks and schema
changes are no changes of rows: they are counted and left out.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from malacate.batch import Chunk, Evolution, Reject
from malacate.contracts.table import Table
from malacate.formats.caps import Caps
from malacate.formats.jsonl_values import as_text
from malacate.sources.cdc.datastream_avro import opened
from malacate.sources.cdc.datastream_json import Told, told
from malacate.sources.cdc.datastream_rows import Counts, Rows, Whose
from malacate.sources.cdc.debezium_events import Event, Skipped, Unplaced, event_of
from malacate.sources.cdc.debezium_rows import Half, columns_of_halves, halves_of
from malacate.sources.cdc.debezium_values import Meant, Spelling, of_avro_schema, plain

_ROWS = 8192
_KAFKA = re.compile(r"(?:^|/)([^/+]+)\+(\d+)\+(\d+)\.[^/]*$")


@dataclass
class DebeziumFile:
    """One file of events on its way to the log."""

    path: Path
    name: str
    log: Table
    whose: Whose
    spelling: Spelling
    caps: Caps
    is_avro: bool
    evolutions: list[Evolution] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)

    def chunks(self) -> Iterator[Chunk]:
        """All rows of the table; what is left out is told in ``evolutions`` at the end."""
        moved = self._moved()
        known: dict[str, None] = {}
        events = self._events()
        while some := list(islice(events, _ROWS)):
            rejects = [one for one in some if isinstance(one, Reject)]
            mine: list[Half] = []
            for event in (one for one in some if isinstance(one, Event)):
                if self.whose.is_mine(event.named):
                    mine += halves_of(event, self.whose.table, moved, self.spelling)
                elif self.whose.is_taken(event.named, self.name):
                    what = f"events of {event.named}, which another route takes"
                    self.counts.found[what] += 1
                else:
                    detail = f"no table of this source takes events of {event.named}"
                    rejects.append(Reject(event.place, "other_table", detail, event.raw))
            columns, bad = columns_of_halves(
                mine, self.log, self.whose.table, self.spelling, self.name,
                self.evolutions, known,
            )  # fmt: skip
            rows = Rows(columns, [half.event.place for half in mine], _raw(mine), bad)
            yield rows.chunk(self.log, self.whose.table, rejects)
        self.evolutions += self.counts.told()

    def _moved(self) -> Counter[Any]:
        """Positions where a key's deletion and another's insertion stand together."""
        gone: Counter[Any] = Counter()
        made: Counter[Any] = Counter()
        for one in self._events():
            if isinstance(one, Event) and self.whose.is_mine(one.named):
                {"D": gone, "I": made}.get(one.op, Counter())[one.position] += 1
        self.counts.found.clear()
        return Counter({place: n for place, n in gone.items() if made[place] == n})

    def _events(self) -> Iterator[Event | Reject]:
        topic = _KAFKA.search(self.name)
        source = self._avro() if self.is_avro else self._json()
        for one, meant in source:
            if isinstance(one, Reject):
                yield one
                continue
            try:
                found = event_of(one, meant, topic[1] if topic else "", self.spelling)
            except Unplaced as error:
                yield Reject(one.place, error.reason, str(error), one.raw)
                continue
            if isinstance(found, Skipped):
                self.counts.found[found.what] += 1
            else:
                yield found

    def _json(self) -> Iterator[tuple[Told | Reject, dict[str, Meant] | None]]:
        for one in told(self.path, self.caps):
            yield one, None

    def _avro(self) -> Iterator[tuple[Told | Reject, dict[str, Meant] | None]]:
        records = opened(self.path)
        rows = {one["name"]: one["type"] for one in records.record["fields"]}
        value = rows.get("after", records.record)
        record = next(
            (one for one in (value if isinstance(value, list) else [value])
             if isinstance(one, dict) and "fields" in one), records.record,
        )  # fmt: skip
        meant, place = of_avro_schema(record), 0
        for batch in records.batches():
            for row in batch.to_pylist():
                event = plain(row)
                yield Told(place, as_text(_shown(event)).encode(), event), meant
                place += 1


def _raw(halves: Sequence[Half]) -> Callable[[int], bytes]:
    return lambda index: halves[index].event.raw


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _shown(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return value.hex() if isinstance(value, bytes) else value
