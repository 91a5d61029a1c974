"""DARE: the drawn masks, the rescaling by hand, and that nothing irrelevant changes the draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from talos_engine.errors import OptionError
from talos_engine.merging.methods.dare import DareConfig, draw_kept, drop_and_rescale


def test_rescaling_by_hand() -> None:
    change = torch.tensor([[4.0, -2.0], [1.0, 3.0]], dtype=torch.float64)
    kept = torch.tensor([[True, False], [False, True]])
    official = drop_and_rescale(change, kept, 0.5, "official")
    assert official.tolist() == [[8.0, 0.0], [0.0, 6.0]]
    kit = drop_and_rescale(change, kept, 0.5, "mergekit")
    assert kit.tolist() == [[4 * 10 / 7, 0.0], [0.0, 3 * 10 / 7]]
    assert float(kit.abs().sum()) == pytest.approx(10.0), "the sum of magnitudes is kept"


@given(st.integers(0, 2**32), st.floats(0, 0.99), st.booleans())
def test_against_numpy_with_an_injected_mask(seed: int, drop: float, everything: bool) -> None:
    rng = np.random.default_rng(seed)
    change = rng.normal(size=(3, 5)).astype(np.float32).astype(np.float64)
    kept = np.zeros((3, 5), dtype=bool) if everything else rng.random((3, 5)) >= drop
    arguments = torch.from_numpy(change), torch.from_numpy(kept), drop
    np.testing.assert_allclose(
        drop_and_rescale(*arguments, "official").numpy(), change * kept / (1 - drop), rtol=1e-12
    )
    mass = np.abs(change * kept).sum()
    scale = np.abs(change).sum() / mass if mass > 0 and drop > 0 else 1.0
    np.testing.assert_allclose(
        drop_and_rescale(*arguments, "mergekit").numpy(), change * kept * scale, rtol=1e-12
    )


def test_the_method_draws_per_tensor_and_task(make_vector: Any, merged: Any) -> None:
    tensors = {"a": np.ones((4, 50), np.float32), "b": np.ones(200, np.float32)}
    vectors = [make_vector(tensors, task=task) for task in ("t", "u")]
    first, second = merged("dare", vectors, parts=True, dare_drop=0.5)
    for found in (first, second):
        for value in found.values():
            assert set(np.unique(value)) == {0.0, 2.0}
    assert not np.array_equal(first["a"].reshape(-1), first["b"]), "another stream for each tensor"
    assert not np.array_equal(first["b"], second["b"]), "and for each task"
    expected = draw_kept((4, 50), 0.5, "dare", 0, "t", 0, "a").numpy() * 2.0
    assert np.array_equal(first["a"], expected)
    both = merged("dare", vectors, dare_drop=0.5)
    assert np.array_equal(both["b"], first["b"] + second["b"])


def test_the_other_vectors_do_not_change_the_draw(make_vector: Any, merged: Any) -> None:
    ones = {"a": np.ones(100, np.float32)}
    alone = merged("dare", [make_vector(ones, task="t")], dare_drop=0.3)["a"]
    parts = merged(
        "dare", [make_vector(ones, task=task) for task in "stu"], parts=True, dare_drop=0.3
    )
    assert np.array_equal(parts[1]["a"], alone)


def test_a_probability_per_vector(make_vector: Any, merged: Any) -> None:
    vectors = [make_vector({"a": np.ones(100, np.float32)}, task=task) for task in "tu"]
    parts = merged("dare", vectors, parts=True, dare_drop=(0.3, 0.8))
    for part, vector, drop in zip(parts, vectors, (0.3, 0.8), strict=True):
        assert np.array_equal(part["a"], merged("dare", [vector], dare_drop=drop)["a"])
    both = merged("dare", vectors, dare_drop=(0.3, 0.8))["a"]
    assert np.array_equal(both, parts[0]["a"] + parts[1]["a"])


def test_vectors_of_one_task_are_drawn_apart(make_vector: Any, merged: Any) -> None:
    ones = {"a": np.ones(100, np.float32)}
    first, second = merged(
        "dare", [make_vector(ones), make_vector(ones)], parts=True, dare_drop=0.5
    )
    assert not np.array_equal(first["a"], second["a"])


def test_the_seed_matters_and_repeats(make_vector: Any, merged: Any) -> None:
    vector = make_vector({"a": np.ones(100, np.float32)})
    draws = [merged("dare", [vector], seed=seed, dare_drop=0.5)["a"].tolist() for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def test_the_share_and_the_mean_are_right() -> None:
    kept = draw_kept((200_000,), 0.9, "x")
    assert float(kept.double().mean()) == pytest.approx(0.1, abs=4 * (0.09 / 200_000) ** 0.5)


def test_nothing_dropped_is_the_sum(make_vector: Any, merged: Any) -> None:
    vector = make_vector({"a": [1.5, -2.0], "c": 3.0})
    for options in ({"dare_drop": 0.0}, {"dialect": "mergekit"}):
        found = merged("dare", [vector], **options)
        assert (found["a"].tolist(), found["c"].item()) == ([1.5, -2.0], 3.0)


def test_options() -> None:
    assert DareConfig().drop(0) == 0.9
    assert DareConfig(dialect="mergekit").drop(0) == 0.0
    for options in ({"dare_drop": 1.0}, {"dare_drop": (0.5, -0.1)}, {"dialect": "x"}):
        with pytest.raises(OptionError, match="--"):
            DareConfig(**options)
