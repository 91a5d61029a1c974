"""Intervals and spreads against hand-computed values, an oracle and properties."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.evaluation.uncertainty import Spread, mean_and_std, wilson_interval


def test_ten_of_twenty_by_hand() -> None:
    # centre (0.5 + 1.9207/20) / (1 + 3.8415/20) = 0.5; half = 1.95996 / 1.19207
    # · √(0.25/20 + 3.8415/1600) = 0.20070
    low, high = wilson_interval(10, 20)
    assert low == pytest.approx(0.29930, abs=5e-6)
    assert high == pytest.approx(0.70070, abs=5e-6)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bounds_solve_the_score_equation(counts: tuple[int, int]) -> None:
    """A bound p is where the observed share lies 1.96 standard errors of p away."""
    correct, n = counts
    low, high = wilson_interval(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            z = abs(correct / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert z == pytest.approx(1.959963984540054, rel=1e-6)
    assert (low == 0) == (correct == 0)
    assert (high == 1) == (correct == n)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_right_and_wrong_are_mirror_images(counts: tuple[int, int]) -> None:
    correct, n = counts
    low, high = wilson_interval(correct, n)
    mirrored = wilson_interval(n - correct, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored, abs=1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (-1, 4), (5, 4)])
def test_what_is_no_share_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        wilson_interval(correct, n)


def test_mean_and_sample_standard_deviation_by_hand() -> None:
    assert mean_and_std([0.5, 0.7]) == Spread(0.6, pytest.approx(math.sqrt(0.02)), 2)


def test_one_value_has_no_spread() -> None:
    assert mean_and_std([0.25]) == Spread(0.25, None, 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12).flatmap(
    lambda values: st.tuples(st.just(values), st.permutations(values))
))  # fmt: skip
def test_the_order_changes_nothing(both: tuple[list[float], list[float]]) -> None:
    assert mean_and_std(both[0]) == mean_and_std(both[1])


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf]])
def test_what_has_no_mean_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="mean"):
        mean_and_std(values)
