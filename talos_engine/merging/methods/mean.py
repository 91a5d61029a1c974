"""``mean``: the average of the fine-tuned models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from talos_engine.merging.ops import ChangeSum, parts_of
from talos_engine.merging.spec import MERGE_METHODS, Merge, MergeContext, MergeEntry, VectorSource


@dataclass(frozen=True)
class MeanConfig:
    """Options of the mean: none."""


def merge_by_mean(
    config: MeanConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """``1/T Σ_t w_t τ_t``: with coefficient 1 the mean of the T models; the parts are w_t τ_t.

    Source: the uniform soup of arXiv:2203.05482, as a difference to θ0; deviation: none.
    """
    mean = ChangeSum(vectors, weights, divisor=len(vectors))
    return Merge(models=(mean,), parts=parts_of(vectors, weights))


MERGE_METHODS.register("mean")(
    MergeEntry("mean", "Wortsman et al. 2022, arXiv:2203.05482", MeanConfig, merge_by_mean, True)
)
