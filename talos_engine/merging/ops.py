"""Tensor operations that merging methods share. Nothing here reads or writes files.

Sums are taken in float64 and in the order of the vectors, one vector after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from talos_engine.artifacts import BITS_OF, RANGE_ENTRIES, TaskVector, VectorEntry, VectorPiece
from talos_engine.merging.spec import Combine, Merge, RangeCombine, VectorSource

_HELD_BYTES = 12
"""For each entry of a tensor: its sum in float64, and a change in float32."""

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
            _add_piece(total.view(-1)[piece.start : piece.stop], weight, piece)
    return total


def sum_changes(vectors: Sequence[VectorSource], weights: Sequence[float], name: str) -> Tensor:
    """``Σ_t w_t τ_t`` of one tensor that at least one vector lists, float64.

    Args:
        vectors: The vectors, of which one entry at a time is read.
        weights: One for each.
        name: The tensor.
    """
    return ChangeSum(vectors, weights)(name)


@dataclass(frozen=True)
class ChangeSum:
    """``Σ_t w_t τ_t / n`` of one tensor that at least one vector lists, float64.

    Args:
        vectors: The vectors.
        weights: One for each.
        divisor: n.
        only: Position of the one vector to take, if not all.
    """

    vectors: Sequence[VectorSource]
    weights: Sequence[float]
    divisor: int = 1
    only: int | None = None

    def __call__(self, name: str) -> Tensor:
        """The sum; one entry of one vector is in memory at a time."""
        total = torch.zeros(shape_of(self.vectors, name), dtype=torch.float64)
        flat = total.view(-1)
        for weight, vector in self._listing(name):
            for piece in vector.pieces(name):
                _add_piece(flat[piece.start : piece.stop], weight, piece)
        return total if self.divisor == 1 else total / self.divisor

    def ranges(self, name: str) -> Iterator[Tensor]:
        """The same range by range in flat order, see ``by_ranges``; each is overwritten next.

        Where the stored entries of all vectors are too large, the whole is made at once instead.
        """
        chosen = [vector for _, vector in self._listing(name)]
        weights = [weight for weight, _ in self._listing(name)]
        if not fits_ranges(chosen, name):
            yield from self(name).view(-1).split(RANGE_ENTRIES)
            return
        numel = math.prod(shape_of(self.vectors, name))
        total = torch.empty(min(numel, RANGE_ENTRIES), dtype=torch.float64)
        for count, pieces in by_ranges(chosen, name, numel):
            part = total[:count].zero_()
            for position, piece in pieces:
                _add_piece(part, weights[position], piece)
            if self.divisor != 1:
                part /= self.divisor
            yield part

    def _listing(self, name: str) -> list[tuple[float, VectorSource]]:
        pairs = enumerate(zip(self.weights, self.vectors, strict=True))
        return [pair for at, pair in pairs if name in pair[1].shapes and self.only in (None, at)]


def fits_ranges(vectors: Sequence[VectorSource], name: str) -> bool:
    """Whether the stored entries of all vectors take no more memory than a sum and one entry."""
    numel = math.prod(shape_of(vectors, name)) if vectors else 0
    stored = sum(vector.stored_bytes(name) for vector in vectors if name in vector.shapes)
    return stored <= numel * _HELD_BYTES


def by_ranges(
    vectors: Sequence[VectorSource], name: str, numel: int
) -> Iterator[tuple[int, list[tuple[int, VectorPiece]]]]:
    """Changes of one tensor by all vectors, range after range in flat order.

    What is made of a range stays in the processor's cache, at the price of all vectors' entries in
    memory as they are stored (see ``fits_ranges``).

    Args:
        vectors: The vectors; those that do not list the tensor are passed over.
        name: The tensor.
        numel: Number of its entries.

    Yields:
        Number of entries of the range, and the changes there with the vectors' positions. There is
        at least one range.
    """
    streams = {at: each.pieces(name) for at, each in enumerate(vectors) if name in each.shapes}
    heads = {at: next(pieces, None) for at, pieces in streams.items()}
    for start in range(0, max(1, numel), RANGE_ENTRIES):
        found = []
        for at, head in heads.items():
            if head is not None and head.start == start:
                found.append((at, head))
                heads[at] = next(streams[at], None)
        yield min(RANGE_ENTRIES, numel - start), found


def piece_change(piece: VectorPiece, count: int) -> Tensor:
    """τ in a range of so many entries, float64 of shape (count,)."""
    if piece.positions is None:
        return piece.values.double()
    change = torch.zeros(count, dtype=torch.float64)
    change[piece.positions] = piece.values.double()
    return change


def parts_of(vectors: Sequence[VectorSource], weights: Sequence[float]) -> tuple[Combine, ...]:
    """``w_t τ_t`` of each vector alone; zero where it does not list a tensor."""
    return tuple(ChangeSum(vectors, weights, only=at) for at in range(len(vectors)))


def _add_piece(part: Tensor, weight: float, piece: VectorPiece) -> None:
    """Add the weighted changes of a range to that range of a sum."""
    values = piece.values.double() * weight
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
    return _move(
        theta0, RANGE_ENTRIES, (each * coef for each in delta.reshape(-1).split(RANGE_ENTRIES))
    )


def apply_terms(theta0: Tensor, terms: Sequence[tuple[float, Tensor]]) -> Tensor:
    """``θ0 + Σ coef · Δ``, summed in this order in float64 and rounded once to θ0's dtype.

    Where the sum is zero, θ0 keeps its bits.

    Args:
        theta0: Pre-trained parameter.
        terms: At least one pair of α and a float64 Δ of θ0's shape and device.
    """
    size = RANGE_ENTRIES if theta0.device.type == "cpu" else max(1, theta0.numel())
    parts = [delta.reshape(-1).split(size) for _, delta in terms]
    coefs = [coef for coef, _ in terms]
    return _move(theta0, size, (_weighted(each, coefs) for each in zip(*parts, strict=True)))


def apply_combined(theta0: Tensor, combine: Combine, name: str, coef: float) -> Tensor:
    """``apply_delta`` of what ``combine`` makes of a tensor, where that can be range by range."""
    if isinstance(combine, RangeCombine):
        return _move(theta0, RANGE_ENTRIES, (each * coef for each in combine.ranges(name)))
    return apply_delta(theta0, combine(name), coef)


def _weighted(parts: Sequence[Tensor], coefs: Sequence[float]) -> Tensor:
    total = parts[0] * coefs[0]
    for coef, part in zip(coefs[1:], parts[1:], strict=True):
        total += part * coef
    return total


def _move(theta0: Tensor, size: int, steps: Iterable[Tensor]) -> Tensor:
    """θ0 and what is added to its entries, ``size`` of them at a time."""
    result = torch.empty_like(theta0, memory_format=torch.contiguous_format)
    blocks = (each.reshape(-1).split(size) for each in (theta0, result))
    for start, moved, step in zip(*blocks, steps, strict=True):
        moved.copy_(start + step)
        if _has_negative_zero(start):  # the only numbers that adding 0.0 would change
            torch.where(step == 0, start, moved, out=moved)
    return result


def _has_negative_zero(block: Tensor) -> bool:
    bits = block.view(BITS_OF[block.dtype])  # of the sign alone: the lowest integer
    return bool(bits.numel()) and int(bits.amin()) == torch.iinfo(bits.dtype).min


def apply_deltas(
    theta0: Mapping[str, Tensor], deltas: Mapping[str, Tensor], coef: float
) -> dict[str, Tensor]:
    """``θ0 + coef · Δ`` for every tensor in ``deltas``; the others are not in the result."""
    return {name: apply_delta(theta0[name], delta, coef) for name, delta in deltas.items()}
