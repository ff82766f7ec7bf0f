"""The hours behind readings: recomputed, for what a batch touched, from all that is published.

So the order, the number and the lateness of batches cannot matter.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from malacate.contracts.table import Table
from malacate.names import quote
from malacate.warehouse.hourly_rules import (
    REVISION,
    Spectrum,
    require_bounded,
    require_computed,
    require_count,
    require_known,
    require_typed,
    steps_of,
)
from malacate.warehouse.moments import (
    FEW_READINGS,
    FEW_STEPS,
    MOST_READINGS,
    MOST_STEPS,
    Moments,
    Sum,
    exact,
)
from malacate.warehouse.once import Once, place_of
from malacate.warehouse.protocol import BATCH_COLUMN, IfAny

_TABLE = "create or replace temp table"
_HOUR_US = 3_600_000_000
_AFTER = 10_000_000 * _HOUR_US
"""What makes an instant positive: integers are divided towards zero."""


def _q(name: str) -> str:
    return quote(name, "duckdb")


def _named(made: Mapping[str, str]) -> str:
    return ", ".join(f"{text} as {_q(name)}" for name, text in made.items())


def _of_each(
    moments: Iterable[Moments], step: Callable[[Moments], Mapping[str, str]]
) -> dict[str, str]:
    return {f"{m.name}_{of}": text for m in moments for of, text in step(m).items()}


@dataclass(frozen=True)
class HourlyStats:
    """Per sensor and hour, a pure function of the hour's readings, to the last bit.

    A reading counts once: of those of a sensor and hour with one ``sequence`` number the least
    counts, by instant and then by every value that is computed with. Values are taken in steps of
    ``resolution``, to the nearest (halves away from zero), and are whole numbers until the last
    formula; ``per_hour`` readings make an hour complete. The contract must bound each value: see
    ``require_sound``. Of each of ``axes`` (name -> column of the readings, in mm/s):

    - ``<axis>_rms_mm_s``: sqrt(sum(x^2) / n) of the values as they are, no mean taken off
    - ``<axis>_peak_mm_s``: the largest absolute value; ``<axis>_peak_to_peak_mm_s``: max - min
    - ``<axis>_crest_factor``: peak / RMS, as ISO 2041 has it; null where all values are 0
    - ``<axis>_kurtosis``: m4 / m2^2 with mk = sum((x - mean)^k) / n, Pearson's: that of the
      population, not its excess (a normal distribution has 3); null where all values are equal

    and over the axes ``ppv_mm_s``, the largest peak, and ``peak_pvs_mm_s``, the largest of the
    column ``vector_sum``, or without one of sqrt(sum of squares) of a reading's axes. ``rms_mm_s``
    is the quadratic mean of the column ``rms``, the RMS that a sensor tells of each reading;
    ``battery_min_v`` the least of the column ``battery``. Other columns of ``table`` are carried
    over from the readings. A changed hour has its revision raised; an unchanged one is left. SQL
    computes no ``spectrum``.
    """

    table: Table
    per_hour: int
    axes: Mapping[str, str] = field(hash=False)
    resolution: float = 0.001
    sensor: str = "sensor_id"
    sequence: str = "seq"
    instant: str = "measured_at"
    rms: str = ""
    vector_sum: str = ""
    battery: str = ""
    spectrum: Spectrum | None = None

    @property
    def target(self) -> Table:
        """The table of hours."""
        return self.table

    @property
    def by_hour(self) -> tuple[str, str]:
        """See ``Derivation``."""
        return self.instant, "hour_at"

    @property
    def steps(self) -> int:
        """Steps of the resolution in a unit."""
        return steps_of(self.resolution, self.table)

    @property
    def once(self) -> Once:
        """Which of several readings counts."""
        return Once(self.sensor, self.sequence, [*self._plain, *self._columns.values()])

    def require_sound(self, readings: Table) -> None:
        """Raise ``ContractError`` unless a reading tells what it is known by, the rules of the
        contract keep every value within bounds in which no sum can overflow, and every column of
        the hours is known and of its type.
        """
        require_known(readings, (self.sensor, self.sequence, self.instant), self.instant)
        require_bounded(readings, self._columns.values(), MOST_STEPS / self.steps)
        require_count(self.per_hour, MOST_READINGS, self.table)
        if self.spectrum:
            self.spectrum.require_sound(self.table)
        computed = {*self._told(), *self._of_spectrum, REVISION}
        require_computed(self.table, computed, readings)
        require_typed(self.table, readings, self.sensor, computed)

    def touched(self, published: Table) -> str:
        """Hours that a reading came to, or left."""
        at = _q(self.instant)
        return (
            f"select {_q(self.sensor)}, date_trunc('hour', min({at})) as hour_at "
            f"from {published.name.sql('duckdb')} "
            f"where {BATCH_COLUMN} in (select batch_id from touching) "
            f"group by {_q(self.sensor)}, (epoch_us({at}) + {_AFTER}) // {_HOUR_US}"
        )

    def sums(self, once: str, of_few: Collection[str] = ()) -> str:
        """SELECT of the exact sums of each sensor and hour of readings, a query, each there once.

        Those of parts that have no reading in common are made one by ``merged``. The axes
        ``of_few`` are summed as floats: see ``moments``.
        """
        moments = [Moments(name, name in of_few) for name in self._columns]
        steps = _of_each(moments, lambda m: m.in_steps(self._columns[m.name], self.steps))
        taken = [self._key, *map(_q, self._plain)]
        query = f"(select {', '.join(taken)}, {_named(steps)} from ({once}) as once) as whole"
        if of_few:
            query = (
                f"(select *, {_named(_of_each(moments, Moments.parted))} from {query}) as parted"
            )
        made = _named({name: one.of_readings for name, one in self._sums(of_few).items()})
        return f"select {self._key}, {made} from {query} group by {self._key}"

    def merged(self, parts: str, of_few: Collection[str] = ()) -> str:
        """SELECT of the sums of a whole from those of its parts, the rows of a query."""
        sums = self._sums(of_few).items()
        made = _named({name: f"{one.merge}({_q(name)})" for name, one in sums})
        return f"select {self._key}, {made} from ({parts}) as parts group by {self._key}"

    def hours(self, sums: str, of_few: Collection[str] = ()) -> str:
        """SELECT of the hours, but for their revision, from the sums of a query."""
        told = {**{name: _q(name) for name in self._carried}, **self._told()}
        columns = {c.name: told[c.name] for c in self.table.columns if c.name != REVISION}
        query = f"({sums}) as summed"
        for step in (Moments.wholes, Moments.centre, Moments.shifted, Moments.means):
            if made := _of_each(self._moments(of_few), step):
                query = f"(select *, {_named(made)} from {query}) as {step.__name__}"
        return f"select {_named(columns)} from {query}"

    def statements(self, published: Table) -> Sequence[str | IfAny]:
        """Recompute those hours from all of their readings; one without readings goes."""
        self.require_sound(published)
        hours = self.table.name.sql("duckdb")
        columns = ", ".join([*(_q(column.name) for column in self.table.columns), BATCH_COLUMN])
        values = [_q(c.name) for c in self.table.columns]
        differs = " or ".join(f"h.{n} is distinct from n.{n}" for n in values if n != _q(REVISION))
        sensor, key = _q(self.sensor), f"({self._key})"
        return (
            f"{_TABLE} touched as from gone union {self.touched(published)}",
            *self._computed(published),
            f"{_TABLE} hour_changed as select n.*, "
            f"coalesce(h.{REVISION}, 0) + 1 as {REVISION}, $batch_id as {BATCH_COLUMN} "
            f"from hour_now as n left join {hours} as h on n.{sensor} = h.{sensor} "
            f"and n.hour_at = h.hour_at where h.{sensor} is null or {differs}",
            f"delete from {hours} where {key} in (select {key} from hour_changed) "
            f"or ({key} in (select {key} from touched) "
            f"and {key} not in (select {key} from hour_now))",
            f"insert into {hours} ({columns}) select {columns} from hour_changed",
        )

    def _computed(self, published: Table) -> Sequence[str | IfAny]:
        """The temporary table ``hour_now``: the hours of ``touched``."""
        readings = self._of_touched(published.name.sql("duckdb"))
        place = place_of(self.sequence, published, self.per_hour)
        counted, twins = self.once.least(readings), list[str]()
        if place:
            twins = [f"{_TABLE} hour_twins as {self.once.blocks(readings, place)}"]
            counted = self.once.outside(readings, place, "hour_twins")
        few = self.of_few(published)
        many = (
            f"{_TABLE} hour_many as select 1 as one from hour_now where readings > {FEW_READINGS}"
        )
        again = (many, IfAny("hour_many", self._now(counted))) if few else ()
        return (*twins, *self._now(counted, few), *again)

    def _now(self, counted: str, of_few: Collection[str] = ()) -> tuple[str, str]:
        return (
            f"{_TABLE} hour_sums as {self.sums(counted, of_few)}",
            f"{_TABLE} hour_now as {self.hours('select * from hour_sums', of_few)}",
        )

    def of_few(self, published: Table) -> list[str]:
        """Axes whose values, and an hour's number of them, are so small that floats are exact."""
        most = {
            axis: max(abs(column.minimum or 0), abs(column.maximum or 0)) * self.steps
            for axis, name in self.axes.items()
            for column in [published.by_name[name]]
        }
        is_few = self.per_hour <= FEW_READINGS
        return [axis for axis, steps in most.items() if is_few and steps <= FEW_STEPS]

    def lineage(self) -> Mapping[str, Sequence[str]]:
        """Which reading columns an hour's columns are computed of."""
        counted, axes = [self.sensor, self.sequence, self.instant], list(self.axes.values())
        of = {
            self.sensor: [self.sensor],
            "hour_at": [self.instant],
            "last_reading_at": [self.instant],
            "readings": counted,
            "expected_readings": counted,
            "completeness": counted,
            "rms_mm_s": [self.rms],
            "ppv_mm_s": axes,
            "peak_pvs_mm_s": [self.vector_sum] if self.vector_sum else axes,
            "battery_min_v": [self.battery],
            REVISION: [self.sequence, *self._columns.values()],
        }
        of |= {name: [self.instant, self.axes[axis]] for name, axis in self._of_spectrum.items()}
        for axis, column in self.axes.items():
            of |= {f"{axis}_{name}": [column] for name in _of_axis(Moments(axis), "1")}
        return {c.name: of.get(c.name, [c.name]) for c in self.table.columns}

    def _of_touched(self, raw: str) -> str:
        """The readings of the hours in ``touched``; to truncate each instant would cost more than
        all the sums.
        """
        at, columns = f"r.{_q(self.instant)}", [*self._plain, *self._columns.values()]
        used = dict.fromkeys([self.sensor, self.sequence, *columns])
        return (
            f"select {', '.join(f'r.{_q(name)}' for name in used)}, t.hour_at from {raw} as r "
            "join (select *, hour_at + interval 1 hour as ends_at from touched) as t "
            f"on r.{_q(self.sensor)} = t.{_q(self.sensor)} "
            f"and {at} >= t.hour_at and {at} < t.ends_at"
        )

    @property
    def _key(self) -> str:
        return f"{_q(self.sensor)}, hour_at"

    @property
    def _columns(self) -> dict[str, str]:
        """Columns of the readings that are computed with, by the name that they have here."""
        own = {"own_rms": self.rms, "own_pvs": self.vector_sum, "own_battery": self.battery}
        return {**self.axes, **{name: column for name, column in own.items() if column}}

    @property
    def _carried(self) -> list[str]:
        told = {*self._told(), REVISION}
        return [column.name for column in self.table.columns if column.name not in told]

    @property
    def _plain(self) -> list[str]:
        """Columns of the readings that are taken as they are."""
        return [self.instant, *self._carried]

    @property
    def _of_spectrum(self) -> dict[str, str]:
        return self.spectrum.columns(self.axes) if self.spectrum else {}

    def _moments(self, of_few: Collection[str] = ()) -> list[Moments]:
        return [Moments(axis, axis in of_few) for axis in self.axes]

    def _sums(self, of_few: Collection[str]) -> dict[str, Sum]:
        moments = self._moments(of_few)
        squares = " + ".join(f"{m.column('x')} * {m.column('x')}" for m in moments)
        own_rms = Moments("own_rms")
        sums = {
            "readings": Sum("sum", "count(*)"),
            "last_reading_at": Sum("max", f"max({_q(self.instant)})"),
            **{name: Sum("max", f"max({_q(name)})") for name in self._carried},
            **{f"{m.name}_{of}": one for m in moments for of, one in m.sums().items()},
            "pvs_squared": Sum("max", f"max({squares})"),
        }
        if self.rms:
            sums |= {f"own_rms_{of}": own_rms.sums()[of] for of in ("n", "s2")}
        if self.vector_sum:
            sums["own_pvs"] = Sum("max", 'max("own_pvs_x")')
        if self.battery:
            sums["own_battery"] = Sum("min", 'min("own_battery_x")')
        return sums

    def _told(self) -> dict[str, str]:
        """Columns of an hour that are computed, from ``_sums`` and what follows from them."""
        steps = f"cast({self.steps} as double)"
        peaks = ", ".join(m.peak for m in self._moments())
        of_axes = f"sqrt({exact('pvs_squared')}) / {steps}"
        told = {
            self.sensor: _q(self.sensor),
            "hour_at": "hour_at",
            "readings": "cast(readings as bigint)",
            "expected_readings": f"cast({self.per_hour} as bigint)",
            "completeness": f"cast(readings as double) / cast({self.per_hour} as double)",
            "last_reading_at": "last_reading_at",
            "ppv_mm_s": f"cast(greatest({peaks}) as double) / {steps}",
            "peak_pvs_mm_s": f"cast(own_pvs as double) / {steps}" if self.vector_sum else of_axes,
        }
        if self.rms:
            told["rms_mm_s"] = Moments("own_rms").rms(steps)
        if self.battery:
            told["battery_min_v"] = f"cast(own_battery as double) / {steps}"
        for axis in self._moments():
            told |= {f"{axis.name}_{of}": text for of, text in _of_axis(axis, steps).items()}
        return told


def _of_axis(axis: Moments, steps: str) -> dict[str, str]:
    peak, rms = f"cast({axis.peak} as double) / {steps}", axis.rms(steps)
    return {
        "rms_mm_s": rms,
        "peak_mm_s": peak,
        "peak_to_peak_mm_s": f"cast({axis.column('hi')} - {axis.column('lo')} as double) / {steps}",
        "crest_factor": f"{peak} / nullif({rms}, 0)",
        "kurtosis": axis.kurtosis,
    }
