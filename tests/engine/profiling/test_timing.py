"""Summaries of timings, by hand."""

from __future__ import annotations

import pytest

from talos_engine.profiling.timing import TimingSummary, summarize_timings


def test_by_hand() -> None:
    """1, 2, 6: mean 3, squares of deviations 4 + 1 + 9 = 14 over 2, median 2."""
    found = summarize_timings([2.0, 6.0, 1.0])
    assert found.mean == 3.0
    assert found.std == pytest.approx(7**0.5)
    assert found.median == 2.0
    assert found.n == 3


def test_an_even_number_has_the_middle_between_two() -> None:
    assert summarize_timings([4.0, 1.0, 2.0, 3.0]).median == 2.5


def test_a_single_timing_has_no_spread() -> None:
    assert summarize_timings([0.5]) == TimingSummary(0.5, 0.0, 0.5, 1)


def test_nothing_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="data point"):
        summarize_timings([])
