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


def _as_floats(x: Floats) -> tuple[int, int, int, int]:
    squares = x * x
    high = np.floor(squares / 131072.0)
    return _summed(x, squares, high, squares - high * 131072.0, 17)


def _as_integers(x: Floats) -> tuple[int, int, int, int]:
    whole = x.astype(np.int64)
    squares = whole * whole
    return _summed(whole, squares, squares >> 23, squares & (MOST - 1), 23)


def _summed(x: Any, squares: Any, high: Any, low: Any, bits: int) -> tuple[int, int, int, int]:
    """Squares are ``high << bits | low``, so that no product of parts is too large to add."""
    third = (int(high @ x) << bits) + int(low @ x)
    fourth = (int(high @ high) << 2 * bits) + (int(high @ low) << bits + 1) + int(low @ low)
    return int(x.sum()), int(squares.sum()), third, fourth
