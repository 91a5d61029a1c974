"""Tensor operations that merging methods share. Nothing here reads or writes files.

Sums are taken in float64 and in the order of the vectors, one vector after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from talos_engine.artifacts import BITS_OF, TaskVector, VectorEntry, VectorPiece
from talos_engine.merging.spec import Merge, VectorSource

_BLOCK = 2**16  # entries that are worked on together, so that what lies between stays in the cache

Process: TypeAlias = Callable[[int, str, Tensor], Tensor]


def touched_names(vectors: Sequence[TaskVector]) -> Iterator[str]:
    """Names of the tensors that any vector changes, in alphabetical order, each once."""
    return iter(
        sorted({name for vector in vectors for name, entry in vector.entries.items() if entry.nnz})
    )


def listed_names(vectors: Sequence[VectorSource]) -> tuple[str, ...]:
    """Names of the tensors that any vector may change, in alphabetical order; reads nothing."""
    return tuple(sorted({name for vector in vectors for name in vector.shapes}))


def dense_changes(vector: VectorSource) -> dict[str, Tensor]:
    """τ as float64 tensors by name, tensors without any change left out."""
    entries = ((name, vector.entry(name)) for name in vector.shapes)
    return {name: entry.dense().double() for name, entry in entries if entry.nnz}


def change_of(vector: VectorSource, name: str) -> Tensor | None:
    """τ of one tensor, float64 in its shape; ``None`` where the vector does not list it."""
    return vector.entry(name).dense().double() if name in vector.shapes else None


def changes_of(vectors: Sequence[VectorSource], name: str) -> Iterator[tuple[int, Tensor]]:
    """Positions of the vectors that list a tensor, each with its τ there; read one by one."""
    for position, vector in enumerate(vectors):
        change = change_of(vector, name)
        if change is not None:
            yield position, change


def shape_of(vectors: Sequence[VectorSource], name: str) -> tuple[int, ...]:
    """Shape of a tensor that at least one vector lists."""
    return next(vector.shapes[name] for vector in vectors if name in vector.shapes)


def weighted_sum(entries: Sequence[tuple[float, VectorEntry]]) -> Tensor:
    """``Σ weight · τ`` in float64 and in the given order, in the tensor's shape.

    Sparse and dense entries of the same vector contribute the same bits.

    Args:
        entries: Pairs of weight and entry, at least one, all of one shape.
    """
    total = torch.zeros(entries[0][1].shape, dtype=torch.float64)
    for weight, entry in entries:
        for piece in entry.pieces():
            _add_piece(total.view(-1), weight, piece)
    return total


def sum_changes(
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    name: str,
    *,
    only: int | None = None,
) -> Tensor:
    """``Σ_t w_t τ_t`` of one tensor that at least one vector lists, float64.

    Args:
        vectors: The vectors, of which one entry at a time is read.
        weights: One for each.
        name: The tensor.
        only: Position of the one vector to take, if not all.
    """
    total = torch.zeros(shape_of(vectors, name), dtype=torch.float64)
    flat = total.view(-1)
    for position, (weight, vector) in enumerate(zip(weights, vectors, strict=True)):
        if name in vector.shapes and only in (None, position):
            for piece in vector.pieces(name):
                _add_piece(flat, weight, piece)
    return total


def _add_piece(flat: Tensor, weight: float, piece: VectorPiece) -> None:
    values = piece.values.double() * weight
    part = flat[piece.start : piece.stop]
    if piece.positions is None:
        part += values
    else:
        part.index_add_(0, piece.positions, values)


def sum_processed(
    vectors: Sequence[VectorSource], weights: Sequence[float], process: Process
) -> Merge:
    """A merging that processes each vector by itself and adds the results.

    Args:
        vectors: The vectors.
        weights: What each is multiplied with after processing.
        process: From a vector's position, a tensor's name and its τ there to the processed τ.
    """

    def add_up(positions: Sequence[int], name: str) -> Tensor:
        total = torch.zeros(shape_of(vectors, name), dtype=torch.float64)
        for position in positions:
            change = change_of(vectors[position], name)
            if change is not None:
                total += process(position, name, change) * weights[position]
        return total

    every = range(len(vectors))
    return Merge(
        models=(partial(add_up, every),), parts=tuple(partial(add_up, [at]) for at in every)
    )


def tall_mask(change: Tensor, total: Tensor, threshold: float) -> Tensor:
    """Where a task's own change outweighs what the other tasks add, bool.

    ``|θ0 − θ_t| > λ_t · |θ_MT − θ_t|``, which is ``|τ_t| > λ_t · |τ_MTL − τ_t|``; strict
    (arXiv:2405.07813, Eq. 4).

    Args:
        change: τ_t, float64.
        total: τ_MTL, the sum over all tasks, same shape.
        threshold: λ_t.
    """
    return change.abs() > threshold * (total - change).abs()


def apply_delta(theta0: Tensor, delta: Tensor, coef: float) -> Tensor:
    """``θ0 + coef · Δ`` (Eq. 1), computed in float64 and rounded once to θ0's dtype.

    Where the product is zero, θ0 keeps its bits.

    Args:
        theta0: Pre-trained parameter.
        delta: Float64 combination of task vectors, same shape and device.
        coef: α.
    """
    return apply_terms(theta0, [(coef, delta)])


def apply_terms(theta0: Tensor, terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """``θ0 + Σ coef · Δ``, summed in this order in float64 and rounded once to θ0's dtype.

    Where the sum is zero, θ0 keeps its bits.

    Args:
        theta0: Pre-trained parameter.
        terms: At least one pair of α and a float64 Δ of θ0's shape and device.
    """
    result = torch.empty_like(theta0, memory_format=torch.contiguous_format)
    size = _BLOCK if theta0.device.type == "cpu" else max(1, theta0.numel())
    changes = (delta for _, delta in terms)
    blocks = (each.reshape(-1).split(size) for each in (theta0, result, *changes))
    for start, moved, *parts in zip(*blocks, strict=True):
        step = parts[0] * terms[0][0]
        for (coef, _), part in zip(terms[1:], parts[1:], strict=True):
            step += part * coef
        moved.copy_(start + step)
        if _has_negative_zero(start):  # the only numbers that adding 0.0 would change
            torch.where(step == 0, start, moved, out=moved)
    return result


def _has_negative_zero(block: Tensor) -> bool:
    bits = block.view(BITS_OF[block.dtype])
    return bool((bits == torch.iinfo(bits.dtype).min).any())


def apply_deltas(
    theta0: Mapping[str, Tensor], deltas: Mapping[str, Tensor], coef: float
) -> dict[str, Tensor]:
    """``θ0 + coef · Δ`` for every tensor in ``deltas``; the others are not in the result."""
    return {name: apply_delta(theta0[name], delta, coef) for name, delta in deltas.items()}
