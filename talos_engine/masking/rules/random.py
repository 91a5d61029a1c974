"""The ``random`` mask: a uniform choice of entries, the control that every rule must beat."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from talos_engine.masking.selection import count_entries, keep_lowest, live_count
from talos_engine.masking.spec import MASK_RULES, MaskContext, MaskEntry, MaskResult
from talos_engine.seeding import derive_seed


@dataclass(frozen=True)
class RandomConfig:
    """Options of the random mask: none."""


def select_random(config: RandomConfig, context: MaskContext) -> MaskResult:
    """A mask with exactly the asked number of live entries, uniformly chosen by the seed.

    Args:
        config: No options.
        context: Its seed keys the choice.
    """
    generator = torch.Generator().manual_seed(derive_seed(context.seed, "random mask"))
    keys = {
        name: torch.rand(flags.shape, generator=generator, dtype=torch.float64)
        for name, flags in context.candidates.items()
    }
    count = live_count(count_entries(context.candidates), context.sparsity)
    return MaskResult(live=keep_lowest(keys, context.candidates, count))


MASK_RULES.register("random")(MaskEntry("random", "control; no paper", RandomConfig, select_random))
