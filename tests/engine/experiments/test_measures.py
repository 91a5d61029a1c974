from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from talos_engine.experiments.measures import interval, missing, summarize, wilson


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_is_scipys(n: int, share: float) -> None:
    correct = round(share * n)
    expected = stats.binomtest(correct, n).proportion_ci(method="wilson")
    assert wilson(correct / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_the_interval_of_a_mean_over_tasks_covers_what_it_should() -> None:
    """Simulated: mean accuracy over three tasks of 200, 50 and 400 examples."""
    rng = np.random.default_rng(0)
    rates, sizes = np.array([0.9, 0.5, 0.3]), np.array([200, 50, 400])
    truth, inside = rates.mean(), 0
    for draws in rng.binomial(sizes, rates, (2000, 3)):
        low, high = interval([list(zip(draws.tolist(), sizes.tolist(), strict=True))])
        inside += low <= truth <= high
    assert 0.93 < inside / 2000 < 0.97


def test_seeds_share_the_test_examples_and_do_not_narrow_the_interval() -> None:
    one = [(80, 100), (30, 50)]
    assert interval([one, one, one]) == pytest.approx(interval([one]))
    assert interval([[(80, 100)], [(60, 100)]]) == pytest.approx(wilson(0.7, 100))


def test_cells() -> None:
    cell = summarize([0.5, 0.7, 0.9], [[(5, 10)], [(7, 10)], [(9, 10)]], 0.8, "so")
    assert cell["mean"] == pytest.approx(0.7)
    assert cell["std"] == pytest.approx(statistics.stdev([0.5, 0.7, 0.9]))
    assert (cell["n"], cell["values"], cell["paper"]) == (3, [0.5, 0.7, 0.9], 0.8)
    assert (cell["low"], cell["high"]) == pytest.approx(wilson(0.7, 10))
    assert cell["note"] == "so"
    alone = summarize([0.5])
    assert alone["std"] is None
    assert "low" not in alone
    assert missing("why", 0.3)["mean"] is None
