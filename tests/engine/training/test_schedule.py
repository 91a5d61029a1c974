"""Schedules by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.training.schedule import SCHEDULES, learning_rate_at


def rates(schedule: str, *, steps: int, warmup: int, peak: float = 1.0) -> list[float]:
    return [
        learning_rate_at(step, steps=steps, peak=peak, warmup=warmup, schedule=schedule)
        for step in range(steps)
    ]


def test_constant_by_hand() -> None:
    assert rates("constant", steps=5, warmup=2, peak=0.4) == [0.2, 0.4, 0.4, 0.4, 0.4]
    assert rates("constant", steps=3, warmup=0) == [1, 1, 1]


def test_cosine_by_hand() -> None:
    half = math.sqrt(0.5)
    expected = [0.5, 1.0, 1.0, (1 + half) / 2, 0.5, (1 - half) / 2]
    assert rates("cosine", steps=6, warmup=2) == pytest.approx(expected)
    assert rates("cosine", steps=2, warmup=0, peak=4.0) == pytest.approx([4.0, 2.0])


def test_a_run_shorter_than_its_warmup_only_warms_up() -> None:
    for schedule in SCHEDULES:
        assert rates(schedule, steps=3, warmup=10) == pytest.approx([0.1, 0.2, 0.3])


def test_all_steps_in_warmup_and_a_single_step() -> None:
    assert rates("cosine", steps=2, warmup=2) == [0.5, 1.0]
    assert rates("cosine", steps=1, warmup=0) == [1.0]


@given(
    st.integers(1, 200),
    st.integers(0, 250),
    st.floats(1e-6, 10),
    st.sampled_from(SCHEDULES),
)
def test_rates_are_positive_never_above_the_peak_and_single_humped(
    steps: int, warmup: int, peak: float, schedule: str
) -> None:
    found = rates(schedule, steps=steps, warmup=warmup, peak=peak)
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in found)
    rising, falling = found[:warmup], found[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
