"""AdaMerging: coefficients learned by making predictions on unlabeled data certain.

What the two methods share that differ in how many coefficients there are. Which data and which
model they see is the affair of whoever gives the slope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talos_engine.artifacts import VectorEntry
from talos_engine.configuration import check_at_least, check_positive
from talos_engine.merging.ops import parts_of, piece_change, sum_changes, weighted_sum
from talos_engine.merging.spec import Merge, MergeContext, VectorSource

START = 0.3


@dataclass(frozen=True)
class AdaMergingConfig:
    """Options of AdaMerging.

    Args:
        adamerging_steps: Steps of Adam, at least 1.
        adamerging_lr: Its learning rate, above 0.
        adamerging_max: Coefficients are kept in [0, this]; ``None`` is 1, stretched by 1/(1 − k)
            for vectors of sparsity k.
        transductive: Learn on test inputs (without labels), as the authors did, rather than on a
            part of the validation split.
    """

    adamerging_steps: int = 500
    adamerging_lr: float = 1e-3
    adamerging_max: float | None = None
    transductive: bool = False

    def __post_init__(self) -> None:
        check_at_least("adamerging-steps", self.adamerging_steps, 1)
        check_positive("adamerging-lr", self.adamerging_lr)
        if self.adamerging_max is not None:
            check_positive("adamerging-max", self.adamerging_max)

    @property
    def split(self) -> str:
        """Split whose inputs are used."""
        return "test" if self.transductive else "val"

    @property
    def batch_size(self) -> int:
        """Unlabeled examples of each task in a step."""
        return 16


def merge_adaptively(
    config: AdaMergingConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
    *,
    layerwise: bool,
) -> Merge:
    """``θ0 + Σ λ τ`` with λ learned by Adam, clamped in the forward pass (arXiv:2310.02575).

    By the chain rule the slope along λ is ``⟨∇_θ L, τ⟩``. The vectors are kept in memory as they
    are stored, sparse or dense. Deviation: none; the parts are w_t τ_t.

    Args:
        config: Options.
        vectors: Task vectors.
        weights: What each is multiplied with.
        context: Gives the slope.
        layerwise: Whether λ is per task and tensor, or per task.
    """
    slope = context.slope
    if slope is None:
        raise ValueError("AdaMerging needs a slope to descend")
    changes = [_touched(vector) for vector in vectors]
    names = sorted({name for each in changes for name in each})
    most = context.stretch if config.adamerging_max is None else config.adamerging_max
    columns = len(names) if layerwise else 1
    raw = torch.full((len(vectors), columns), START, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=config.adamerging_lr, betas=(0.9, 0.999))
    losses = []
    for step in range(config.adamerging_steps):
        context.progress("learning coefficients", step, config.adamerging_steps)
        rates = _rates(raw.detach().clamp(0, most), names, weights)
        loss, gradient = slope(step, {name: _combine(changes, rates[name], name) for name in names})
        losses.append(loss)
        along = torch.stack([_along(gradient, each, names) for each in changes])  # (T, names)
        along *= torch.tensor(weights, dtype=torch.float64)[:, None]
        optimizer.zero_grad()
        (raw.clamp(0, most) * along).sum().backward()
        optimizer.step()
    context.progress("learning coefficients", config.adamerging_steps, config.adamerging_steps)
    found = raw.detach().clamp(0, most)
    rates = _rates(found, names, weights)

    def combine(name: str) -> Tensor:
        return sum_changes(vectors, rates.get(name, [0.0] * len(vectors)), name)

    lambdas = found.T.tolist() if layerwise else found[:, 0].tolist()
    return Merge(
        models=(combine,),
        parts=parts_of(vectors, weights),
        notes={
            "lambdas": dict(zip(names, lambdas, strict=True)) if layerwise else lambdas,
            "max": most,
            "entropy": {"first": losses[0], "last": losses[-1]},
        },
    )


def _touched(vector: VectorSource) -> dict[str, VectorEntry]:
    entries = ((name, vector.entry(name)) for name in vector.shapes)
    return {name: entry for name, entry in entries if entry.nnz}


def _rates(
    lambdas: Tensor, names: Sequence[str], weights: Sequence[float]
) -> dict[str, list[float]]:
    """``λ_t w_t`` of every tensor, one for each vector; lambdas of shape (T, names or 1)."""
    scaled = lambdas * torch.tensor(weights, dtype=torch.float64)[:, None]
    columns = scaled.expand(-1, len(names)).T.tolist()
    return dict(zip(names, columns, strict=True))


def _combine(
    changes: Sequence[Mapping[str, VectorEntry]], rates: Sequence[float], name: str
) -> Tensor:
    pairs = zip(rates, changes, strict=True)
    return weighted_sum([(rate, each[name]) for rate, each in pairs if name in each])


def _along(
    gradient: Mapping[str, Tensor], changes: Mapping[str, VectorEntry], names: Sequence[str]
) -> Tensor:
    """``⟨∇L, τ⟩`` of every tensor, float64 of shape (names,).

    The products of a range are added over all its entries, changed or not, so that λ does not
    depend on how a vector is stored.
    """
    found = torch.zeros(len(names), dtype=torch.float64)
    for column, name in enumerate(names):
        if name in changes:
            flat = gradient[name].reshape(-1)
            for piece in changes[name].pieces():
                change = piece_change(piece, piece.stop - piece.start)
                found[column] += (change * flat[piece.start : piece.stop]).sum()
    return found
