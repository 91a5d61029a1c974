"""Task arithmetic on vectors: hand-computed, and independent of what does not matter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from talos_engine.merging.methods.sum import SumConfig, merge_by_sum
from talos_engine.merging.spec import MERGE_METHODS, MergeContext

FLOATS = st.floats(-1e3, 1e3, width=32)


def test_by_hand(make_vector: Callable[..., Any], merged: Callable[..., Any]) -> None:
    vectors = [make_vector({"a": [1, 2], "b": [3]}), make_vector({"a": [10, -2]})]
    found = merged("sum", vectors, [0.5, 2])
    assert {name: value.tolist() for name, value in found.items()} == {"a": [20.5, -3], "b": [1.5]}


def test_task_analogy(make_vector: Callable[..., Any], merged: Callable[..., Any]) -> None:
    """C + B − A."""
    a, b, c = (make_vector({"x": row}) for row in ([1, 0, 0], [0, 1, 0], [0, 0, 1]))
    assert merged("sum", [a, b, c], [-1, 1, 1])["x"].tolist() == [-1, 1, 1]


def test_the_parts_are_the_vectors(
    make_vector: Callable[..., Any], merged: Callable[..., Any]
) -> None:
    vectors = [make_vector({"a": [1.0]}), make_vector({"b": [2.0]})]
    first, second = merged("sum", vectors, [3.0, 1.0], parts=True)
    assert (first["a"].tolist(), second["b"].tolist()) == ([3.0], [2.0])


@given(st.lists(arrays(np.float32, (2, 3), elements=FLOATS), min_size=1, max_size=8), st.data())
def test_against_numpy(
    make_vector: Callable[..., Any], merged: Callable[..., Any], taus: list[Any], data: Any
) -> None:
    weights = [data.draw(FLOATS) for _ in taus]
    found = merged("sum", [make_vector({"a": tau}) for tau in taus], weights)["a"]
    exact = sum(
        np.float64(w) * tau.astype(np.float64) for w, tau in zip(weights, taus, strict=True)
    )
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8)


def test_weights_and_vectors_must_match(make_vector: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="zip"):
        merge_by_sum(SumConfig(), [make_vector({"a": [1]})], [1.0, 2.0], MergeContext()).models[0](
            "a"
        )


def test_it_is_registered() -> None:
    assert MERGE_METHODS.get("sum").run is merge_by_sum
    assert MERGE_METHODS.get("sum").configure({}) == SumConfig()
