"""Order statistics against a plain sort, over many tensors of one vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from talos_engine.merging.ranking import (
    MagnitudeRanking,
    keep_from_rank,
    keep_largest,
    touched_entries,
)

FEW = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 1.0, 1e-40, -1e-40])


@st.composite
def tensors(draw: Any) -> dict[str, NDArray[Any]]:
    """Up to five tensors, 0-d and empty ones among them, subnormal and huge numbers too."""
    wide = draw(st.booleans())
    floats = st.floats(width=64 if wide else 32, allow_nan=False, allow_infinity=False)
    elements = draw(st.sampled_from([FEW if wide else st.sampled_from([-1.0, 0.0, 0.5]), floats]))
    shapes = array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    dtype = np.float64 if wide else np.float32
    return {
        name: draw(arrays(dtype, draw(shapes), elements=elements))
        for name in "abcde"[: draw(st.integers(1, 5))]
    }


def magnitudes(tau: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    return np.concatenate([np.abs(tau[name]).reshape(-1).astype(np.float64) for name in tau])


@given(tensors(), st.sampled_from(["dense", "sparse"]))
def test_every_rank_is_that_of_a_sort(
    make_vector: Any, tau: dict[str, NDArray[Any]], storage: str
) -> None:
    ranking = MagnitudeRanking(make_vector(tau, storage=storage))
    ordered = np.sort(magnitudes(tau))
    for rank, value in enumerate(ordered, start=1):
        assert ranking.kth_smallest(rank, len(ordered)) == value


@given(tensors(), st.data())
def test_a_cut_takes_exactly_as_many_as_asked(
    make_vector: Any, tau: dict[str, NDArray[Any]], data: Any
) -> None:
    values = magnitudes(tau)
    count = data.draw(st.integers(0, len(values)))
    cut = MagnitudeRanking(make_vector(tau)).cut(count, len(values))
    above = np.concatenate(
        [
            cut.above(name, torch.from_numpy(np.array(np.abs(tau[name]), np.float64)))
            .numpy()
            .reshape(-1)
            for name in sorted(tau)
        ]
    )
    order = np.lexsort((np.arange(len(values)), -values))
    expected = np.zeros(len(values), dtype=bool)
    expected[order[:count]] = True
    assert np.array_equal(above, expected)


def test_more_entries_than_are_stored_are_zeros(make_vector: Any) -> None:
    ranking = MagnitudeRanking(make_vector({"a": [3.0, 0.0, -1.0]}, storage="sparse"))
    assert [ranking.kth_smallest(rank, 5) for rank in range(1, 6)] == [0, 0, 0, 1, 3]


def test_touched_tensors_count_once(make_vector: Any) -> None:
    rankings = [
        MagnitudeRanking(make_vector(each))
        for each in (
            {"a": [1.0, 0.0], "b": [[0.0, 0.0]], "c": 1.0},
            {"a": [0.0, 1.0], "d": [1.0, 2.0, 3.0]},
        )
    ]
    assert touched_entries(rankings) == 2 + 1 + 3
    assert touched_entries([]) == 0


@pytest.mark.parametrize("scope", ["tensor", "row"])
@given(
    values=arrays(np.float32, (3, 4), elements=st.sampled_from([0.0, 1.0, 2.0])),
    count=st.integers(0, 12),
)
def test_within_tensors_and_rows(scope: str, values: NDArray[Any], count: int) -> None:
    width = 4 if scope == "row" else 12
    count = min(count, width)
    magnitude = torch.from_numpy(values)
    largest = keep_largest(magnitude, scope, lambda size: count if size == width else -1).numpy()
    upper = keep_from_rank(magnitude, scope, lambda size: size - count).numpy()
    for row, top, up in zip(
        *(each.reshape(-1, width) for each in (values, largest, upper)), strict=True
    ):
        order = np.lexsort((np.arange(width), -row))[:count]
        assert sorted(np.nonzero(top)[0]) == sorted(order)
        line = np.sort(row)[width - count - 1] if count < width else 0
        assert np.array_equal(up, row >= line)


def test_scalars_and_empty_tensors() -> None:
    scalar, empty = torch.tensor(2.0), torch.empty(0, 3)
    for scope in ("tensor", "row"):
        assert keep_largest(scalar, scope, lambda size: size).item() is True
        assert keep_largest(scalar, scope, lambda size: 0).item() is False
        assert keep_from_rank(scalar, scope, lambda size: 1).item() is True
        assert keep_largest(empty, scope, lambda size: 1).shape == (0, 3)
        assert keep_from_rank(empty, scope, lambda size: 1).shape == (0, 3)


@pytest.mark.slow
def test_more_entries_than_quantile_can_take(make_vector: Any) -> None:
    """``torch.quantile`` refuses more than 2^24 entries."""
    values = np.random.default_rng(0).permutation(np.arange(2**24 + 10, dtype=np.float32))
    values[values > 2**24 - 1] = 0.5  # float32 counts no further
    ranking = MagnitudeRanking(make_vector({"a": values}))
    ordered = np.sort(values)
    for rank in (1, 2**23, len(values)):
        assert ranking.kth_smallest(rank, len(values)) == ordered[rank - 1]
    kept = keep_largest(torch.from_numpy(values), "tensor", lambda size: 1000)
    assert int(kept.sum()) == 1000
