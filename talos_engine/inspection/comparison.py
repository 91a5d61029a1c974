"""How much several masks, or several task vectors, have in common.

Everything is accumulated tensor by tensor, so that only one tensor of each file is in memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from talos_engine.artifacts import JSON, VectorEntry
from talos_engine.inspection.tally import stored_values

V = TypeVar("V")
Matrix: TypeAlias = tuple[tuple[float, ...], ...]
PartialMatrix: TypeAlias = tuple[tuple[float | None, ...], ...]

SLICE = 2**18  # entries that are compared at once


@dataclass(frozen=True)
class MaskComparison:
    """Overlaps of masks, pair by pair; matrices are symmetric.

    Args:
        iou: Intersection over union of the live entries, in [0, 1]; 1 for two empty masks.
            Fig. 11 of arXiv:2504.02620; deviation: over all entries at once, where the paper
            takes a mean over parameters.
        chance: What ``iou`` would be near if masks of these sizes were drawn independently.
    """

    iou: Matrix
    chance: Matrix

    @property
    def matrices(self) -> dict[str, PartialMatrix]:
        """Every matrix by its name in JSON."""
        return {"iou": self.iou, "iou_by_chance": self.chance}

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON."""
        return _listed(self.matrices)


@dataclass(frozen=True)
class VectorComparison:
    """Similarity of task vectors, pair by pair; matrices are symmetric.

    Args:
        norms: Euclidean norms; ``None`` where one exceeds float64.
        cosine: Cosine of the angle, in [−1, 1]; ``None`` where a vector is zero or too large.
        iou: Intersection over union of the changed entries; 1 for two empty vectors.
        conflicts: Share of the entries that both change which they change in opposite
            directions, in [0, 1]; ``None`` where they share no entry.
    """

    norms: tuple[float | None, ...]
    cosine: PartialMatrix
    iou: Matrix
    conflicts: PartialMatrix

    @property
    def matrices(self) -> dict[str, PartialMatrix]:
        """Every matrix by its name in JSON."""
        return {"cosine": self.cosine, "iou": self.iou, "sign_conflicts": self.conflicts}

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON."""
        return {"norms": list(self.norms), **_listed(self.matrices)}


def compare_masks(
    tensors: Iterable[Sequence[Tensor | None]], count: int, total: int
) -> MaskComparison:
    """Overlaps of ``count`` masks of one model.

    Args:
        tensors: For each parameter, every mask's flags: bool in one shape, or ``None`` where a mask
            has nothing live.
        count: Number of masks.
        total: Number of maskable entries.
    """
    both = [[0] * count for _ in range(count)]
    for flags in tensors:
        for i, first in enumerate(flags):
            for j, second in enumerate(flags[: i + 1]):
                if first is not None and second is not None:
                    both[i][j] += int(torch.count_nonzero(first & second))
    shared = [[both[max(i, j)][min(i, j)] for j in range(count)] for i in range(count)]
    live = [shared[i][i] for i in range(count)]

    def chance(i: int, j: int) -> float:
        if i == j:
            return 1.0
        return _ratio(live[i] * live[j] / max(total, 1), live[i] + live[j])

    return MaskComparison(
        _matrix(count, lambda i, j: _ratio(shared[i][j], live[i] + live[j])),
        _matrix(count, chance),
    )


def compare_vectors(
    tensors: Iterable[Sequence[VectorEntry | None]], count: int
) -> VectorComparison:
    """Similarity of ``count`` task vectors of one model; sums are taken in float64.

    Args:
        tensors: For each parameter, every vector's change in one shape, or ``None`` where it has
            none.
        count: Number of vectors.
    """
    dots = torch.zeros(count, count, dtype=torch.float64)
    shared = torch.zeros(count, count, dtype=torch.float64)  # whole numbers below 2^53
    agreement = torch.zeros(count, count, dtype=torch.float64)
    for entries in tensors:
        numel = max((entry.numel for entry in entries if entry is not None), default=0)
        for start in range(0, numel, SLICE):
            changes = _changes(entries, start, min(start + SLICE, numel))  # (count, slice)
            signs = changes.sign()
            dots += changes @ changes.T
            shared += signs.abs() @ signs.abs().T
            agreement += signs @ signs.T  # same directions minus opposite ones
    norms = [math.sqrt(float(dots[i, i])) for i in range(count)]

    def cosine(i: int, j: int) -> float | None:
        length = norms[i] * norms[j]
        dot = float(dots[i, j])
        if not length or not math.isfinite(length) or not math.isfinite(dot):
            return None
        return 1.0 if i == j else min(1.0, max(-1.0, dot / length))

    def conflict(i: int, j: int) -> float | None:
        both = float(shared[i, j])
        return (both - float(agreement[i, j])) / 2 / both if both else None

    def overlap(i: int, j: int) -> float:
        return _ratio(float(shared[i, j]), float(shared[i, i] + shared[j, j]))

    return VectorComparison(
        tuple(norm if math.isfinite(norm) else None for norm in norms),
        _matrix(count, cosine),
        _matrix(count, overlap),
        _matrix(count, conflict),
    )


def _changes(entries: Sequence[VectorEntry | None], start: int, stop: int) -> Tensor:
    rows = torch.zeros(len(entries), stop - start, dtype=torch.float64)
    for row, entry in zip(rows, entries, strict=True):
        if entry is None:
            continue
        positions, values = stored_values(entry, start, stop)
        if positions is None:
            row.copy_(values)
        else:
            row[positions] = values.double()
    return rows


def _ratio(both: float, sizes: float) -> float:
    """Intersection over union from the intersection and the sum of both sizes."""
    return both / (sizes - both) if sizes else 1.0


def _matrix(count: int, value: Callable[[int, int], V]) -> tuple[tuple[V, ...], ...]:
    return tuple(tuple(value(i, j) for j in range(count)) for i in range(count))


def _listed(matrices: Mapping[str, PartialMatrix]) -> dict[str, JSON]:
    return {name: [list(row) for row in matrix] for name, matrix in matrices.items()}
