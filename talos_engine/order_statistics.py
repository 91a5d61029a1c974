"""The k lowest entries over many tensors: exact, ties decided, nothing concatenated.

The k-th value is found digit by digit in histograms of the numbers' bit patterns, sixteen bits at a
time, while the tensors stream by in slices; only counts are kept. What the entries mean is the
affair of the rooms above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

KeyStream: TypeAlias = "Callable[[], Iterable[tuple[Tensor, Tensor | None]]]"

_DIGIT_BITS = 16
_SLICE = 1 << 18  # entries looked at together, a cache's worth; does not change the result


def keep_lowest(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Flags of the ``count`` candidates with the lowest scores.

    Ties go to the earlier tensor (order of ``candidates``), then to the lower flat index; −0 and 0
    are equal. The result is that of a stable sort of all candidates; negated scores give the
    highest.

    Args:
        scores: Floating-point tensors by name, without NaN.
        candidates: Bool tensors by name, in ranking order; only these entries take part.
        count: How many to keep, at most the number of candidates.

    Returns:
        Bool tensors on the CPU, in the shapes of ``candidates``.

    Raises:
        ValueError: there are fewer candidates than ``count``, or a score is NaN.
    """
    kept = {name: torch.zeros(flags.shape, dtype=torch.bool) for name, flags in candidates.items()}
    total = sum(int(torch.count_nonzero(flags)) for flags in candidates.values())
    if not 0 <= count <= total:
        raise ValueError(f"cannot keep {count} of {total} candidates")
    for name in candidates:
        if bool(scores[name].isnan().any()):
            raise ValueError(f"the scores of {name!r} hold NaN")
    if count == 0:
        return kept
    double = any(scores[name].dtype is torch.float64 for name in candidates)
    limit, ties = find_key(
        lambda: ((keys, flags) for _, flags, keys, _ in _slices(scores, candidates)),
        count,
        64 if double else 32,
    )
    for name, flags, keys, place in _slices(scores, candidates):
        out = kept[name].view(-1)[place]
        torch.lt(keys, limit, out=out)
        out &= flags
        if ties:
            equal = torch.nonzero((keys == limit) & flags)[:ties, 0]
            out[equal] = True
            ties -= len(equal)
    return kept


def find_key(stream: KeyStream, count: int, bits: int) -> tuple[int, int]:
    """The key of the ``count``-th lowest entry, and how many entries of that key are among these.

    Args:
        stream: Gives the keys (see ``sort_keys``) from the start, piece by piece, with flags of
            those that take part or ``None`` for all. It is asked once per sixteen bits.
        count: In [1, number of entries that take part].
        bits: Width of the keys, 32 or 64.
    """
    base = 1 << (_DIGIT_BITS - 1)  # makes the signed leading digit an index
    prefix, rest = 0, count
    for shift in range(bits - _DIGIT_BITS, -1, -_DIGIT_BITS):
        leading = shift == bits - _DIGIT_BITS
        histogram = torch.zeros(1 << _DIGIT_BITS, dtype=torch.int64)
        for keys, flags in stream():
            if leading:
                digits = (keys >> shift) + base
                if flags is not None:
                    digits = torch.where(flags, digits, 1 << _DIGIT_BITS)
            else:
                chosen = (keys >> (shift + _DIGIT_BITS)) == prefix
                chosen = chosen if flags is None else chosen & flags
                digits = (keys[chosen] >> shift) & 0xFFFF
            counted = torch.bincount(digits, minlength=(1 << _DIGIT_BITS) + 1)
            histogram += counted[:-1]  # the last bucket holds what takes no part
        reached = histogram.cumsum(0)
        digit = int(torch.searchsorted(reached, rest))  # first bucket that reaches ``rest``
        rest -= int(reached[digit] - histogram[digit])
        prefix = digit - base if leading else (prefix << _DIGIT_BITS) | digit
    return prefix, rest


def _slices(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor, slice]]:
    """Name, candidate flags, keys and place of each slice, in ranking order, on the CPU."""
    double = any(scores[name].dtype is torch.float64 for name in candidates)
    for name, flags in candidates.items():
        flat, scored = flags.reshape(-1), scores[name].detach().reshape(-1)
        for start in range(0, flat.numel(), _SLICE):
            place = slice(start, min(start + _SLICE, flat.numel()))
            values = scored[place].to("cpu", torch.float64 if double else torch.float32)
            yield name, flat[place].cpu(), sort_keys(values), place


def sort_keys(values: Tensor) -> Tensor:
    """Integers of the same width in the same order as the numbers; −0 and 0 both become 0.

    Args:
        values: float32 or float64, without NaN. Keys of non-negative numbers are their bits.
    """
    double = values.dtype is torch.float64
    bits = values.view(torch.int64 if double else torch.int32)
    if not bits.numel() or int(bits.min()) >= 0:  # no number has a sign, as in all our scores
        return bits
    magnitude = (1 << (63 if double else 31)) - 1
    return torch.where(bits < 0, -(bits & magnitude), bits)
