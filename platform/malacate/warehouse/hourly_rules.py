"""What a contract must promise before hours are computed of its readings."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from malacate.contracts.table import Column, Table
from malacate.errors import ContractError

REVISION = "revision"
_WHOLE = ("readings", "expected_readings", REVISION)
_INSTANTS = ("hour_at", "last_reading_at")


_MOST_HZ = 10_000.0
"""36 million samples an hour: what fits into memory."""


@dataclass(frozen=True)
class Spectrum:
    """What is told of an hour's frequencies, by engines that see samples in their order.

    ``hz`` is how often a sensor samples; ``bands`` are frequencies from and below, in Hz. An axis
    has ``<axis>_dominant_hz``, and for each band ``<axis>_<band>_energy_mm2_s2``; ``hours.grid``
    says what they are.
    """

    hz: float
    bands: Mapping[str, tuple[float, float]] = field(hash=False)

    def columns(self, axes: Iterable[str]) -> dict[str, str]:
        """The columns that it adds, and the axis of each."""
        names = ["dominant_hz", *(f"{band}_energy_mm2_s2" for band in self.bands)]
        return {f"{axis}_{name}": axis for axis in axes for name in names}

    def require_sound(self, hours: Table) -> None:
        """Raise ``ContractError`` for more samples than an hour can have, or a band beyond what the
        rate can tell.
        """
        if self.hz > _MOST_HZ:
            raise ContractError(
                "no sensor samples that often",
                "Declare how many samples a second has.",
                source=str(hours.name),
                expected=f"at most {_MOST_HZ:g} Hz",
                actual=f"{self.hz:g} Hz",
                reason="bad_rate",
            )
        for name, (low, high) in self.bands.items():
            if not 0 <= low < high <= self.hz / 2:
                raise ContractError(
                    f"the band {name!r} is none that samples can tell",
                    "Give its lowest frequency and its highest, up to half the sample rate.",
                    source=str(hours.name),
                    expected=f"within 0 and {self.hz / 2:g} Hz",
                    actual=f"{low:g} to {high:g} Hz",
                    reason="bad_band",
                )


def steps_of(resolution: float, hours: Table) -> int:
    """Steps of the resolution in a unit. Raises ``ContractError`` if it is no whole number."""
    steps = round(1 / resolution) if resolution > 0 else 0
    if steps < 1 or abs(steps * resolution - 1) > 1e-9:
        raise ContractError(
            "a unit is not a whole number of steps of the resolution",
            "Declare 1, 0.1, 0.05, 0.001 or the like.",
            source=str(hours.name),
            actual=str(resolution),
            reason="bad_resolution",
        )
    return steps


def require_bounded(readings: Table, names: Iterable[str], most: float) -> None:
    """Raise ``ContractError`` unless the rules keep these columns' values within ``most``."""
    for name in names:
        column = readings.by_name.get(name)
        bounds = (column.minimum, column.maximum) if column else (None, None)
        if any(bound is None or abs(bound) > most for bound in bounds):
            raise ContractError(
                "the contract does not bound a value that hours are computed of",
                f"Give it a minimum and a maximum in {readings.origin or 'the contract'}, or "
                "declare a coarser resolution.",
                source=str(readings.name),
                object=name,
                expected=f"bounds within {-most:g} and {most:g}",
                actual=f"{bounds[0]} and {bounds[1]}",
                reason="unbounded_value",
            )


def require_count(per_hour: int, most: int, hours: Table) -> None:
    """Raise ``ContractError`` if an hour cannot have that many readings."""
    if not 0 < per_hour <= most:
        raise ContractError(
            "readings of an hour cannot be that many",
            "Declare how many an hour without a gap has.",
            source=str(hours.name),
            expected=f"1 to {most}",
            actual=str(per_hour),
            reason="bad_per_hour",
        )


def require_computed(hours: Table, computed: Iterable[str], readings: Table) -> None:
    """Raise ``ContractError`` for a column of hours that is neither computed nor a reading's."""
    known = {*computed, *readings.by_name}
    lacking = [column.name for column in hours.columns if column.name not in known]
    if lacking:
        raise ContractError(
            "the contract of the hours has a column that is not computed",
            "Remove it, correct its name, or add it to the readings to carry it over.",
            source=str(hours.name),
            object=", ".join(lacking),
            expected=", ".join(sorted(computed)),
            reason="unknown_column",
        )


def require_known(readings: Table, names: Iterable[str], instant: str) -> None:
    """Raise ``ContractError`` unless each reading tells whose it is, which, and of when."""
    for name in names:
        column = readings.by_name.get(name)
        if column is None or not column.required:
            raise ContractError(
                f"a reading need not tell its {name!r}, so nobody knows if it is there twice",
                f"Give it `required: true` in {readings.origin or 'the contract'}, or correct the "
                "name that is declared.",
                source=str(readings.name),
                object=name,
                expected="a required column",
                actual="one that may be null" if column else "none",
                reason="not_required",
            )
    _require_type(readings, readings.by_name[instant], _is_instant, "a timestamptz")


def require_typed(hours: Table, readings: Table, sensor: str, computed: Collection[str]) -> None:
    """Raise ``ContractError`` unless a row of hours is known by sensor and hour, and each column
    has the type of what it is to hold: another would be taken as changed each time.
    """
    if set(hours.key) != {sensor, "hour_at"} or REVISION not in hours.by_name:
        raise ContractError(
            "the contract of the hours lacks what a row is known by",
            f"Give it the key ({sensor}, hour_at) and a column {REVISION}.",
            source=str(hours.name),
            expected=f"{sensor}, hour_at",
            actual=", ".join(hours.key),
            reason="bad_hours_key",
        )
    for column in hours.columns:
        if column.name in _INSTANTS:
            _require_type(hours, column, _is_instant, "a timestamptz")
        elif column.name in _WHOLE:
            _require_type(hours, column, pa.types.is_integer, "a whole number")
        elif column.name == sensor or column.name not in computed:
            read = readings.by_name[column.name].type
            _require_type(hours, column, read.equals, f"{read}, as in the readings")
        else:
            _require_type(hours, column, pa.types.is_float64, "a double")


def _is_instant(kind: pa.DataType) -> bool:
    return pa.types.is_timestamp(kind) and kind.tz is not None


def _require_type(
    table: Table, column: Column, is_right: Callable[[pa.DataType], bool], expected: str
) -> None:
    if not is_right(column.type):
        raise ContractError(
            f"the column {column.name!r} has a type that hours cannot be computed with",
            f"Correct its physicalType in {table.origin or 'the contract'}.",
            source=str(table.name),
            object=column.name,
            expected=expected,
            actual=str(column.type),
            reason="bad_type",
        )
