"""Power sums of whole numbers and the moments they tell: SQL expressions of DuckDB, no table here.

The numbers are values in steps of their resolution, so every sum is exact: no order, no number of
threads and no batching changes a bit of it. Floats come in at the end, in one formula whose every
step IEEE 754 rounds correctly, from integers that were made floats by way of text, which each
engine rounds correctly too: so engines agree to the last bit.

Decimals of 38 digits hold the sums (BigQuery's are wider). With values within ``MOST_STEPS`` and
``MOST_READINGS`` of them, no sum and no term of ``_SHIFTED`` reaches 15 * 2^30 * 2^92 < 10^38. A
sum that did would end the statement with an error; it is never wrapped or rounded.

Floats add several times faster, and as exactly while no sum is more than 2^53 units. Within
``FEW_STEPS`` and ``FEW_READINGS`` none is, if a square is parted into ``b``, a multiple of 2^17,
and the rest of it, from -2^16 to 2^16.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from malacate.names import quote

MOST_STEPS = 1 << 23
"""How far from zero a value may be, in steps of its resolution: what 24 bits tell apart."""

MOST_READINGS = 1 << 30
"""How many values may be summed."""

FEW_STEPS, FEW_READINGS = 1 << 17, 1 << 19
"""Of so small values, so many can be summed as floats: those of a digitizer of 16 bits, at 100 Hz
for more than an hour."""

_WIDE = "decimal(38, 0)"
_SUMS = {
    "n": ("sum", "count({x})"),
    "lo": ("min", "min({x})"),
    "hi": ("max", "max({x})"),
    "s1": ("sum", "sum({x})"),
    "s2": ("sum", f"sum(cast({{x}} * {{x}} as {_WIDE}))"),
    "s3": ("sum", f"sum(cast({{x}} * {{x}} as {_WIDE}) * {{x}})"),
    "s4": ("sum", f"sum(cast({{x}} * {{x}} as {_WIDE}) * ({{x}} * {{x}}))"),
}
_FLOAT_SUMS = {
    "n": ("sum", "count({x})"),
    "least": ("min", "min({x})"),
    "most": ("max", "max({x})"),
    "f1": ("sum", "sum({x})"),
    "f2": ("sum", "sum({x} * {x})"),
    "bx": ("sum", "sum({b} * {x})"),
    "rx": ("sum", "sum(({x} * {x} - {b}) * {x})"),
    "bb": ("sum", "sum({b} * {b})"),
    "br": ("sum", "sum({b} * ({x} * {x} - {b}))"),
    "rr": ("sum", "sum(({x} * {x} - {b}) * ({x} * {x} - {b}))"),
}
_TO_UNITS = "8.85443715538058477568e20"
"""1.5 * 2^69: a float that was added to it is a multiple of 2^17, to the nearest."""
_FROM_FLOATS = {
    "lo": "cast({least} as bigint)",
    "hi": "cast({most} as bigint)",
    "s1": f"cast(cast({{f1}} as bigint) as {_WIDE})",
    "s2": f"cast(cast({{f2}} as bigint) as {_WIDE})",
    "s3": f"cast(cast({{bx}} / 131072 as bigint) as {_WIDE}) * 131072 + cast({{rx}} as bigint)",
    "s4": f"cast(cast({{bb}} / 17179869184 as bigint) as {_WIDE}) * 17179869184"
    f" + cast(cast({{br}} / 131072 as bigint) as {_WIDE}) * 262144 + cast({{rr}} as bigint)",
}
_SHIFTED = {
    "t1": "{s1} - {n} * {c}",
    "t2": "{s2} + {c} * ({n} * {c} - 2 * {s1})",
    "t3": "{s3} + {c} * (-3 * {s2} + {c} * (3 * {s1} - {n} * {c}))",
    "t4": "{s4} + {c} * (-4 * {s3} + {c} * (6 * {s2} + {c} * ({n} * {c} - 4 * {s1})))",
}


def exact(expression: str) -> str:
    """A whole number as the float nearest to it, the same on each engine."""
    return f"cast(cast({expression} as varchar) as double)"


@dataclass(frozen=True)
class Sum:
    """An aggregate over readings, and the function that makes a whole's of those of its parts."""

    merge: str
    of_readings: str


@dataclass(frozen=True)
class Moments:
    """Of the whole numbers in a column ``<name>_x``: the columns ``<name>_s1`` and so on.

    ``sums`` are over zero, so those of two parts without a reading in common merge by addition.
    They are shifted to a whole number next to their mean, ``c``, before they become floats: a mean
    that is large against the spread costs no digit. Those ``of_few`` are floats until ``wholes``.
    """

    name: str
    of_few: bool = False

    def column(self, of: str) -> str:
        """The quoted name of one of its columns."""
        return quote(f"{self.name}_{of}", "duckdb")

    def in_steps(self, column: str, steps: int) -> Mapping[str, str]:
        """The columns that are summed, of a column of values."""
        value = f"round(cast({quote(column, 'duckdb')} as double) * {steps})"
        return {"x": value if self.of_few else f"cast({value} as bigint)"}

    def parted(self) -> Mapping[str, str]:
        """What else is summed, of ``in_steps``."""
        x = self.column("x")
        return {"b": f"{x} * {x} + {_TO_UNITS} - {_TO_UNITS}"} if self.of_few else {}

    def sums(self) -> Mapping[str, Sum]:
        """Count, least, largest, sums of the first four powers; of few, what these are made of."""
        sums = _FLOAT_SUMS if self.of_few else _SUMS
        names = {of: self.column(of) for of in "xb"}
        return {of: Sum(merge, text.format(**names)) for of, (merge, text) in sums.items()}

    def wholes(self) -> Mapping[str, str]:
        """Least, largest and sums as whole numbers, of ``sums`` of few; else they are."""
        names = {of: self.column(of) for of in _FLOAT_SUMS}
        found = {of: text.format(**names) for of, text in _FROM_FLOATS.items()}
        return found if self.of_few else {}

    def centre(self) -> Mapping[str, str]:
        """The whole number ``c`` near the mean, of ``sums``."""
        ratio = f"cast({self.column('s1')} as double) / nullif({self.column('n')}, 0)"
        return {"c": f"cast(round({ratio}) as bigint)"}

    def shifted(self) -> Mapping[str, str]:
        """Sums of the powers of ``x - c``, of ``sums`` and ``centre``: whole numbers still."""
        names = {of: self.column(of) for of in (*_SUMS, "c")}
        return {of: text.format(**names) for of, text in _SHIFTED.items()}

    def means(self) -> Mapping[str, str]:
        """Means of the powers of ``x - c``, of ``shifted``."""
        count = f"nullif(cast({self.column('n')} as double), 0)"
        return {f"m{i}": f"{exact(self.column(f't{i}'))} / {count}" for i in (1, 2, 3, 4)}

    def rms(self, steps: str) -> str:
        """Root of the mean of the squares, in units of ``steps``, of ``sums``."""
        count = f"nullif(cast({self.column('n')} as double), 0)"
        return f"sqrt({exact(self.column('s2'))} / ({count} * {steps} * {steps}))"

    @property
    def peak(self) -> str:
        """The largest absolute value, in steps, of ``sums``."""
        return f"greatest(abs({self.column('lo')}), abs({self.column('hi')}))"

    @property
    def kurtosis(self) -> str:
        """``m4 / m2^2`` about the mean, of ``means``; null if all values are equal."""
        d, p2, p3, p4 = (self.column(f"m{i}") for i in (1, 2, 3, 4))
        m2 = f"({p2} - {d} * {d})"
        m4 = f"({p4} - 4 * {d} * {p3} + 6 * {d} * {d} * {p2} - 3 * {d} * {d} * {d} * {d})"
        return f"{m4} / nullif({m2} * {m2}, 0)"
