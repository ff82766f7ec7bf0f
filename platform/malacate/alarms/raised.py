"""Rows that are news by themselves: what somebody told of something, told on once.

A text says what was told, of what, since when and when it came. It has no words of people, and
nothing that is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from malacate.alarms.rules import Columns, Exceedance, instant, microseconds, names

_LONGEST = 80


@dataclass(frozen=True)
class Raised:
    """Rows that have one of the values of ``where`` in each of its columns.

    Those of one ``subject`` are one incident, however many come, and whenever. ``tell`` names the
    columns that its text has.
    """

    rule: str
    where: Mapping[str, Sequence[str]] = field(hash=False)
    subject: str
    tell: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All that it looks at."""
        return (*self.where, self.subject, *self.tell)

    def judge(self, rows: pa.RecordBatch, columns: Columns) -> list[Exceedance]:
        """What rows raise: of each subject the earliest, by the sensor's clock."""
        meant = np.ones(rows.num_rows, dtype=bool)
        for name, values in self.where.items():
            text = rows.column(name).cast(pa.string())
            meant &= pc.is_in(text, pa.array(values, pa.string())).to_numpy(False)
        some = rows.filter(pa.array(meant))
        found = [one for place in range(some.num_rows) if (one := self._one(some, columns, place))]
        return earliest(found)

    def _one(self, rows: pa.RecordBatch, columns: Columns, place: int) -> Exceedance | None:
        row = rows.slice(place, 1)
        (subject,), (sensor,) = names(row, self.subject), names(row, columns.sensor)
        at, came = (
            microseconds(row, name)[0].as_py() if name else None
            for name in (columns.instant, columns.received)
        )
        if subject is None or at is None:
            return None
        told = [f"{name} {_short(value)}" for name in self.tell if (value := names(row, name)[0])]
        text = (
            f"{_short(sensor or 'nobody')}: {self.rule} {_short(subject)}"
            f"{''.join(f', {one}' for one in told)}; since {instant(at)}"
            f"{f', received {instant(came)}' if came is not None else ''}."
        )
        return Exceedance(self.rule, subject, at, at, 0.0, 0.0, "", text, came_us=came)


def earliest(found: Sequence[Exceedance]) -> list[Exceedance]:
    """Of each rule and subject the first, in order."""
    return sorted({(one.rule, one.subject): one for one in sorted(found, reverse=True)}.values())


def _short(text: str) -> str:
    """On one line, and not longer than a line may be."""
    return " ".join(text.split())[:_LONGEST]
