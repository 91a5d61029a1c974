"""Exact order statistics of magnitudes: within a row, a tensor, or a whole vector out of core.

Over a whole vector nothing is sorted and no sample is taken, see ``order_statistics``: float32
takes two passes over the vector, float64 four.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from talos_engine.merging.spec import VectorSource
from talos_engine.order_statistics import find_key, sort_keys

SCOPES = ("global", "tensor", "row")


@dataclass(frozen=True)
class Cut:
    """The line above which entries of a whole vector are among its largest.

    Args:
        value: Larger magnitudes are above the line.
        quota: How many entries of each tensor that equal ``value`` are above it too, the first
            ones in flat order.
    """

    value: float
    quota: Mapping[str, int]

    def above(self, name: str, magnitude: Tensor) -> Tensor:
        """Where the magnitudes of one tensor are above the line, bool in its shape."""
        flat = magnitude.reshape(1, -1)
        quota = torch.tensor([[self.quota.get(name, 0)]])
        return ((flat > self.value) | _first(flat == self.value, quota)).reshape(magnitude.shape)


class MagnitudeRanking:
    """Order statistics of ``|τ|`` over one vector, whose tensors are read one at a time.

    Args:
        vector: The vector; it is read once here and again for every question.
    """

    def __init__(self, vector: VectorSource) -> None:
        self.vector = vector
        self._double = torch.float64 in vector.dtypes.values()
        self.nonzero = dict.fromkeys(vector.shapes, 0)
        for name, keys in self._keys():
            self.nonzero[name] += len(keys)

    def kth_smallest(self, rank: int, total: int) -> float:
        """The value of this rank, counted from 1, among ``total`` magnitudes.

        Args:
            rank: In [1, total].
            total: Number of entries, those without a change included.
        """
        remaining = rank - (total - sum(self.nonzero.values()))
        if remaining <= 0:
            return 0.0
        bits = 64 if self._double else 32
        key, _ = find_key(lambda: ((keys, None) for _, keys in self._keys()), remaining, bits)
        if self._double:
            return float(torch.tensor(key, dtype=torch.int64).view(torch.float64))
        return float(torch.tensor(key, dtype=torch.int32).view(torch.float32))

    def cut(self, count: int, total: int) -> Cut:
        """The line above which exactly ``count`` of ``total`` entries lie.

        Equal magnitudes are taken by name of the tensor, then in flat order.
        """
        if count <= 0:
            return Cut(math.inf, {})
        value = self.kth_smallest(max(1, total - count + 1), total)
        equal: dict[str, int] = {}
        for name in self.vector.shapes:
            equal[name] = 0
            for values in self.vector.values(name):
                magnitude = values.abs().double()
                count -= int((magnitude > value).sum())
                equal[name] += int((magnitude == value).sum())
        quota = {}
        for name in sorted(equal):
            quota[name] = min(equal[name], max(0, count))
            count -= quota[name]
        return Cut(value, quota)

    def _keys(self) -> Iterator[tuple[str, Tensor]]:
        """Keys of the magnitudes other than 0, some of one tensor at a time."""
        wide = torch.float64 if self._double else torch.float32
        for name in self.vector.shapes:
            for values in self.vector.values(name):
                yield name, sort_keys(values[values != 0].abs().to(wide))


def touched_entries(rankings: Sequence[MagnitudeRanking]) -> int:
    """d: number of entries of the tensors that any of these vectors changes."""
    shapes = {
        name: ranking.vector.shapes[name]
        for ranking in rankings
        for name, count in ranking.nonzero.items()
        if count
    }
    return sum(math.prod(shape) for shape in shapes.values())


def keep_from_rank(magnitude: Tensor, scope: str, rank_of: Callable[[int], int]) -> Tensor:
    """Where a magnitude is at least the one of a rank, bool; more than asked for where some equal.

    Args:
        magnitude: Non-negative, any shape.
        scope: ``tensor`` or ``row`` of the last dimension.
        rank_of: From the number of entries ranked together to a rank counted from the smallest,
            from 1; 0 keeps everything.
    """
    if not magnitude.numel():
        return torch.ones(magnitude.shape, dtype=torch.bool)
    rows = _as_rows(magnitude, scope)
    rank = rank_of(rows.shape[1])
    if rank <= 0:
        return torch.ones(magnitude.shape, dtype=torch.bool)
    line = rows.kthvalue(rank, dim=1, keepdim=True).values
    return (rows >= line).reshape(magnitude.shape)


def keep_largest(magnitude: Tensor, scope: str, count_of: Callable[[int], int]) -> Tensor:
    """Where the largest magnitudes lie, bool; exactly as many as asked for.

    Equal magnitudes are taken in flat order.

    Args:
        magnitude: Non-negative, any shape.
        scope: ``tensor`` or ``row`` of the last dimension.
        count_of: From the number of entries ranked together to how many of them are kept.
    """
    if not magnitude.numel():
        return torch.zeros(magnitude.shape, dtype=torch.bool)
    rows = _as_rows(magnitude, scope)
    columns = rows.shape[1]
    count = count_of(columns)
    if not 0 < count < columns:
        return torch.full(magnitude.shape, count > 0)
    line = rows.kthvalue(columns - count + 1, dim=1, keepdim=True).values
    larger = rows > line
    quota = count - larger.sum(dim=1, keepdim=True)
    return (larger | _first(rows == line, quota)).reshape(magnitude.shape)


def _as_rows(tensor: Tensor, scope: str) -> Tensor:
    """View of a tensor that is not empty, shape (groups, entries ranked together)."""
    if scope == "row" and tensor.ndim:
        return tensor.reshape(-1, tensor.shape[-1])
    return tensor.reshape(1, -1)


def _first(flags: Tensor, quota: Tensor) -> Tensor:
    """The first ``quota`` true flags of every row; flags of shape (n, m), quota of shape (n, 1)."""
    return flags & (flags.cumsum(dim=1) <= quota)
