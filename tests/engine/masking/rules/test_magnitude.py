"""The magnitude mask: the smallest or largest pre-trained weights, without model or data."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from talos_engine.errors import OptionError
from talos_engine.masking.rules.magnitude import MagnitudeConfig, rank_by_magnitude
from talos_engine.masking.selection import count_entries, live_count
from talos_engine.masking.spec import MASK_RULES, MaskContext


def refuse() -> None:
    raise AssertionError("a magnitude mask needs neither model nor data")


def context(theta0: dict[str, Tensor], seed: int = 0) -> MaskContext:
    candidates = {name: torch.ones(value.shape, dtype=torch.bool) for name, value in theta0.items()}
    return MaskContext(theta0, candidates, {}, 0.5, seed, refuse, refuse)  # type: ignore[arg-type]


THETA0 = {"a": torch.tensor([[-3.0, 0.5], [0.0, -0.1]]), "b": torch.tensor([2.0, -0.5, 0.5])}


@pytest.mark.parametrize(
    ("keep", "sparsity", "a", "b"),
    [
        ("lowest", 0.5, [[False, True], [True, True]], [False, True, False]),
        ("highest", 0.5, [[True, True], [False, False]], [True, True, False]),
        ("lowest", 0.9, [[False, False], [True, False]], [False, False, False]),
        ("highest", 0.9, [[True, False], [False, False]], [False, False, False]),
    ],
)
def test_by_hand(keep: str, sparsity: float, a: list[list[bool]], b: list[bool]) -> None:
    """|θ0| = 3, .5, 0, .1 and 2, .5, .5: ties go to the earlier tensor and the lower index."""
    given = context(THETA0)
    live = rank_by_magnitude(MagnitudeConfig(keep), given).select(given, sparsity)
    assert (live["a"].tolist(), live["b"].tolist()) == (a, b)


def test_without_ties_the_two_ends_share_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    given = context({"w": torch.randn(40, 25, generator=generator)})
    low, high = (
        rank_by_magnitude(MagnitudeConfig(keep), given).select(given, 0.5)["w"]
        for keep in ("lowest", "highest")
    )
    assert torch.equal(low, ~high)
    sizes = given.theta0["w"].abs()
    assert float(sizes[low].max()) < float(sizes[high].min())


@pytest.mark.parametrize("keep", ["lowest", "highest"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.99])
def test_counts_are_exact_and_the_seed_does_not_matter(keep: str, sparsity: float) -> None:
    theta0 = {"w": torch.linspace(-1, 1, 1001).reshape(7, 143)}
    first, other = (
        rank_by_magnitude(MagnitudeConfig(keep), given).select(given, sparsity)
        for given in (context(theta0, 0), context(theta0, 1))
    )
    assert count_entries(first) == live_count(1001, sparsity)
    assert torch.equal(first["w"], other["w"])


@pytest.mark.parametrize("keep", ["lowest", "highest"])
def test_the_saved_scores_are_the_magnitudes(keep: str) -> None:
    saved = rank_by_magnitude(MagnitudeConfig(keep), context(THETA0)).saved
    assert saved is not None
    assert MASK_RULES.get("magnitude").has_scores
    for name, value in THETA0.items():
        assert torch.equal(saved[name], value.abs())


def test_the_end_has_two_names() -> None:
    with pytest.raises(OptionError, match="magnitude-keep must be one of lowest, highest"):
        MagnitudeConfig("middle")
