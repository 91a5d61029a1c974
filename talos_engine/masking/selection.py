"""Exact, deterministic selection of entries by score over all tensors at once."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import torch
from torch import Tensor


def live_count(total: int, sparsity: float) -> int:
    """``total − ⌊sparsity · total⌋``, the sparsity taken as the decimal number it is written as."""
    return total - int(Decimal(repr(float(sparsity))) * total)


def round_count(total: int, sparsity: float, round_number: int, rounds: int) -> int:
    """How many entries are live after a round: ``(1 − k)^(r/R)`` of them, exact in the last round.

    Source: Alg. 1 of arXiv:2504.02620; deviation: it prints ``k^(r/R)``, which does not grow.

    Args:
        total: Number of maskable entries.
        sparsity: Final sparsity k in [0, 1).
        round_number: r, counted from 1.
        rounds: R.
    """
    final = live_count(total, sparsity)
    if round_number == rounds:
        return final
    density: float = (1 - sparsity) ** (round_number / rounds)
    return max(final, round(density * total))


def keep_lowest(
    scores: Mapping[str, Tensor], candidates: Mapping[str, Tensor], count: int
) -> dict[str, Tensor]:
    """Flags of the ``count`` candidates with the lowest scores.

    Ties go to the earlier tensor (order of ``candidates``), then to the lower flat index.

    Args:
        scores: Float tensors by name.
        candidates: Bool tensors by name, in ranking order; only these entries take part.
        count: How many to keep, at most the number of candidates.

    Returns:
        Bool tensors in the shapes of ``candidates``.
    """
    flags = torch.cat([candidates[name].flatten() for name in candidates])
    ranked = torch.cat([scores[name].flatten().to("cpu") for name in candidates])[flags]
    if not 0 <= count <= len(ranked):
        raise ValueError(f"cannot keep {count} of {len(ranked)} candidates")
    kept = torch.zeros_like(ranked, dtype=torch.bool)
    if count:
        threshold = torch.kthvalue(ranked, count).values
        kept = ranked < threshold
        ties = torch.nonzero(ranked == threshold)[:, 0]
        kept[ties[: count - int(kept.sum())]] = True
    chosen = torch.zeros_like(flags)
    chosen[flags] = kept
    pieces = chosen.split([candidates[name].numel() for name in candidates])
    return {
        name: piece.view(candidates[name].shape)
        for name, piece in zip(candidates, pieces, strict=True)
    }


def count_entries(flags: Mapping[str, Tensor]) -> int:
    """Number of true entries over all tensors."""
    return sum(int(tensor.sum().item()) for tensor in flags.values())
