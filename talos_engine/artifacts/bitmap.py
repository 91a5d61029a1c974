"""Changes whose places are told by one bit per entry, taken range by range.

Unpacking a whole tensor's bits into positions takes eight bytes for each of them and leaves the
processor's cache; a range of them does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from talos_engine.artifacts.tensors import is_finite
from talos_engine.artifacts.vector import RANGE_ENTRIES, VectorPiece, value_dtype

_SET_BITS = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)
_RANGE = RANGE_ENTRIES  # a multiple of 64
_BRANCHING = 0.03, 0.1
"""Shares of live entries between which numpy looks for them with a branch for each."""
_ONES = np.full(_RANGE // 64, 255, dtype=np.uint8)


def split_bitmap(bits: torch.Tensor, values: torch.Tensor, numel: int) -> Iterator[VectorPiece]:
    """Changes in flat order, those of one range at a time; ranges without a change are left out.

    Args:
        bits: uint8, shape (ceil(numel / 8),); as many bits are set as there are values.
        values: The changes, shape (k,).
        numel: Number of entries.
    """
    if not numel:
        return
    done = 0
    packed = bits.numpy()
    counts = np.add.reduceat(_count_bits(packed), range(0, -(-numel // 64), _RANGE // 64))
    for start, count in zip(range(0, numel, _RANGE), counts.tolist(), strict=True):
        if count:
            stop = min(start + _RANGE, numel)
            positions = _positions(packed[start // 8 : -(-stop // 8)], count)
            values_here = values[done : done + count]
            yield VectorPiece(start, stop, torch.from_numpy(positions), values_here)
            done += count


def _positions(packed: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
    """Where bits are set, which are ``count``.

    Up to a share of a tenth numpy takes a branch for each entry that a processor guesses wrong,
    above it none: there, ones that are cut off again make the search twice as fast.
    """
    entries = 8 * len(packed)
    low, high = _BRANCHING
    if low * entries < count <= high * entries:
        added = int((high * entries - count) / (1 - high)) // 8 + 1
        packed = np.concatenate([packed, _ONES[:added]])
    flags = np.unpackbits(packed, bitorder="little").view(np.bool_)
    return np.flatnonzero(flags)[:count]


def _count_bits(packed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Set bits of every eight bytes."""
    padded = packed if len(packed) % 8 == 0 else np.pad(packed, (0, -len(packed) % 8))
    if hasattr(np, "bitwise_count"):
        return np.bitwise_count(padded.view(np.uint64)).astype(np.int64)
    counts: NDArray[np.int64] = _SET_BITS[padded].reshape(-1, 8).sum(axis=1, dtype=np.int64)
    return counts  # numpy 1


def bitmap_problem(
    bits: torch.Tensor,
    values: torch.Tensor,
    fix_index: torch.Tensor,
    fix_values: torch.Tensor,
    numel: int,
) -> str:
    """What is wrong with such an entry; as ``entry_problem`` for one whose bits are unpacked.

    Args:
        bits: As in ``split_bitmap``.
        values: The changes.
        fix_index: As in ``VectorEntry``, with values ``fix_values``.
        fix_values: As in ``VectorEntry``.
        numel: Number of entries.
    """
    if values.dtype != value_dtype(fix_values.dtype):
        return f"has changes in {values.dtype} for a {fix_values.dtype} tensor"
    if numel % 8 and int(bits[-1]) >> (numel % 8):
        return "has a set bit that stands for no entry"
    if int(_count_bits(bits.numpy()).sum()) != len(values) or len(fix_index) != len(fix_values):
        return "has other numbers of values than of positions"
    if len(fix_index):
        if int(fix_index[0]) < 0 or int(fix_index[-1]) >= numel:
            return "has positions out of range"
        if not bool((fix_index[1:] > fix_index[:-1]).all()):
            return "has positions that do not increase"
        if not bool(((bits[fix_index >> 3] >> (fix_index & 7)) & 1).all()):
            return "has fixes where it has no changes"
    if not is_finite(values) or not is_finite(fix_values):
        return "holds NaN or Inf"
    return ""
