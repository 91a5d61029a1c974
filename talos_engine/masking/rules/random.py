"""The ``random`` mask: a uniform choice of entries, the control that every rule must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, Ranking
from talos_engine.seeding import derive_seed


@dataclass(frozen=True)
class RandomConfig:
    """Options of the random mask: none."""


def rank_at_random(config: RandomConfig, context: MaskContext) -> Ranking:
    """A ranking in which every order of the entries is equally likely, keyed by the seed.

    Args:
        config: No options.
        context: Its seed keys the choice.
    """
    generator = torch.Generator().manual_seed(derive_seed(context.seed, "random mask"))
    return Ranking(
        {
            name: torch.rand(flags.shape, generator=generator, dtype=torch.float64)
            for name, flags in context.candidates.items()
        }
    )


MASK_RULES.register("random")(
    MaskEntry("random", "control; no paper", RandomConfig, rank_at_random)
)
