"""``dare``: drop changes at random and rescale the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from talos_engine.configuration import (
    PER_VECTOR,
    OneOrEach,
    check_choice,
    check_fraction,
    value_at,
    values_of,
)
from talos_engine.merging.ops import sum_processed
from talos_engine.merging.spec import (
    DIALECTS,
    MERGE_METHODS,
    Merge,
    MergeContext,
    MergeEntry,
    VectorSource,
)
from talos_engine.seeding import derive_seed

_NO_MASS = 1e-7  # below it mergekit does not rescale


@dataclass(frozen=True)
class DareConfig:
    """Options of DARE.

    Args:
        dare_drop: Probability p of dropping an entry, in [0, 1), once for all or once per vector;
            ``None`` is 0.9, and 0 in mergekit's dialect.
        dialect: ``official`` rescales by 1 / (1 − p), ``mergekit`` so that each tensor keeps the
            sum of its magnitudes.
    """

    dare_drop: OneOrEach[float] | None = field(default=None, metadata=PER_VECTOR)
    dialect: str = "official"

    def __post_init__(self) -> None:
        check_choice("dialect", self.dialect, DIALECTS)
        if self.dare_drop is None:
            object.__setattr__(self, "dare_drop", 0.9 if self.dialect == "official" else 0.0)
        for drop in values_of(self.dare_drop or 0.0):
            check_fraction("dare-drop", drop, below_one=True)

    def drop(self, position: int) -> float:
        """Probability p for the vector at a position."""
        return float(value_at(self.dare_drop or 0.0, position))


def draw_kept(shape: tuple[int, ...], drop: float, *keys: int | str) -> Tensor:
    """Which entries stay: bool of this shape, each False with probability ``drop``.

    Drawn on the CPU for every entry, changed or not, in the stream that ``keys`` name, so that
    neither storage nor device nor the order of anything matters.
    """
    generator = torch.Generator().manual_seed(derive_seed(*keys))
    return torch.rand(shape, generator=generator) >= drop


def drop_and_rescale(change: Tensor, kept: Tensor, drop: float, dialect: str) -> Tensor:
    """``change`` where it is kept, rescaled for what was dropped (Yu et al. 2024, Eq. 3).

    Args:
        change: τ of one tensor, float64.
        kept: Bool, same shape.
        drop: p, in [0, 1).
        dialect: Whose rescaling, see ``DareConfig``.
    """
    rest = torch.where(kept, change, 0.0)
    if dialect == "official":
        return rest / (1 - drop)
    before, after = float(change.abs().sum()), float(rest.abs().sum())
    if drop == 0 or before < _NO_MASS or after < _NO_MASS:
        return rest
    return rest * (before / after)


def merge_dare(
    config: DareConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """Drop and rescale each vector, then sum; the parts are the rescaled vectors.

    The stream is keyed by seed, task and tensor, and by a number where several vectors are of one
    task. Source: Yu et al. 2024, Sec. 3; deviation: none.
    """
    tasks = [vector.header.task for vector in vectors]
    numbers = [tasks[:position].count(task) for position, task in enumerate(tasks)]

    def process(position: int, name: str, change: Tensor) -> Tensor:
        keys = ("dare", context.seed, tasks[position], numbers[position], name)
        drop = config.drop(position)
        kept = draw_kept(tuple(change.shape), drop, *keys)
        return drop_and_rescale(change, kept, drop, config.dialect)

    return sum_processed(vectors, weights, process)


MERGE_METHODS.register("dare")(
    MergeEntry("dare", "Yu et al. 2024, arXiv:2311.03099", DareConfig, merge_dare, draws=True)
)
