"""``sum``: task arithmetic, the plain sum of task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from talos_engine.merging.ops import ChangeSum, parts_of
from talos_engine.merging.spec import MERGE_METHODS, Merge, MergeContext, MergeEntry, VectorSource


@dataclass(frozen=True)
class SumConfig:
    """Options of the sum: none."""


def merge_by_sum(
    config: SumConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """``Σ_t w_t τ_t`` (Eq. 1 of arXiv:2504.02620; deviation: none); the parts are w_t τ_t."""
    return Merge(models=(ChangeSum(vectors, weights),), parts=parts_of(vectors, weights))


MERGE_METHODS.register("sum")(
    MergeEntry("sum", "Ilharco et al. 2023, arXiv:2212.04089", SumConfig, merge_by_sum, True)
)
