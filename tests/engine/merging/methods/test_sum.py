"""Task arithmetic on vectors: hand-computed, and independent of what does not matter."""

from __future__ import annotations

import itertools

import pytest
import torch

from talos_engine.artifacts import BaseInfo, Header, TaskVector, VectorEntry
from talos_engine.merging.methods.sum import SumConfig, sum_vectors
from talos_engine.merging.spec import MERGE_METHODS


def vector(**entries: list[float]) -> TaskVector:
    header = Header("vector", BaseInfo("m", "p", {}, "0" * 64), "talos", "t", {}, 0, "")
    none = torch.empty(0, dtype=torch.int64)
    return TaskVector(
        header,
        {
            name: VectorEntry((len(v),), torch.tensor(v), None, none, torch.empty(0))
            for name, v in entries.items()
        },
    )


def test_by_hand() -> None:
    combined = sum_vectors(SumConfig(), [vector(a=[1, 2], b=[3]), vector(a=[10, -2])], [0.5, 2])
    assert {name: value.tolist() for name, value in combined.items()} == {
        "a": [20.5, -3],
        "b": [1.5],
    }
    assert all(value.dtype is torch.float64 for value in combined.values())


def test_task_analogy() -> None:
    """C + B − A."""
    a, b, c = vector(x=[1, 0, 0]), vector(x=[0, 1, 0]), vector(x=[0, 0, 1])
    assert sum_vectors(SumConfig(), [a, b, c], [-1, 1, 1])["x"].tolist() == [-1, 1, 1]


def test_the_order_of_two_vectors_does_not_change_a_bit() -> None:
    torch.manual_seed(0)
    vectors = [vector(x=torch.randn(1000).tolist()) for _ in range(2)]
    for first, second in itertools.permutations(range(2)):
        combined = sum_vectors(SumConfig(), [vectors[first], vectors[second]], [0.3, 0.3])
        assert torch.equal(combined["x"], sum_vectors(SumConfig(), vectors, [0.3, 0.3])["x"])


def test_nothing_in_nothing_out() -> None:
    assert sum_vectors(SumConfig(), [vector()], [1.0]) == {}


def test_weights_and_vectors_must_match() -> None:
    with pytest.raises(ValueError, match="zip"):
        sum_vectors(SumConfig(), [vector(a=[1])], [1.0, 2.0])


def test_it_is_registered() -> None:
    assert MERGE_METHODS.get("sum").run is sum_vectors
    assert MERGE_METHODS.get("sum").configure({}) == SumConfig()
