"""Sums of the first four powers of whole numbers, exact: numpy that never rounds."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST = 1 << 23
"""How far from zero a number may be."""

_FEW, _FEW_TERMS = 1 << 17, 1 << 19
"""Of so small numbers, so many products are added as floats without a sum beyond 2^53 units."""
_TERMS = 1 << 16
"""How many products below 2^47 an int64 adds."""
_TO_WHOLE = 1.5 * 2**52
"""A float that was added to it is whole, to the nearest."""


def power_sums(x: Floats) -> tuple[int, int, int, int]:
    """Sums of ``x``, its squares, third and fourth powers; ``x`` are whole numbers within ``MOST``.

    Raises ``ValueError`` for one beyond.
    """
    most = float(np.abs(x).max(initial=0.0))
    if not most <= MOST:
        raise ValueError("a value is beyond what the contract of readings may allow")
    of_part, terms = (_as_floats, _FEW_TERMS) if most <= _FEW else (_as_integers, _TERMS)
    found = [of_part(x[start : start + terms]) for start in range(0, x.size, terms)]
    first, second, third, fourth = (sum(one[power] for one in found) for power in range(4))
    return first, second, third, fourth


def whole(x: npt.NDArray[Any]) -> Floats:
    """The whole numbers nearest to ``x``, halves to the even one, of what is within 2^51."""
    return np.asarray((x + _TO_WHOLE) - _TO_WHOLE, np.float64)


def _as_floats(x: Floats) -> tuple[int, int, int, int]:
    """Squares are a multiple of 2^17 and a rest, so that no sum of products needs 54 bits."""
    squares = x * x
    high = (squares + _TO_WHOLE * 131072.0) - _TO_WHOLE * 131072.0
    low = squares - high
    fourth = _dot(high, high) + 2 * _dot(high, low) + _dot(low, low)
    return int(x.sum()), int(squares.sum()), _dot(high, x) + _dot(low, x), fourth


def _as_integers(x: Floats) -> tuple[int, int, int, int]:
    """Squares are ``high << 23 | low``, so that no sum of products needs 64 bits."""
    numbers = x.astype(np.int64)
    squares = numbers * numbers
    high, low = squares >> 23, squares & (MOST - 1)
    fourth = (_dot(high, high) << 46) + (_dot(high, low) << 24) + _dot(low, low)
    third = (_dot(high, numbers) << 23) + _dot(low, numbers)
    return int(numbers.sum()), int(squares.sum()), third, fourth


def _dot(one: Any, other: Any) -> int:
    return int(np.einsum("i,i->", one, other))  # no library whose threads wait for each other
