"""What is done to the lowest-scored parameters of a model: zeroed, or disturbed by noise.

Measuring what that costs is the affair of whoever evaluates the model afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TypeAlias

import torch
from torch import Tensor

from talos_engine.order_statistics import keep_lowest
from talos_engine.seeding import derive_seed


@dataclass(frozen=True)
class ChosenEntries:
    """Entries of a model, and what they are like at θ0.

    Args:
        flags: Bool tensors by parameter name.
        count: Number of chosen entries, at least 1.
        mean_magnitude: μ, mean of their absolute values.
        std: σ, standard deviation of their values (over ``count``, not ``count − 1``).
    """

    flags: Mapping[str, Tensor]
    count: int
    mean_magnitude: float
    std: float


def choose_lowest_scored(
    theta0: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    candidates: Mapping[str, Tensor],
    fraction: float,
) -> ChosenEntries:
    """The ``⌈fraction · m⌉`` lowest-scored of m candidates (Fig. 1 of arXiv:2504.02620).

    The same entries as a mask of one round leaves live at sparsity ``1 − fraction``; deviation:
    none.

    Args:
        theta0: Parameters by name.
        scores: Non-negative tensors in their shapes.
        candidates: Bool tensors in their shapes, in ranking order; only these take part.
        fraction: In (0, 1], taken as the decimal number it is written as.
    """
    total = sum(int(torch.count_nonzero(flags)) for flags in candidates.values())
    exact = Decimal(repr(float(fraction))) * total
    flags = keep_lowest(scores, candidates, int(exact.to_integral_value(ROUND_CEILING)))
    chosen = {name: kept for name, kept in flags.items() if bool(kept.any())}
    count = sum(int(torch.count_nonzero(kept)) for kept in chosen.values())
    mean = sum(float(values.sum()) for values in _values(theta0, chosen)) / count
    size = sum(float(values.abs().sum()) for values in _values(theta0, chosen)) / count
    spread = sum(float((values - mean).square().sum()) for values in _values(theta0, chosen))
    return ChosenEntries(chosen, count, size, math.sqrt(spread / count))


def _values(theta0: Mapping[str, Tensor], chosen: Mapping[str, Tensor]) -> Iterator[Tensor]:
    """The chosen entries of one tensor after another, float64."""
    for name, kept in chosen.items():
        yield theta0[name].detach().cpu()[kept].double()


def prune_entries(theta0: Mapping[str, Tensor], chosen: ChosenEntries) -> dict[str, Tensor]:
    """The tensors that hold chosen entries, these being 0 (Fig. 1 of arXiv:2504.02620).

    Args:
        theta0: Parameters by name.
        chosen: What is pruned.
    """
    return {
        name: theta0[name].detach().masked_fill(flags.to(theta0[name].device), 0.0)
        for name, flags in chosen.flags.items()
    }


def perturb_entries(
    theta0: Mapping[str, Tensor], chosen: ChosenEntries, seed: int
) -> dict[str, Tensor]:
    """The tensors that hold chosen entries, with Gaussian noise of standard deviation 2σ added.

    Fig. 10 of arXiv:2504.02620; deviation: none (2σ is taken as the standard deviation). An entry's
    standard normal draw depends on the seed and its place alone, not on what else is chosen.

    Args:
        theta0: Parameters by name.
        chosen: What is disturbed, with its σ.
        seed: Key of the noise.
    """
    disturbed = {}
    for name, flags in chosen.flags.items():
        generator = torch.Generator().manual_seed(derive_seed(seed, "perturbation", name))
        noise = torch.randn(flags.shape, generator=generator, dtype=torch.float64)
        value = theta0[name].detach()
        moved = (value.cpu().double() + 2 * chosen.std * noise).to(value.dtype)
        disturbed[name] = torch.where(flags, moved, value.cpu()).to(value.device)
    return disturbed


Edit: TypeAlias = Callable[[Mapping[str, Tensor], ChosenEntries, int], dict[str, Tensor]]

EDITS: dict[str, Edit] = {
    "prune": lambda theta0, chosen, seed: prune_entries(theta0, chosen),
    "perturb": perturb_entries,
}
