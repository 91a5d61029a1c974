"""The random mask: exact, uniform, keyed by the seed."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from talos_engine.masking.rules.random import RandomConfig, rank_at_random
from talos_engine.masking.selection import count_entries, live_count
from talos_engine.masking.spec import MASK_RULES, MaskContext


def refuse() -> None:
    raise AssertionError("a random mask needs neither model nor data")


def context(sparsity: float, seed: int, candidates: dict[str, Tensor] | None = None) -> MaskContext:
    flags = candidates or {
        "a": torch.ones(30, 20, dtype=torch.bool),
        "b": torch.ones(400, dtype=torch.bool),
    }
    theta0 = {name: torch.zeros(value.shape) for name, value in flags.items()}
    return MaskContext(theta0, flags, {}, sparsity, seed, refuse, refuse)  # type: ignore[arg-type]


def select_random(config: RandomConfig, given: MaskContext) -> dict[str, Tensor]:
    """The mask at the context's sparsity."""
    return rank_at_random(config, given).select(given, given.sparsity)


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99])
def test_counts_are_exact(sparsity: float) -> None:
    live = select_random(RandomConfig(), context(sparsity, 0))
    assert count_entries(live) == live_count(1000, sparsity)
    assert {name: flags.shape for name, flags in live.items()} == {"a": (30, 20), "b": (400,)}


def test_the_seed_decides() -> None:
    assert MASK_RULES.get("random").run is rank_at_random
    first, again, other = (select_random(RandomConfig(), context(0.5, seed)) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    agreeing = sum(int((first[name] == other[name]).sum()) for name in first)
    assert 400 < agreeing < 600


def test_excluded_entries_are_never_selected() -> None:
    flags = torch.zeros(100, dtype=torch.bool)
    flags[::3] = True
    live = select_random(RandomConfig(), context(0.0, 3, {"a": flags}))["a"]
    assert torch.equal(live, flags)


def test_every_entry_is_equally_likely() -> None:
    """400 seeds, 1000 entries at density 0.2: every count within 6 standard deviations of 80."""
    counts = torch.zeros(1000)
    for seed in range(400):
        live = select_random(RandomConfig(), context(0.8, seed))
        counts += torch.cat([live["a"].flatten(), live["b"]]).float()
    assert float(counts.sum()) == 400 * 200
    spread = (400 * 0.2 * 0.8) ** 0.5
    assert float((counts - 80).abs().max()) < 6 * spread
    # Chi-square over entries: mean 999 · (1 − density), standard deviation about √(2 · 999).
    chi = float(((counts - 80) ** 2 / (80 * 0.8)).sum())
    assert abs(chi - 999) < 6 * (2 * 999) ** 0.5
