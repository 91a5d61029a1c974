"""``tall``: one model per task, the sum of all vectors where a task's own change prevails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from talos_engine.configuration import (
    PER_VECTOR,
    OneOrEach,
    check_at_least,
    value_at,
    values_of,
)
from talos_engine.merging.ops import change_of, sum_changes, tall_mask
from talos_engine.merging.spec import MERGE_METHODS, Merge, MergeContext, MergeEntry, VectorSource


@dataclass(frozen=True)
class TallConfig:
    """Options of TALL masks.

    Args:
        tall_lambda: λ_t, at least 0, once for all or once per vector; the larger, the fewer
            entries. Where it is not given, a search chooses it for each task.
    """

    tall_lambda: OneOrEach[float] = field(default=0.4, metadata=PER_VECTOR)

    def __post_init__(self) -> None:
        for threshold in values_of(self.tall_lambda):
            check_at_least("tall-lambda", threshold, 0.0)


def merge_tall(
    config: TallConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """``m_t ⊙ τ_MTL`` for every task (arXiv:2405.07813, Eq. 5); the parts are ``m_t ⊙ τ_t``.

    Deviation: none.
    """

    def combine(position: int, name: str, *, own: bool) -> Tensor:
        total = sum_changes(vectors, weights, name)
        found = change_of(vectors[position], name)
        if found is None:
            return torch.zeros_like(total)
        change = found * weights[position]
        live = tall_mask(change, total, value_at(config.tall_lambda, position))
        return torch.where(live, change if own else total, 0.0)

    every = range(len(vectors))
    return Merge(
        models=tuple(partial(combine, position, own=False) for position in every),
        parts=tuple(partial(combine, position, own=True) for position in every),
    )


MERGE_METHODS.register("tall")(
    MergeEntry(
        "tall",
        "Wang et al. 2024, arXiv:2405.07813",
        TallConfig,
        merge_tall,
        one_model_per_task=True,
        uses_others=True,
        passes=2,
        tuned={"tall_lambda": (0.2, 0.3, 0.4, 0.5, 0.6)},
    )
)
