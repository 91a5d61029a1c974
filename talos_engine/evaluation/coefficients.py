"""Grids of coefficients and the rules that choose one from a validation curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from talos_engine.configuration import check_choice, check_fraction
from talos_engine.errors import DataError

GRIDS = ("paper", "plain", "union")
DEFAULT_GRID = "union"
_POINTS = 21


@dataclass(frozen=True)
class CurvePoint:
    """Validation measures at one coefficient.

    Args:
        coef: α.
        accuracy: Accuracy by task, in [0, 1].
        objective: What the search optimizes at this α.
        feasible: Whether the point may be chosen.
    """

    coef: float
    accuracy: Mapping[str, float]
    objective: float
    feasible: bool = True


def coefficient_grid(kind: str, sparsities: Sequence[float]) -> tuple[float, ...]:
    """Values of α to try, ascending, starting at 0 (App. A.1 of arXiv:2504.02620).

    Args:
        kind: ``plain`` is {0, 0.05, …, 1}; ``paper`` stretches it by ``1 / (1 − k)``, the smallest
            stretch where the vectors differ; ``union`` is both.
        sparsities: k of each vector, in [0, 1); 0 for a dense one.
    """
    check_choice("grid", kind, GRIDS)
    for sparsity in sparsities:
        check_fraction("sparsity", sparsity, below_one=True)
    plain = [round(i * 0.05, 10) for i in range(_POINTS)]
    stretch = min(1 / (1 - sparsity) for sparsity in sparsities)
    stretched = [round(i * 0.05 * stretch, 10) for i in range(_POINTS)]
    chosen = {"plain": plain, "paper": stretched, "union": plain + stretched}[kind]
    return tuple(sorted(set(chosen)))


def choose_highest(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The feasible point with the highest objective; ties go to the smallest α."""
    return _choose(curve, lambda point: -point.objective)


def choose_lowest(curve: Sequence[CurvePoint]) -> CurvePoint:
    """The feasible point with the lowest objective; ties go to the smallest α."""
    return _choose(curve, lambda point: point.objective)


def _choose(curve: Sequence[CurvePoint], cost: Callable[[CurvePoint], float]) -> CurvePoint:
    feasible = [point for point in curve if point.feasible]
    if not feasible:
        raise DataError("no coefficient satisfies the constraint")
    return min(feasible, key=lambda point: (cost(point), point.coef))
