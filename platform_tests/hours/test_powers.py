"""Sums of powers are those of Python's own integers, at every size and number of terms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from malacate.hours.powers import MOST, power_sums


def exactly(x: list[int]) -> tuple[int, ...]:
    return tuple(sum(one**power for one in x) for power in (1, 2, 3, 4))


@given(st.sampled_from([3, 1 << 16, 1 << 17, (1 << 17) + 1, MOST]), st.data())
def test_sums_are_exact(most: int, data: st.DataObject) -> None:
    x = data.draw(st.lists(st.integers(-most, most), max_size=200))
    assert power_sums(np.array(x, float)) == exactly(x)


@pytest.mark.parametrize(("most", "terms"), [(1 << 17, (1 << 19) + 7), (MOST, (1 << 16) + 7)])
def test_as_many_of_the_largest_as_are_added_at_once_lose_nothing(most: int, terms: int) -> None:
    x = [most if n % 3 else 1 - most for n in range(terms)]
    assert power_sums(np.array(x, float)) == exactly(x)


@pytest.mark.parametrize("x", [MOST + 1.0, float("nan"), float("inf")])
def test_what_cannot_be_summed_exactly_is_refused(x: float) -> None:
    with pytest.raises(ValueError, match="beyond what the contract"):
        power_sums(np.array([x]))
