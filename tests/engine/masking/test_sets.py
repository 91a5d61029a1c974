"""Masks as sets: by hand, and the laws of sets on random masks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.masking.sets import OPERATIONS, intersect, subtract, unite


def flags(*live: int) -> Tensor:
    return torch.tensor(live, dtype=torch.bool)


A = {"w": flags(1, 1, 0, 0), "a": flags(1)}
B = {"w": flags(0, 1, 1, 0), "b": flags(0, 1)}


def plain(mask: dict[str, Tensor]) -> dict[str, list[int]]:
    return {name: tensor.int().tolist() for name, tensor in sorted(mask.items())}


def test_by_hand() -> None:
    assert plain(unite(A, B)) == {"a": [1], "b": [0, 1], "w": [1, 1, 1, 0]}
    assert plain(intersect(A, B)) == {"w": [0, 1, 0, 0]}
    assert plain(subtract(A, B)) == {"a": [1], "w": [1, 0, 0, 0]}
    assert plain(subtract(B, A)) == {"b": [0, 1], "w": [0, 0, 1, 0]}


def test_tensors_without_a_live_entry_are_not_named() -> None:
    assert plain(intersect({"w": flags(1, 0)}, {"w": flags(0, 1)})) == {}
    assert plain(subtract(A, A)) == {}


def test_inputs_are_left_alone() -> None:
    before = [plain(A), plain(B)]
    for operation in OPERATIONS.values():
        operation(A, B)
    assert [plain(A), plain(B)] == before


def as_set(mask: dict[str, Tensor]) -> set[tuple[str, int]]:
    return {(n, int(i)) for n, t in mask.items() for i in torch.nonzero(t.flatten()).flatten()}


@given(st.integers(0, 999), st.sampled_from([0.1, 0.5, 0.9]))
def test_they_are_what_python_says_of_sets(seed: int, density: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = []
    for _ in range(2):
        drawn = {
            name: torch.rand(shape, generator=generator) < density
            for name, shape in {"w": (2, 3), "b": (2,), "s": ()}.items()
        }
        masks.append({name: tensor for name, tensor in drawn.items() if tensor.any()})
    one, two = masks
    assert as_set(unite(one, two)) == as_set(one) | as_set(two)
    assert as_set(intersect(one, two)) == as_set(one) & as_set(two)
    assert as_set(subtract(one, two)) == as_set(one) - as_set(two)
    for operation in OPERATIONS.values():
        assert all(bool(tensor.any()) for tensor in operation(one, two).values())
