"""Grids by hand, ties, and the rules of choice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.errors import DataError, OptionError
from talos_engine.evaluation.coefficients import (
    GRIDS,
    CurvePoint,
    choose_highest,
    choose_lowest,
    coefficient_grid,
)

PLAIN = (
    0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
    0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1,
)  # fmt: skip


def test_plain_is_21_points_however_sparse() -> None:
    assert coefficient_grid("plain", [0.9, 0.5]) == PLAIN


def test_paper_is_stretched_by_the_smallest_inverse_density() -> None:
    assert coefficient_grid("paper", [0.9]) == tuple(i / 2 for i in range(21)), (
        "to 10 in steps of .5"
    )
    assert coefficient_grid("paper", [0.9, 0.5]) == tuple(round(i / 10, 10) for i in range(21))
    assert coefficient_grid("paper", [0.9, 0.0]) == PLAIN, "a dense vector is not stretched"
    assert coefficient_grid("paper", [0.0]) == PLAIN


def test_union_holds_both_once_in_order() -> None:
    found = coefficient_grid("union", [0.9])
    assert found == tuple(sorted({*PLAIN, *(i / 2 for i in range(21))}))
    assert len(found) == 21 + 21 - 3, "0, 0.5 and 1 are in both"
    assert coefficient_grid("union", [0.0]) == PLAIN


@given(st.sampled_from(GRIDS), st.lists(st.floats(0, 0.99), min_size=1, max_size=4))
def test_grids_ascend_from_zero_and_reach_one(kind: str, sparsities: list[float]) -> None:
    grid = coefficient_grid(kind, sparsities)
    assert grid[0] == 0
    assert grid[-1] >= 1 - 1e-9
    assert all(low < high for low, high in itertools.pairwise(grid))


@pytest.mark.parametrize("sparsity", [1.0, -0.1, float("nan")])
def test_sparsities_have_a_range(sparsity: float) -> None:
    with pytest.raises(OptionError):
        coefficient_grid("paper", [0.5, sparsity])


def test_unknown_grids_are_refused() -> None:
    with pytest.raises(OptionError, match="paper, plain, union"):
        coefficient_grid("fine", [0.0])


def curve(*points: tuple[float, float, bool]) -> list[CurvePoint]:
    return [CurvePoint(coef, {}, objective, ok) for coef, objective, ok in points]


def test_the_highest_and_the_lowest_by_hand() -> None:
    points = curve((0, 0.2, True), (1, 0.9, True), (2, 0.1, True))
    assert choose_highest(points).coef == 1
    assert choose_lowest(points).coef == 2


def test_ties_go_to_the_smallest_coefficient_whatever_the_order() -> None:
    points = curve((2, 0.5, True), (1, 0.5, True), (3, 0.5, True))
    assert choose_highest(points).coef == 1
    assert choose_lowest(points).coef == 1


def test_infeasible_points_are_never_chosen() -> None:
    points = curve((0, 0.5, True), (1, 0.9, False), (2, 0.0, False))
    assert choose_highest(points).coef == 0
    assert choose_lowest(points).coef == 0
    with pytest.raises(DataError, match="no coefficient"):
        choose_lowest(curve((1, 0.5, False)))
