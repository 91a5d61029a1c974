"""Changes whose places are told by one bit per entry, taken range by range.

Unpacking a whole tensor's bits into positions takes eight bytes for each of them and leaves the
processor's cache; a range of them does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from talos_engine.artifacts.tensors import is_finite, unpack_bits
from talos_engine.artifacts.vector import VectorPiece, value_dtype

_SET_BITS = np.array([byte.bit_count() for byte in range(256)], dtype=np.uint8)
_RANGE = 2**16  # entries, a multiple of 8


def split_bitmap(bits: torch.Tensor, values: torch.Tensor, numel: int) -> Iterator[VectorPiece]:
    """Changes in flat order, those of one range at a time; ranges without a change are left out.

    Args:
        bits: uint8, shape (ceil(numel / 8),); as many bits are set as there are values.
        values: The changes, shape (k,).
        numel: Number of entries.
    """
    done = 0
    for start in range(0, numel, _RANGE):
        stop = min(start + _RANGE, numel)
        flags = unpack_bits(bits[start // 8 : -(-stop // 8)], stop - start)
        positions = torch.from_numpy(np.flatnonzero(flags.numpy()))
        count = len(positions)
        if count:
            yield VectorPiece(start, stop, positions, values[done : done + count])
        done += count


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
    if int(_SET_BITS[bits.numpy()].sum(dtype=np.int64)) != len(values) or len(fix_index) != len(
        fix_values
    ):
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
