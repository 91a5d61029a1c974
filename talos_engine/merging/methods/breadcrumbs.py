"""``breadcrumbs``: leave out both the largest changes and the small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from talos_engine.configuration import (
    PER_VECTOR,
    OneOrEach,
    check_choice,
    check_fraction,
    value_at,
    values_of,
)
from talos_engine.merging.ops import sum_processed
from talos_engine.merging.ranking import SCOPES, MagnitudeRanking, keep_largest, touched_entries
from talos_engine.merging.spec import (
    DIALECTS,
    MERGE_METHODS,
    Merge,
    MergeContext,
    MergeEntry,
    VectorSource,
)


@dataclass(frozen=True)
class BreadcrumbsConfig:
    """Options of Breadcrumbs; the shares once for all or once per vector.

    Args:
        breadcrumbs_outliers: Share γ of the entries, the largest ones, that is left out, in
            [0, 1]; ``None`` is 0.1, and 0.01 in mergekit's dialect. The paper's grid names 1 − γ.
        breadcrumbs_density: Share β of the entries, the largest of the others, that is kept, in
            [0, 1]; ``None`` is 0.2, and 1 in mergekit's dialect.
        scope: What entries are ranked with: their ``row``, their ``tensor`` or the whole vector
            (``global``); ``None`` is ``row``, and ``tensor`` in mergekit's dialect.
        dialect: Whose semantics. Mergekit's leaves out fewer outliers where β + γ > 1.
    """

    breadcrumbs_outliers: OneOrEach[float] | None = field(default=None, metadata=PER_VECTOR)
    breadcrumbs_density: OneOrEach[float] | None = field(default=None, metadata=PER_VECTOR)
    scope: str | None = None
    dialect: str = "official"

    def __post_init__(self) -> None:
        check_choice("dialect", self.dialect, DIALECTS)
        official = self.dialect == "official"
        defaults = {
            "breadcrumbs_outliers": 0.1 if official else 0.01,
            "breadcrumbs_density": 0.2 if official else 1.0,
            "scope": "row" if official else "tensor",
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for outliers in values_of(self.breadcrumbs_outliers or 0.0):
            check_fraction("breadcrumbs-outliers", outliers)
        for density in values_of(self.breadcrumbs_density or 0.0):
            check_fraction("breadcrumbs-density", density)
        check_choice("scope", self.ranked, SCOPES)

    def outliers(self, position: int) -> float:
        """Share γ of the vector at a position."""
        return float(value_at(self.breadcrumbs_outliers or 0.0, position))

    def density(self, position: int) -> float:
        """Share β of the vector at a position."""
        return float(value_at(self.breadcrumbs_density or 0.0, position))

    @property
    def ranked(self) -> str:
        """The scope."""
        return self.scope or "row"

    def dropped(self, position: int, entries: int) -> int:
        """How many of so many entries of the vector at a position are outliers."""
        count = int(entries * self.outliers(position))
        if self.dialect == "official":
            return count
        return min(count, entries - int(entries * self.density(position)))

    def reach(self, position: int, entries: int) -> int:
        """How many of so many entries of the vector at a position are outliers or kept."""
        return self.dropped(position, entries) + int(entries * self.density(position))


def merge_breadcrumbs(
    config: BreadcrumbsConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """Leave out outliers and small changes of each vector, then sum; the parts are the rests.

    0-d tensors are left whole. Source: Davari & Belilovsky 2024, Sec. 3; deviation: outliers stay
    out where β + γ > 1, and equal magnitudes are taken in flat order; the zeroing of
    tensors with fewer than 1/γ entries by mergekit before 0.1.5 is not repeated in its dialect.
    """
    inside = _prepare(config, vectors)

    def process(position: int, name: str, change: Tensor) -> Tensor:
        if not change.ndim:
            return change
        return torch.where(inside(position, name, change.abs()), change, 0.0)

    return sum_processed(vectors, weights, process)


def _prepare(
    config: BreadcrumbsConfig, vectors: Sequence[VectorSource]
) -> Callable[[int, str, Tensor], Tensor]:
    """Where the entries that stay lie; reads the vectors where they are ranked as a whole."""
    scope = config.ranked
    if scope != "global":
        return lambda position, name, magnitude: (
            keep_largest(magnitude, scope, partial(config.reach, position))
            & ~keep_largest(magnitude, scope, partial(config.dropped, position))
        )
    rankings = [MagnitudeRanking(vector) for vector in vectors]
    total = touched_entries(rankings)
    outer, inner = (
        [ranking.cut(count(at, total), total) for at, ranking in enumerate(rankings)]
        for count in (config.dropped, config.reach)
    )
    return lambda position, name, magnitude: (
        inner[position].above(name, magnitude) & ~outer[position].above(name, magnitude)
    )


MERGE_METHODS.register("breadcrumbs")(
    MergeEntry(
        "breadcrumbs",
        "Davari & Belilovsky 2024, arXiv:2312.06795",
        BreadcrumbsConfig,
        merge_breadcrumbs,
    )
)
