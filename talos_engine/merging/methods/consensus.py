"""``consensus``: the sum of all vectors where several tasks' TALL masks agree."""

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
from talos_engine.errors import OptionError
from talos_engine.merging.ops import change_of, changes_of, sum_changes, tall_mask
from talos_engine.merging.spec import MERGE_METHODS, Merge, MergeContext, MergeEntry, VectorSource


@dataclass(frozen=True)
class ConsensusConfig:
    """Options of consensus merging.

    Args:
        consensus_threshold: q, the number of tasks that must want an entry, at least 0; 0 is the
            plain sum. Once for all, or for each vector its own, below which that vector's change
            is left out.
        tall_lambda: λ_t of the tasks' masks, at least 0, once for all or once per vector.
    """

    consensus_threshold: OneOrEach[int] = field(default=2, metadata=PER_VECTOR)
    tall_lambda: OneOrEach[float] = field(default=0.4, metadata=PER_VECTOR)

    def __post_init__(self) -> None:
        for threshold in values_of(self.consensus_threshold):
            check_at_least("consensus-threshold", threshold, 0)
        for weight in values_of(self.tall_lambda):
            check_at_least("tall-lambda", weight, 0.0)


def check_votes(config: ConsensusConfig, count: int) -> None:
    """Raise unless there are as many vectors as must want an entry.

    Raises:
        OptionError: there are not, so that nothing would be left.
    """
    highest = max(values_of(config.consensus_threshold))
    if highest > count:
        raise OptionError(
            f"--consensus-threshold {highest} needs as many vectors; there are {count}",
            "negate takes the other tasks' vectors by --with",
        )


def merge_by_consensus(
    config: ConsensusConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """``Σ_t 1[Σ_u m_u ≥ q_t] ⊙ τ_t`` (arXiv:2405.07813, Eq. 7); the parts are its summands.

    With one q for all it is the paper's ``1[Σ_t m_t ≥ q] ⊙ τ_MTL``. Deviation: none.

    Raises:
        OptionError: q exceeds the number of vectors, so that nothing would be left.
    """
    check_votes(config, len(vectors))

    def count_votes(name: str, total: Tensor) -> Tensor:
        votes = torch.zeros(total.shape, dtype=torch.int32)
        for position, change in changes_of(vectors, name):
            threshold = value_at(config.tall_lambda, position)
            votes += tall_mask(change * weights[position], total, threshold)
        return votes

    def agreed(position: int, change: Tensor, votes: Tensor) -> Tensor:
        kept = votes >= value_at(config.consensus_threshold, position)
        return torch.where(kept, change * weights[position], 0.0)

    def combine(name: str) -> Tensor:
        total = sum_changes(vectors, weights, name)
        votes = count_votes(name, total)
        if not isinstance(config.consensus_threshold, tuple):
            return torch.where(votes >= config.consensus_threshold, total, 0.0)
        kept = torch.zeros_like(total)
        for position, change in changes_of(vectors, name):
            kept += agreed(position, change, votes)
        return kept

    def part(position: int, name: str) -> Tensor:
        total = sum_changes(vectors, weights, name)
        change = change_of(vectors[position], name)
        if change is None:
            return torch.zeros_like(total)
        return agreed(position, change, count_votes(name, total))

    return Merge(
        models=(combine,), parts=tuple(partial(part, position) for position in range(len(vectors)))
    )


MERGE_METHODS.register("consensus")(
    MergeEntry(
        "consensus",
        "Wang et al. 2024, arXiv:2405.07813",
        ConsensusConfig,
        merge_by_consensus,
        uses_others=True,
        passes=2,
        check_count=check_votes,
    )
)
