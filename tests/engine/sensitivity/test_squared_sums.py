"""Sums of squared per-example gradients against an explicit loop in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.sensitivity import squared_sums
from talos_engine.sensitivity.squared_sums import SquaredSums


def looped(outputs: Tensor, inputs: Tensor, score: str) -> Tensor:
    """Σ_i (Σ_t g_it ⊗ a_it)², or of magnitudes, one example at a time."""
    total = torch.zeros(outputs.shape[2], inputs.shape[2], dtype=torch.float64)
    for g, a in zip(outputs.double(), inputs.double(), strict=True):
        gradient = sum((torch.outer(g[t], a[t]) for t in range(len(g))), torch.zeros(()))
        total += gradient.abs() if score == "abs" else gradient**2
    return total


@given(
    examples=st.integers(1, 5),
    positions=st.integers(1, 4),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    score=st.sampled_from(["square", "abs"]),
    block=st.sampled_from([4, 7, 2**21]),
    batched=st.sampled_from([0, 2**18]),
    seed=st.integers(0, 100),
)
def test_outer_products_equal_a_loop(
    examples: int,
    positions: int,
    rows: int,
    columns: int,
    score: str,
    block: int,
    batched: int,
    seed: int,
) -> None:
    """Whatever the orientation, the blocks and how many examples share a product."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(examples, positions, rows, generator=generator, dtype=torch.float64)
    inputs = torch.randn(examples, positions, columns, generator=generator, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(squared_sums, "_CPU_BLOCK", block)
        patch.setattr(squared_sums, "_CPU_BATCHED", batched)
        sums = SquaredSums({"w": torch.zeros(rows, columns, dtype=torch.float64)}, ["w"], score)
        sums.add_outer("w", outputs[:2], inputs[:2])
        sums.add_outer("w", outputs[2:], inputs[2:])
    found = sums.results()["w"]
    torch.testing.assert_close(found, looped(outputs, inputs, score), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("columns", [2, 9], ids=["tall", "wide"])
def test_a_range_of_rows(columns: int) -> None:
    """As for Q, K and V in one parameter: only the rows named change."""
    generator = torch.Generator().manual_seed(1)
    outputs = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    inputs = torch.randn(3, 2, columns, generator=generator, dtype=torch.float64)
    values = {
        "w": torch.zeros(6, columns, dtype=torch.float64),
        "b": torch.zeros(6, dtype=torch.float64),
    }
    sums = SquaredSums(values, values, "square")
    sums.add_outer("w", outputs, inputs, start=4)
    sums.add_gradients("b", outputs.sum(dim=1), start=4)
    expected = torch.zeros(6, columns, dtype=torch.float64)
    expected[4:] = looped(outputs, inputs, "square")
    torch.testing.assert_close(sums.results()["w"], expected)
    assert sums.results()["b"][:4].tolist() == [0, 0, 0, 0]
    torch.testing.assert_close(sums.results()["b"][4:], outputs.sum(1).square().sum(0))


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3, 4), (0,), (4, 0)])
def test_whole_gradients_of_any_shape(shape: tuple[int, ...]) -> None:
    gradients = torch.randn(5, *shape, dtype=torch.float64)
    sums = SquaredSums({"p": torch.zeros(shape, dtype=torch.float64)}, ["p"], "square")
    sums.add_gradients("p", gradients)
    assert sums.results()["p"].shape == shape
    torch.testing.assert_close(sums.results()["p"], gradients.square().sum(0))


def test_half_precision_is_squared_and_summed_in_float32() -> None:
    """2⁻⁷ squared many times over would vanish beside 1 in bfloat16."""
    inputs = torch.full((513, 2, 1), 2.0**-8, dtype=torch.bfloat16)
    inputs[0] = 0.5
    outputs = torch.ones(513, 2, 1, dtype=torch.bfloat16)
    sums = SquaredSums({"w": torch.zeros(1, 1)}, ["w"], "square")
    sums.add_outer("w", outputs, inputs)
    assert sums.results()["w"].dtype is torch.float32
    assert sums.results()["w"].item() == 1 + 512 * 2.0**-14


def test_only_the_names_asked_for() -> None:
    values: dict[str, Any] = {"a": torch.zeros(2), "b": torch.zeros(2)}
    sums = SquaredSums(values, {"b"}, "square")
    assert "a" not in sums
    assert "b" in sums
    assert list(sums.results()) == ["b"]
