"""Sums of task vectors and their application, entry by entry."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.artifacts import BaseInfo, Header, TaskVector, VectorEntry, make_entry
from talos_engine.merging.ops import apply_delta, apply_deltas, touched_names, weighted_sum

FLOATS = st.floats(-1e3, 1e3, width=32)
HEADER = Header("vector", BaseInfo("m", "p", {}, "0" * 64), "talos", "t", {}, 0, "")


def dense(*values: float, shape: tuple[int, ...] | None = None) -> VectorEntry:
    none = torch.empty(0, dtype=torch.int64)
    return VectorEntry(shape or (len(values),), torch.tensor(values), None, none, torch.empty(0))


def sparse(size: int, entries: dict[int, float]) -> VectorEntry:
    index = torch.tensor(sorted(entries), dtype=torch.int64)
    values = torch.tensor([entries[at] for at in sorted(entries)])
    return VectorEntry((size,), values, index, torch.empty(0, dtype=torch.int64), torch.empty(0))


def test_weighted_sum_by_hand() -> None:
    total = weighted_sum([(2.0, dense(1, 2, 3)), (-1.0, sparse(3, {0: 4, 2: 0.5}))])
    assert total.dtype is torch.float64
    assert total.tolist() == [-2.0, 4.0, 5.5]


def test_shapes_are_kept() -> None:
    assert weighted_sum([(1.0, dense(1, 2, 3, 4, shape=(2, 2)))]).tolist() == [[1, 2], [3, 4]]
    assert weighted_sum([(0.5, dense(4, shape=()))]).item() == 2.0


@given(
    st.lists(st.tuples(FLOATS, st.lists(FLOATS, min_size=5, max_size=5)), min_size=1, max_size=4)
)
def test_sparse_and_dense_storage_contribute_the_same_bits(
    terms: list[tuple[float, list[float]]],
) -> None:
    kept = [{at: v for at, v in enumerate(values) if v} for _, values in terms]
    stored = [
        (weight, sparse(5, entries)) for (weight, _), entries in zip(terms, kept, strict=True)
    ]
    plain = [(weight, dense(*values)) for weight, values in terms]
    first, second = weighted_sum(stored), weighted_sum(plain)
    assert torch.equal(first, second)
    for at in range(5):
        exact = sum(Fraction(weight) * Fraction(values[at]) for weight, values in terms)
        magnitude = sum(abs(weight * values[at]) for weight, values in terms)
        assert abs(float(exact) - first[at].item()) <= 1e-14 * magnitude + 1e-300


def test_names_are_alphabetical_and_each_once() -> None:
    first = TaskVector(HEADER, {"b": dense(1), "a": dense(1)})
    second = TaskVector(HEADER, {"c": dense(1), "b": dense(1)})
    assert list(touched_names([second, first])) == ["a", "b", "c"]
    assert list(touched_names([])) == []


def test_apply_by_hand_and_untouched_names_are_left_out() -> None:
    theta0 = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0])}
    moved = apply_deltas(theta0, {"a": torch.tensor([0.5, -1.0]).double()}, -2.0)
    assert moved.keys() == {"a"}
    assert moved["a"].tolist() == [0.0, 4.0]
    assert theta0["a"].tolist() == [1.0, 2.0]


def bits(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32)


@given(st.lists(FLOATS, min_size=1, max_size=8), st.lists(FLOATS, min_size=8, max_size=8))
def test_a_zero_coefficient_keeps_the_bits(entries: list[float], change: list[float]) -> None:
    theta0 = torch.tensor([*entries, -0.0, 1e-45])
    delta = torch.tensor([*change, 1, 2][: len(theta0)], dtype=torch.float64)
    for coef in (0.0, -0.0):
        assert torch.equal(bits(apply_delta(theta0, delta, coef)), bits(theta0))
    still = apply_delta(theta0, torch.zeros_like(delta), 0.3)
    assert torch.equal(bits(still), bits(theta0)), "-0.0 stays -0.0"


@given(FLOATS, FLOATS, st.floats(-5, 5))
def test_there_is_one_rounding(theta: float, change: float, coef: float) -> None:
    """Within half a unit in the last place of float32 of the exact result."""
    moved = apply_delta(torch.tensor([theta]), torch.tensor([change]).double(), coef)
    exact = Fraction(theta) + Fraction(coef) * Fraction(change)
    best = torch.tensor([float(exact)], dtype=torch.float64).float()
    unit = torch.finfo(torch.float32).eps * max(abs(best.item()), 1e-37)
    assert abs(Fraction(moved.item()) - exact) <= Fraction(unit) * Fraction(51, 100)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_base_is_kept(dtype: torch.dtype) -> None:
    moved = apply_delta(torch.ones(3, dtype=dtype), torch.ones(3).double(), 0.5)
    assert moved.dtype is dtype
    assert moved.tolist() == [1.5, 1.5, 1.5]


@given(st.integers(0, 1000), st.floats(0, 1))
def test_a_vector_from_two_models_says_the_same_stored_either_way(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(40, generator=generator)
    changed = torch.rand(40, generator=generator) < share
    end = torch.where(changed, start + 0.1 * torch.randn(40, generator=generator), start)
    some, all_ = (make_entry(start, end, sparse=how) for how in ("always", "never"))
    if some is None or all_ is None:
        assert not changed.any()
        return
    assert torch.equal(weighted_sum([(0.7, some)]), weighted_sum([(0.7, all_)]))
