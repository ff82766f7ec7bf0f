"""How many histories a property is tried on, and how they are drawn: said here and nowhere else.

Lives of a table are drawn as seeds with a length and lie side by side in one table, told apart by
the first column of its key, so that one fold answers for many. A failure shrinks to one short life.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from platform_tests.length import IS_LONG

MANY = 2000
"""Histories of each property, at least."""

SIDE_BY_SIDE = 20
"""Lives in one example."""

FEWER = 1 if IS_LONG else 10
"""What the number of histories is divided by where one costs more than about 15 ms."""

Lives = list[tuple[int, int]]
"""A seed and a number of steps for each."""

lives = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 15)),
    min_size=SIDE_BY_SIDE,
    max_size=SIDE_BY_SIDE,
)
seeds = st.integers(0, 2**32 - 1)
Check = Callable[..., None]


def tried(check: Check, together: int = 1, fewer: int = 1, **drawn: Any) -> Check:
    """A test of ``check`` on ``MANY`` histories, ``together`` of them in an example."""
    run = settings(
        max_examples=-(-MANY // together // fewer),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    found: Check = run(given(**drawn)(check))
    return found


def briefly(check: Check, examples: int = 60, **drawn: Any) -> Check:
    """The same on a few histories, always the same ones, and without shrinking."""
    run = settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    found: Check = run(given(**drawn)(check))
    return found
