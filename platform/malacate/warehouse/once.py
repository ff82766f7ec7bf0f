"""Readings, each once: SQL that looks for second copies only where there may be any."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from malacate.contracts.table import Table
from malacate.names import quote

_BITS = 5
"""A block has 32 places: what the bits of any engine's integer tell apart without its sign."""


@dataclass(frozen=True)
class Once:
    """Of readings of a sensor and hour with one ``sequence`` number the least counts, by the values
    of ``columns`` in turn. Names are of columns of a query, with ``hour_at`` among them.
    """

    sensor: str
    sequence: str
    columns: Sequence[str]

    def least(self, readings: str) -> str:
        """SELECT of the readings that count, by looking at all of them in order."""
        named = ", ".join(map(_q, self.columns))
        return (
            f"select {_q(self.sensor)}, hour_at, {named} from ({readings}) as r where true "
            f"qualify row_number() over (partition by {_q(self.sensor)}, hour_at, "
            f"{_q(self.sequence)} order by {named}) = 1"
        )

    def blocks(self, readings: str, place: str) -> str:
        """SELECT of the blocks of an hour in which a number came twice, and maybe of others.

        ``place`` is a whole number of a reading, another for another ``sequence`` where it can be:
        a block whose readings have as many places as there are readings has none twice.
        """
        return (
            f"select {_q(self.sensor)}, hour_at, {place} >> {_BITS} as block "
            f"from ({readings}) as r group by 1, 2, 3 having count(*) <> bit_count(bit_or("
            f"cast(1 as bigint) << ({place} & {(1 << _BITS) - 1})))"
        )

    def outside(self, readings: str, place: str, blocks: str) -> str:
        """SELECT of the readings that count: all but some in the table ``blocks``."""
        own, same = _q(self.sensor), f"r.hour_at = b.hour_at and {place} >> {_BITS} = b.block"
        named = ", ".join(f"r.{_q(name)}" for name in (self.sensor, "hour_at", *self.columns))
        on = f"from ({readings}) as r {{}} join {blocks} as b on r.{own} = b.{own} and {same}"
        within = self.least(f"select r.* {on.format('')}")
        return f"select {named} {on.format('left')} where b.block is null union all {within}"


def place_of(sequence: str, readings: Table, per_hour: int) -> str:
    """What tells numbers apart: a whole number itself, of an instant its place on a grid of
    ``per_hour``; empty for what is neither.
    """
    column = readings.by_name[sequence]
    if pa.types.is_integer(column.type):
        return _q(sequence)
    if pa.types.is_timestamp(column.type):
        return f"(epoch_us({_q(sequence)}) // {max(1, 3_600_000_000 // per_hour)})"
    return ""


def _q(name: str) -> str:
    return quote(name, "duckdb")
