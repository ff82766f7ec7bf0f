"""What the checks compute by themselves."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from malacate.orchestration.checks import LEARNED_LEAST, usual_least

LENGTHS = st.lists(st.integers(0, 10**6), min_size=LEARNED_LEAST, max_size=50)


@given(LENGTHS)
def test_files_as_long_as_their_mean_are_usual(rows: list[int]) -> None:
    assert usual_least(rows) <= sum(rows) / len(rows)


@given(st.integers(1, 10**6), st.integers(LEARNED_LEAST, 50))
def test_of_files_that_are_all_alike_a_fifth_may_be_missing(rows: int, files: int) -> None:
    assert usual_least([rows] * files) == pytest.approx(0.8 * rows)


@given(st.lists(st.integers(0, 10**6), max_size=LEARNED_LEAST - 1))
def test_a_few_files_teach_nothing(rows: list[int]) -> None:
    assert usual_least(rows) == 0


def test_files_of_every_length_teach_nothing() -> None:
    assert usual_least([1, 10, 100, 1000, 10_000]) == 0
