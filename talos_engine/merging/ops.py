"""Tensor operations that merging methods share. Nothing here reads or writes files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from talos_engine.artifacts import TaskVector, VectorEntry


def touched_names(vectors: Sequence[TaskVector]) -> Iterator[str]:
    """Names of the tensors that any vector changes, in alphabetical order, each once."""
    return iter(
        sorted({name for vector in vectors for name, entry in vector.entries.items() if entry.nnz})
    )


def weighted_sum(entries: Sequence[tuple[float, VectorEntry]]) -> Tensor:
    """``Σ weight · τ`` in float64 and in the given order, in the tensor's shape.

    Sparse and dense entries of the same vector contribute the same bits.

    Args:
        entries: Pairs of weight and entry, at least one, all of one shape.
    """
    shape = entries[0][1].shape
    total = torch.zeros(shape, dtype=torch.float64)
    flat = total.view(-1)
    for weight, entry in entries:
        values = entry.values.reshape(-1).double() * weight
        if entry.index is None:
            flat += values
        else:
            flat.index_add_(0, entry.index, values)
    return total


def apply_delta(theta0: Tensor, delta: Tensor, coef: float) -> Tensor:
    """``θ0 + coef · Δ`` (Eq. 1), computed in float64 and rounded once to θ0's dtype.

    Where the product is zero, θ0 keeps its bits.

    Args:
        theta0: Pre-trained parameter.
        delta: Float64 combination of task vectors, same shape and device.
        coef: α.
    """
    step = delta * coef
    moved = (theta0.double() + step).to(theta0.dtype)
    return torch.where(step == 0, theta0, moved)


def apply_deltas(
    theta0: Mapping[str, Tensor], deltas: Mapping[str, Tensor], coef: float
) -> dict[str, Tensor]:
    """``θ0 + coef · Δ`` for every tensor in ``deltas``; the others are not in the result."""
    return {name: apply_delta(theta0[name], delta, coef) for name, delta in deltas.items()}
