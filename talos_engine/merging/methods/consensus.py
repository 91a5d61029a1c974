"""``consensus``: the sum of all vectors where several tasks' TALL masks agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from talos_engine.configuration import check_at_least
from talos_engine.errors import OptionError
from talos_engine.merging.ops import change_of, changes_of, sum_changes, tall_mask
from talos_engine.merging.spec import MERGE_METHODS, Merge, MergeContext, MergeEntry, VectorSource


@dataclass(frozen=True)
class ConsensusConfig:
    """Options of consensus merging.

    Args:
        consensus_threshold: q, the number of tasks that must want an entry, at least 0; 0 is the
            plain sum.
        tall_lambda: λ_t of every task's mask, at least 0.
    """

    consensus_threshold: int = 2
    tall_lambda: float = 0.4

    def __post_init__(self) -> None:
        check_at_least("consensus-threshold", self.consensus_threshold, 0)
        check_at_least("tall-lambda", self.tall_lambda, 0.0)


def merge_by_consensus(
    config: ConsensusConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """``1[Σ_t m_t ≥ q] ⊙ τ_MTL`` (arXiv:2405.07813, Eq. 7); the parts are that mask ⊙ τ_t.

    Deviation: none.

    Raises:
        OptionError: q exceeds the number of vectors, so that nothing would be left.
    """
    if config.consensus_threshold > len(vectors):
        raise OptionError(
            f"--consensus-threshold {config.consensus_threshold} needs as many vectors; "
            f"there are {len(vectors)}",
            "negate takes the other tasks' vectors by --with",
        )

    def agreed(name: str, total: Tensor) -> Tensor:
        votes = torch.zeros(total.shape, dtype=torch.int32)
        for position, change in changes_of(vectors, name):
            votes += tall_mask(change * weights[position], total, config.tall_lambda)
        return votes >= config.consensus_threshold

    def combine(name: str) -> Tensor:
        total = sum_changes(vectors, weights, name)
        return torch.where(agreed(name, total), total, 0.0)

    def part(position: int, name: str) -> Tensor:
        total = sum_changes(vectors, weights, name)
        change = change_of(vectors[position], name)
        if change is None:
            return torch.zeros_like(total)
        return torch.where(agreed(name, total), change * weights[position], 0.0)

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
    )
)
