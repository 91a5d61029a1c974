"""Pruning and perturbing the lowest-scored entries: which ones, and what they become."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.evaluation.pruning import (
    EDITS,
    choose_lowest_scored,
    perturb_entries,
    prune_entries,
)
from talos_engine.masking.selection import live_count
from talos_engine.order_statistics import keep_lowest

THETA0 = {"a": torch.tensor([[1.0, -2.0], [3.0, 4.0]]), "b": torch.tensor([-5.0, 6.0])}
SCORES = {"a": torch.tensor([[0.3, 0.0], [0.9, 0.1]]), "b": torch.tensor([0.1, 0.5])}


def everywhere(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.ones(value.shape, dtype=torch.bool) for name, value in tensors.items()}


def test_by_hand() -> None:
    """The three lowest of six: −2 (score 0), then 4 and −5 (score 0.1 both)."""
    chosen = choose_lowest_scored(THETA0, SCORES, everywhere(THETA0), 0.5)
    assert chosen.count == 3
    assert chosen.flags["a"].tolist() == [[False, True], [False, True]]
    assert chosen.flags["b"].tolist() == [True, False]
    assert chosen.mean_magnitude == pytest.approx(11 / 3)
    assert chosen.std == pytest.approx(np.std([-2, 4, -5]))
    pruned = prune_entries(THETA0, chosen)
    assert pruned["a"].tolist() == [[1.0, 0.0], [3.0, 0.0]]
    assert pruned["b"].tolist() == [0.0, 6.0]
    assert THETA0["a"][0, 1] == -2.0, "θ0 itself is not touched"


def test_what_is_excluded_is_neither_chosen_nor_counted() -> None:
    candidates = everywhere(THETA0)
    candidates["a"][0, 1] = candidates["a"][1, 1] = False
    chosen = choose_lowest_scored(THETA0, SCORES, candidates, 0.5)
    assert chosen.count == 2
    assert chosen.flags["a"].tolist() == [[True, False], [False, False]]
    assert chosen.flags["b"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("fraction", "total", "count"),
    [(0.1, 1000, 100), (0.1, 1001, 101), (0.3, 10, 3), (1.0, 7, 7), (1e-9, 5, 1), (0.29, 100, 29)],
)
def test_the_count_is_the_exact_share_rounded_up(fraction: float, total: int, count: int) -> None:
    theta0 = {"w": torch.ones(total)}
    chosen = choose_lowest_scored(theta0, theta0, everywhere(theta0), fraction)
    assert chosen.count == count
    assert chosen.std == 0.0


@given(st.integers(1, 500), st.integers(1, 99))
def test_it_is_what_a_mask_of_one_round_leaves_live(total: int, hundredths: int) -> None:
    scores = {"w": torch.rand(total, generator=torch.Generator().manual_seed(total))}
    chosen = choose_lowest_scored(scores, scores, everywhere(scores), hundredths / 100)
    count = live_count(total, (100 - hundredths) / 100)
    expected = keep_lowest(scores, everywhere(scores), count)["w"]
    assert torch.equal(chosen.flags["w"], expected)


def test_noise_has_twice_the_entries_standard_deviation_and_mean_0() -> None:
    generator = torch.Generator().manual_seed(0)
    theta0 = {
        "a": 0.5 + 3 * torch.randn(300, 400, generator=generator),
        "b": torch.randn(500, generator=generator),
    }
    scores = {name: torch.rand(value.shape, generator=generator) for name, value in theta0.items()}
    chosen = choose_lowest_scored(theta0, scores, everywhere(theta0), 0.5)
    edited = perturb_entries(theta0, chosen, seed=1)
    noise = torch.cat(
        [(edited[name] - theta0[name]).double()[flags] for name, flags in chosen.flags.items()]
    )
    values = torch.cat([theta0[name][flags] for name, flags in chosen.flags.items()])
    assert chosen.std == pytest.approx(float(values.double().std(correction=0)), rel=1e-6)
    assert chosen.mean_magnitude == pytest.approx(float(values.double().abs().mean()), rel=1e-6)
    scale = 2 * chosen.std
    assert float(noise.std()) == pytest.approx(scale, rel=0.02)
    assert abs(float(noise.mean())) < 6 * scale / len(noise) ** 0.5
    # Kurtosis of a Gaussian is 3, with a standard deviation of √(24/n).
    assert abs(float((noise / scale).pow(4).mean()) - 3) < 6 * (96 / len(noise)) ** 0.5
    assert abs(float(torch.corrcoef(torch.stack([noise, values.double()]))[0, 1])) < 0.03


@pytest.mark.parametrize("edit", EDITS)
def test_all_other_entries_keep_their_bits(edit: str) -> None:
    generator = torch.Generator().manual_seed(0)
    theta0 = {"w": torch.randn(40, 30, generator=generator), "v": torch.tensor([-0.0, 1.0])}
    scores = {"w": torch.rand(40, 30, generator=generator), "v": torch.full((2,), 9.0)}
    chosen = choose_lowest_scored(theta0, scores, everywhere(theta0), 0.2)
    edited = EDITS[edit](theta0, chosen, 0)
    assert set(edited) == {"w"}, "tensors without a chosen entry are left out"
    kept = ~chosen.flags["w"]
    assert torch.equal(edited["w"][kept].view(torch.int32), theta0["w"][kept].view(torch.int32))
    assert bool((edited["w"][~kept] != theta0["w"][~kept]).all())
    assert edited["w"].dtype is torch.float32


def test_noise_depends_on_the_seed_and_the_place_alone() -> None:
    theta0 = {"w": torch.linspace(-1, 1, 100), "v": torch.linspace(-2, 2, 100)}
    few, many = (
        choose_lowest_scored(theta0, scores, everywhere(theta0), 0.3)
        for scores in (
            {"w": torch.arange(100.0), "v": torch.arange(100.0)},
            {"w": torch.arange(100.0), "v": torch.arange(100.0) + 50},
        )
    )
    both = few.flags["w"] & many.flags["w"]
    assert int(both.sum()) == 30
    first, second = (perturb_entries(theta0, chosen, 5)["w"] for chosen in (few, many))
    draws = [
        (edited - theta0["w"]).double() / (2 * chosen.std)
        for edited, chosen in ((first, few), (second, many))
    ]
    torch.testing.assert_close(draws[0][both], draws[1][both], rtol=1e-5, atol=1e-6)
    assert torch.equal(first, perturb_entries(theta0, few, 5)["w"])
    assert not torch.equal(first, perturb_entries(theta0, few, 6)["w"])
