"""The mean of the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


def test_by_hand(make_vector: Callable[..., Any], merged: Callable[..., Any]) -> None:
    """A tensor that one vector leaves alone counts as 0 for it."""
    vectors = [make_vector({"a": [1, 2], "b": [3]}), make_vector({"a": [5, -2]})]
    found = merged("mean", vectors)
    assert {name: value.tolist() for name, value in found.items()} == {"a": [3, 0], "b": [1.5]}


def test_the_parts_are_the_vectors(
    make_vector: Callable[..., Any], merged: Callable[..., Any]
) -> None:
    vectors = [make_vector({"a": [4.0]}), make_vector({"a": [2.0]})]
    assert [part["a"].tolist() for part in merged("mean", vectors, parts=True)] == [[4.0], [2.0]]


@given(
    st.lists(
        arrays(np.float32, (2, 3), elements=st.floats(-1e3, 1e3, width=32)), min_size=1, max_size=8
    )
)
def test_it_is_the_mean_of_the_models(
    make_vector: Callable[..., Any], merged: Callable[..., Any], taus: list[Any]
) -> None:
    theta0 = np.linspace(-1, 1, 6).reshape(2, 3)
    found = merged("mean", [make_vector({"a": tau}) for tau in taus])["a"]
    np.testing.assert_allclose(
        theta0 + found, np.mean([theta0 + tau for tau in taus], axis=0), rtol=0, atol=1e-9
    )
