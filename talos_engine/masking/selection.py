"""How many entries a mask keeps, and where they compete: over everything, per block, per tensor.

Finding the lowest of them is the affair of ``order_statistics``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from torch import Tensor

from talos_engine.configuration import check_choice
from talos_engine.models.structure import EncoderStructure
from talos_engine.order_statistics import keep_lowest

SCOPES = ("global", "layer", "tensor")
Unit: TypeAlias = "tuple[str, ...]"


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


def rank_units(structure: EncoderStructure, scope: str) -> tuple[Unit, ...]:
    """The groups of parameters within which entries are ranked against each other.

    Args:
        structure: The encoder.
        scope: ``global`` for one group of everything, ``layer`` for one per transformer block and
            one of what lies outside the blocks, ``tensor`` for each parameter by itself.

    Raises:
        OptionError: no such scope.
    """
    check_choice("scope", scope, SCOPES)
    if scope == "global":
        return (structure.maskable,)
    if scope == "tensor":
        return tuple((name,) for name in structure.maskable)
    layers = {group.name: group.layer for group in structure.groups}
    units: dict[int, list[str]] = {}
    for name in structure.maskable:
        units.setdefault(layers[name], []).append(name)
    return tuple(tuple(names) for names in units.values())


def unit_counts(
    candidates: Mapping[str, Tensor],
    units: Sequence[Unit],
    sparsity: float,
    round_number: int = 1,
    rounds: int = 1,
) -> tuple[int, ...]:
    """How many entries of each unit are live after a round; every unit gets the same density.

    Args:
        candidates: Bool tensors by name; only these entries count.
        units: Groups of names.
        sparsity: Final sparsity k in [0, 1).
        round_number: r, counted from 1.
        rounds: R.
    """
    return tuple(
        round_count(
            count_entries({name: candidates[name] for name in unit}), sparsity, round_number, rounds
        )
        for unit in units
    )


def keep_in_units(
    scores: Mapping[str, Tensor],
    candidates: Mapping[str, Tensor],
    units: Sequence[Unit],
    counts: Sequence[int],
) -> dict[str, Tensor]:
    """Flags of the lowest-scored candidates of each unit, as many as its count.

    Args:
        scores: Float tensors by name, without NaN.
        candidates: Bool tensors by name; only these entries take part.
        units: Groups of names that together are those of ``candidates``.
        counts: One per unit.

    Returns:
        Bool tensors on the CPU, in the order and shapes of ``candidates``.
    """
    kept: dict[str, Tensor] = {}
    for unit, count in zip(units, counts, strict=True):
        kept |= keep_lowest(scores, {name: candidates[name] for name in unit}, count)
    return {name: kept[name] for name in candidates}


def count_entries(flags: Mapping[str, Tensor]) -> int:
    """Number of true entries over all tensors."""
    return sum(int(tensor.sum().item()) for tensor in flags.values())
