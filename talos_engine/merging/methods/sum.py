"""``sum``: task arithmetic, the plain sum of task vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from talos_engine.artifacts import TaskVector
from talos_engine.merging.ops import touched_names, weighted_sum
from talos_engine.merging.spec import MERGE_METHODS, MergeEntry


@dataclass(frozen=True)
class SumConfig:
    """Options of the sum: none."""


def sum_vectors(
    config: SumConfig, vectors: Sequence[TaskVector], weights: Sequence[float]
) -> Mapping[str, Tensor]:
    """``Σ_t w_t τ_t`` by tensor name (Eq. 1 of arXiv:2504.02620; deviation: none)."""
    return {
        name: weighted_sum(
            [
                (weight, vector.entries[name])
                for vector, weight in zip(vectors, weights, strict=True)
                if name in vector.entries
            ]
        )
        for name in touched_names(vectors)
    }


MERGE_METHODS.register("sum")(
    MergeEntry("sum", "Ilharco et al. 2023, arXiv:2212.04089", SumConfig, sum_vectors, True)
)
