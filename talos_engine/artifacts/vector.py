"""What fine-tuning changed: the difference of two models, one entry per changed tensor.

Here are the difference of one tensor and its exact undoing. Files are the affair of
``vector_file``, sums and scalings that of ``merging``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from talos_engine.artifacts.header import Header
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import ArtifactError, MismatchError

Sparse: TypeAlias = Literal["auto", "always", "never"]

RANGE_ENTRIES = 2**16
"""Entries that are worked on together, so that what lies between stays in the cache."""

SLICE_ENTRIES = 2**18
"""The same where counting them has a price of its own."""

# Floating-point dtypes whose changes can be kept, with integers of the same width.
BITS_OF = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


@dataclass(frozen=True, eq=False)
class VectorPiece:
    """The changes within a range of a tensor's entries, of ``RANGE_ENTRIES`` but for the last.

    Args:
        start: Flat position of the first entry of the range, a multiple of ``RANGE_ENTRIES``.
        stop: Flat position after the last one.
        positions: int64, shape (k,), strictly increasing, counted from ``start``; ``None`` where
            every entry of the range has a change.
        values: The changes there, shape (k,).
    """

    start: int
    stop: int
    positions: torch.Tensor | None
    values: torch.Tensor


@dataclass(frozen=True, eq=False)
class VectorEntry:
    """The change of one tensor.

    Args:
        shape: The tensor's shape.
        values: float32, or float64 for a float64 tensor; shape (k,): the change at ``index``, or
            of all entries in flat order where ``index`` is None.
        index: int64, shape (k,), strictly increasing flat positions; all others are unchanged.
        fix_index: int64, shape (m,), strictly increasing flat positions where base plus change
            rounds to something else than the fine-tuned tensor.
        fix_values: The fine-tuned tensor there, shape (m,). Its dtype is that of the tensor, also
            where m is 0.
    """

    shape: tuple[int, ...]
    values: torch.Tensor
    index: torch.Tensor | None
    fix_index: torch.Tensor
    fix_values: torch.Tensor

    @property
    def numel(self) -> int:
        """Number of entries of the tensor."""
        return math.prod(self.shape)

    @property
    def nnz(self) -> int:
        """Number of entries whose change is not zero; the same for dense and sparse storage."""
        return int(torch.count_nonzero(self.values))

    def pieces(self) -> Iterator[VectorPiece]:
        """The changes in flat order, those of one range at a time; see ``VectorPiece``."""
        values = self.values.reshape(-1)
        starts = range(0, self.numel, RANGE_ENTRIES)
        if self.index is None:
            for start in starts:
                stop = min(start + RANGE_ENTRIES, self.numel)
                yield VectorPiece(start, stop, None, values[start:stop])
            return
        edges = torch.tensor([*starts, self.numel])
        cuts = torch.searchsorted(self.index, edges).tolist()
        for start, begin, end in zip(starts, cuts, cuts[1:], strict=False):
            stop = min(start + RANGE_ENTRIES, self.numel)
            if begin < end:
                yield VectorPiece(start, stop, self.index[begin:end] - start, values[begin:end])

    def dense(self) -> torch.Tensor:
        """The change of every entry, in the tensor's shape and the dtype of ``values``."""
        if self.index is None:
            return self.values.reshape(self.shape)
        flat = self.values.new_zeros(self.numel)
        flat[self.index] = self.values
        return flat.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class TaskVector:
    """The change of a model.

    Args:
        header: Of kind ``vector``.
        entries: Parameter name -> its change; unchanged parameters are left out.
    """

    header: Header
    entries: dict[str, VectorEntry]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every changed parameter, by name in sorted order."""
        return {name: self.entries[name].shape for name in sorted(self.entries)}

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        """Dtype of every changed parameter, by name in sorted order."""
        return {name: self.entries[name].fix_values.dtype for name in sorted(self.entries)}

    def entry(self, name: str) -> VectorEntry:
        """Change of parameter ``name``.

        Raises:
            KeyError: it is not changed.
        """
        return self.entries[name]

    def pieces(self, name: str) -> Iterator[VectorPiece]:
        """Changes of parameter ``name`` in flat order.

        Raises:
            KeyError: it is not changed.
        """
        return self.entries[name].pieces()

    def values(self, name: str) -> Iterator[torch.Tensor]:
        """The stored changes of parameter ``name`` in flat order, without their positions.

        Raises:
            KeyError: it is not changed.
        """
        yield from self.entries[name].values.reshape(-1).split(SLICE_ENTRIES)

    def stored_bytes(self, name: str) -> int:  # noqa: ARG002
        """How much more memory ``pieces`` of parameter ``name`` hold while they are taken: none."""
        return 0


def make_entry(
    theta0: torch.Tensor, theta: torch.Tensor, *, sparse: Sparse = "auto", name: str = ""
) -> VectorEntry | None:
    """Change from ``theta0`` to ``theta`` that ``restore`` undoes bit for bit.

    The change is taken in float32 (float64 for float64 tensors). Entries of equal bits are frozen;
    -0.0 and 0.0 differ.

    Args:
        theta0: The pre-trained tensor, finite.
        theta: The fine-tuned tensor, finite, same shape and dtype.
        sparse: Whether only changed entries are kept: ``auto`` decides by bytes on disk.
        name: The tensor's name, for messages.

    Returns:
        The change on the CPU, or None where there is none.

    Raises:
        MismatchError: shapes or dtypes differ, or a tensor that is not floating-point changed.
        ArtifactError: a tensor holds NaN or Inf.
    """
    if theta.shape != theta0.shape or theta.dtype != theta0.dtype:
        raise MismatchError(
            f"tensor {name!r}: the base has {theta0.dtype} {tuple(theta0.shape)}, the fine-tuned "
            f"model {theta.dtype} {tuple(theta.shape)}"
        )
    start = theta0.detach().to("cpu").reshape(-1)
    end = theta.detach().to("cpu").reshape(-1)
    if theta.dtype not in BITS_OF:
        if torch.equal(start, end):
            return None
        raise MismatchError(f"tensor {name!r} is {theta.dtype} and differs from the base")
    for tensor, which in ((start, "base"), (end, "fine-tuned model")):
        if not is_finite(tensor):
            raise ArtifactError(f"tensor {name!r} of the {which} holds NaN or Inf")
    index = _differing(start, end)
    if not len(index):
        return None
    dense = sparse == "never" or (sparse == "auto" and not _sparse_is_smaller(start, len(index)))
    if dense:
        values = _difference(start, end)
        fix_index = _differing(_add(start, values), end)
    else:
        values = _difference(start[index], end[index])
        fix_index = index[_differing(_add(start[index], values), end[index])]
    kept = None if dense else index
    return VectorEntry(tuple(theta.shape), values, kept, fix_index, end[fix_index])


def restore(theta0: torch.Tensor, entry: VectorEntry) -> torch.Tensor:
    """The fine-tuned tensor that ``entry`` was made from, bit for bit.

    Args:
        theta0: The pre-trained tensor that it was made from.
        entry: Its change.

    Returns:
        A new tensor in the shape, dtype and device of ``theta0``.

    Raises:
        MismatchError: ``theta0`` has another shape or dtype.
    """
    if tuple(theta0.shape) != entry.shape or theta0.dtype != entry.fix_values.dtype:
        raise MismatchError(
            f"the change of a {entry.fix_values.dtype} tensor of shape {entry.shape} cannot be "
            f"applied to a {theta0.dtype} tensor of shape {tuple(theta0.shape)}"
        )
    flat = theta0.detach().reshape(-1)
    values = entry.values.to(flat.device)
    if entry.index is None:
        result = _add(flat, values)
    else:
        index = entry.index.to(flat.device)
        result = flat.clone()
        result[index] = _add(flat[index], values)
    result[entry.fix_index.to(flat.device)] = entry.fix_values.to(flat.device)
    return result.reshape(entry.shape)


def entry_problem(entry: VectorEntry) -> str:
    """What is wrong with an entry, to follow its tensor's name in a message; empty if nothing."""
    values, fixes = entry.values, entry.fix_values
    if values.dtype != value_dtype(fixes.dtype):
        return f"has changes in {values.dtype} for a {fixes.dtype} tensor"
    count = entry.numel if entry.index is None else len(entry.index)
    if tuple(values.shape) != (count,) or fixes.shape != entry.fix_index.shape:
        return "has other numbers of values than of positions"
    for index in (entry.index, entry.fix_index):
        if index is not None and (problem := _positions_problem(index, entry.numel)):
            return problem
    if entry.index is not None and len(fixes):
        near = torch.searchsorted(entry.index, entry.fix_index).clamp(max=count - 1)
        if not count or not torch.equal(entry.index[near], entry.fix_index):
            return "has fixes where it has no changes"
    if not is_finite(values) or not is_finite(fixes):
        return "holds NaN or Inf"
    return ""


def fixes_problem(index: torch.Tensor, values: torch.Tensor, numel: int) -> str:
    """What is wrong with the fixes of a dense entry; see ``entry_problem``."""
    if values.shape != index.shape:
        return "has other numbers of values than of positions"
    problem = _positions_problem(index, numel)
    return problem or ("" if is_finite(values) else "holds NaN or Inf")


def _positions_problem(index: torch.Tensor, numel: int) -> str:
    if not index.numel():
        return ""
    if index.dtype != torch.int64 or index.ndim != 1:
        return "has positions that are not a row of int64"
    if int(index[0]) < 0 or int(index[-1]) >= numel:
        return "has positions out of range"
    return "" if bool((index[1:] > index[:-1]).all()) else "has positions that do not increase"


def value_dtype(dtype: torch.dtype) -> torch.dtype:
    """Dtype in which changes of ``dtype`` tensors are kept: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def index_dtype(numel: int) -> torch.dtype:
    """Smallest of int32 and int64 that holds every flat position of ``numel`` entries."""
    return torch.int32 if numel <= 2**31 else torch.int64


def index_is_smaller(numel: int, count: int) -> bool:
    """Whether ``count`` flat positions take fewer bytes than one bit for each of ``numel``."""
    return count * index_dtype(numel).itemsize < -(-numel // 8)


def _sparse_is_smaller(start: torch.Tensor, count: int) -> bool:
    numel = start.numel()
    places = min(count * index_dtype(numel).itemsize, -(-numel // 8))
    return places < (numel - count) * value_dtype(start.dtype).itemsize


def _differing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    bits = BITS_OF[a.dtype]
    return torch.nonzero(a.view(bits) != b.view(bits)).reshape(-1)


def _difference(start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    dtype = value_dtype(start.dtype)
    limit = torch.finfo(dtype).max
    # Far apart entries may overflow: any finite change will do, as they are fixed afterwards.
    return (end.to(dtype) - start.to(dtype)).clamp(-limit, limit)


def _add(start: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    return (start.to(values.dtype) + values).to(start.dtype)
