"""TALL masks: one model per task, each with its own mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from talos_engine.errors import OptionError
from talos_engine.merging.methods.tall import TallConfig

ROWS = arrays(
    np.float32,
    (2, 4),
    elements=st.one_of(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0]), st.floats(-1e3, 1e3, width=32)),
)


def test_by_hand(make_vector: Any, merged: Any) -> None:
    """λ = 0.5. Entry 0: 4 > .5·1 and 1 < .5·4; 1: 1 = .5·2 is not above; 3: cancelled."""
    first = make_vector({"a": [[4.0, 1.0], [0.0, 3.0]]})
    second = make_vector({"a": [[1.0, 2.0], [5.0, -3.0]]})
    one, two = merged("tall", [first, second], tall_lambda=0.5)
    assert one["a"].tolist() == [[5.0, 0.0], [0.0, 0.0]]
    assert two["a"].tolist() == [[0.0, 3.0], [5.0, 0.0]]
    own, other = merged("tall", [first, second], parts=True, tall_lambda=0.5)
    assert own["a"].tolist() == [[4.0, 0.0], [0.0, 3.0]]
    assert other["a"].tolist() == [[0.0, 2.0], [5.0, -3.0]]


@given(st.lists(ROWS, min_size=1, max_size=6), st.sampled_from([0.0, 0.2, 0.4, 0.6, 1.0, 3.0]))
def test_it_equals_the_definition_on_models(
    make_vector: Any, merged: Any, taus: list[Any], lam: float
) -> None:
    """``m_t = |θ0 − θ_t| > λ |θ_MT − θ_t|`` and ``θ0 + m_t ⊙ τ_MTL``, every mask its own task's."""
    found = merged("tall", [make_vector({"a": tau}) for tau in taus], tall_lambda=lam)
    assert len(found) == len(taus)
    total = sum(tau.astype(np.float64) for tau in taus)
    for model, tau in zip(found, taus, strict=True):
        mask = np.abs(tau) > lam * np.abs(total - tau)
        np.testing.assert_array_equal(model["a"], np.where(mask, total, 0.0))


def test_a_task_without_a_change_leaves_the_tensor_alone(make_vector: Any, merged: Any) -> None:
    one, two = merged("tall", [make_vector({"a": [1.0]}), make_vector({"b": [2.0]})])
    assert (one["a"].item(), one["b"].item()) == (1.0, 0.0)
    assert (two["a"].item(), two["b"].item()) == (0.0, 2.0)


def test_one_vector_is_left_whole(make_vector: Any, merged: Any) -> None:
    assert merged("tall", [make_vector({"a": [1.0, 0.0, -2.0]})])[0]["a"].tolist() == [1, 0, -2]


def test_options() -> None:
    assert TallConfig().tall_lambda == 0.4
    for value in (-0.1, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="--tall-lambda"):
            TallConfig(value)


def test_a_lambda_per_vector(make_vector: Any, merged: Any) -> None:
    vectors = [make_vector({"a": [3.0, 1.0]}), make_vector({"a": [2.0, 4.0]})]
    models = merged("tall", vectors, tall_lambda=(0.2, 1.0))
    assert models[0]["a"].tolist() == [5.0, 5.0], "3 > 0.2 · 2 and 1 > 0.2 · 4"
    assert models[1]["a"].tolist() == [0.0, 5.0], "not 2 > 1 · 3, but 4 > 1 · 1"
