"""``ties``: trim small changes, elect a sign for every entry, average what agrees with it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor

from talos_engine.artifacts import RANGE_ENTRIES
from talos_engine.configuration import (
    PER_VECTOR,
    OneOrEach,
    check_choice,
    check_fraction,
    value_at,
    values_of,
)
from talos_engine.merging.ops import (
    by_ranges,
    change_of,
    changes_of,
    fits_ranges,
    listed_names,
    piece_change,
    shape_of,
)
from talos_engine.merging.ranking import (
    SCOPES,
    MagnitudeRanking,
    keep_from_rank,
    keep_largest,
    touched_entries,
)
from talos_engine.merging.spec import (
    DIALECTS,
    MERGE_METHODS,
    Merge,
    MergeContext,
    MergeEntry,
    VectorSource,
)

MERGES = ("mean", "sum")
Trim: TypeAlias = Callable[[int, str, Tensor], Tensor]
Keep: TypeAlias = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class TiesConfig:
    """Options of TIES.

    Args:
        ties_density: Share K of the entries of each vector that is kept, in [0, 1], once for all
            or once per vector; ``None`` is 0.2, and 1 in mergekit's dialect.
        ties_merge: ``mean`` divides by the number (mergekit: the weight) of agreeing entries,
            ``sum`` does not.
        scope: What entries are ranked with: the whole vector (``global``), their ``tensor`` or
            their ``row``; ``None`` is ``global``, and ``tensor`` in mergekit's dialect.
        dialect: Whose semantics.
    """

    ties_density: OneOrEach[float] | None = field(default=None, metadata=PER_VECTOR)
    ties_merge: str = "mean"
    scope: str | None = None
    dialect: str = "official"

    def __post_init__(self) -> None:
        check_choice("dialect", self.dialect, DIALECTS)
        check_choice("ties-merge", self.ties_merge, MERGES)
        official = self.dialect == "official"
        if self.ties_density is None:
            object.__setattr__(self, "ties_density", 0.2 if official else 1.0)
        if self.scope is None:
            object.__setattr__(self, "scope", "global" if official else "tensor")
        for density in values_of(self.ties_density or 0.0):
            check_fraction("ties-density", density)
        check_choice("scope", self.ranked, SCOPES)

    def density(self, position: int) -> float:
        """Share K of the vector at a position."""
        return float(value_at(self.ties_density or 0.0, position))

    @property
    def ranked(self) -> str:
        """The scope."""
        return self.scope or "global"

    @property
    def trims_entries(self) -> bool:
        """Whether, thresholds being known, an entry is trimmed whatever lies around it."""
        whole = all(density >= 1 for density in values_of(self.ties_density or 0.0))
        return whole or (self.ranked == "global" and self.dialect == "official")


@dataclass
class Ballot:
    """What the vectors say about every entry of a tensor, summed over the vectors.

    Args:
        shape: The tensor's shape.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        zeros = functools.partial(torch.zeros, self.shape, dtype=torch.float64)
        self.up, self.down, self.up_count, self.down_count = zeros(), zeros(), zeros(), zeros()

    def add(self, change: Tensor, count: float) -> None:
        """Count a vector's trimmed change, float64, as ``count`` votes."""
        up, down = change > 0, change < 0
        self.up += torch.where(up, change, 0.0)
        self.down += torch.where(down, change, 0.0)
        self.up_count += up.double() * count
        self.down_count += down.double() * count

    def merge(self, sign: Tensor, *, divide: bool) -> Tensor:
        """The disjoint merge: sum over the changes of this sign, divided by their count."""
        if divide:
            up = self.up / torch.where(self.up_count == 0, 1.0, self.up_count)
            down = self.down / torch.where(self.down_count == 0, 1.0, self.down_count)
        else:
            up, down = self.up, self.down
        return torch.where(sign > 0, up, torch.where(sign < 0, down, 0.0))


def merge_ties(
    config: TiesConfig,
    vectors: Sequence[VectorSource],
    weights: Sequence[float],
    context: MergeContext,
) -> Merge:
    """Trim, elect sign, disjoint merge (Yadav et al. 2023, Sec. 4); the parts are what agrees.

    Deviation: where an entry and the whole vote are tied, nothing is added, so that turning every
    sign turns the result; the authors' code takes the negative changes there, mergekit the
    positive ones (and so does its dialect here).
    """
    election = _Election(config, vectors, weights, _prepare_trim(config, vectors))
    return Merge(
        models=(_Merged(election),),
        parts=tuple(
            functools.partial(election.agreeing, position) for position in range(len(vectors))
        ),
    )


@dataclass(frozen=True)
class _Election:
    """The vectors' votes on the sign of every entry."""

    config: TiesConfig
    vectors: Sequence[VectorSource]
    weights: Sequence[float]
    trim: Trim

    def ballots(self, name: str) -> Iterator[Ballot]:
        """The votes of one tensor: on all its entries, or where trimming allows range by range."""
        shape = shape_of(self.vectors, name)
        listing = [vector for vector in self.vectors if name in vector.shapes]
        if not self.config.trims_entries or not fits_ranges(listing, name):
            ballot = Ballot(shape)
            for position, change in changes_of(self.vectors, name):
                self._count(ballot, position, name, change)
            yield ballot
            return
        for count, pieces in by_ranges(self.vectors, name, math.prod(shape)):
            ballot = Ballot((count,))
            for position, piece in pieces:
                self._count(ballot, position, name, piece_change(piece, count))
            yield ballot

    def _count(self, ballot: Ballot, position: int, name: str, change: Tensor) -> None:
        votes = 1.0 if self.config.dialect == "official" else self.weights[position]
        ballot.add(self._trimmed(position, name, change), votes)

    def _trimmed(self, position: int, name: str, change: Tensor) -> Tensor:
        kept = self.trim(position, name, change.abs())
        return torch.where(kept, change, 0.0) * self.weights[position]

    @functools.cached_property
    def majority(self) -> float:
        """The sign that most entries of all tensors have elected; takes a pass over everything."""
        ballots = (each for name in listed_names(self.vectors) for each in self.ballots(name))
        votes = sum(int((ballot.up + ballot.down).sign().sum()) for ballot in ballots)
        return float((votes > 0) - (votes < 0))

    def elect(self, ballot: Ballot) -> Tensor:
        """The sign of each entry."""
        official = self.config.dialect == "official"
        sign = (ballot.up + ballot.down).sign()
        tied = (sign == 0) & (ballot.up != 0)
        if official and not bool(tied.any()):
            return sign  # elsewhere nobody has a change, and the sign of 0 does not matter
        return torch.where(sign == 0, self.majority if official else 1.0, sign)

    def agreeing(self, position: int, name: str) -> Tensor:
        """What of one trimmed vector has the elected sign."""
        shape = shape_of(self.vectors, name)
        sign = torch.cat([self.elect(each).reshape(-1) for each in self.ballots(name)])
        change = change_of(self.vectors[position], name)
        if change is None:
            return torch.zeros(shape, dtype=torch.float64)
        change = self._trimmed(position, name, change)
        return torch.where(change.sign() == sign.reshape(shape), change, 0.0)


@dataclass(frozen=True)
class _Merged:
    """The disjoint merge; a ``RangeCombine``."""

    election: _Election

    def __call__(self, name: str) -> Tensor:
        shape = shape_of(self.election.vectors, name)
        return torch.cat([each.reshape(-1) for each in self._parts(name)]).reshape(shape)

    def ranges(self, name: str) -> Iterator[Tensor]:
        for each in self._parts(name):
            yield from each.reshape(-1).split(RANGE_ENTRIES)

    def _parts(self, name: str) -> Iterator[Tensor]:
        election = self.election
        for ballot in election.ballots(name):
            yield ballot.merge(election.elect(ballot), divide=election.config.ties_merge == "mean")


def _prepare_trim(config: TiesConfig, vectors: Sequence[VectorSource]) -> Trim:
    """Which entries of which vector stay; reads the vectors where they are ranked as a whole."""
    scope, official = config.ranked, config.dialect == "official"
    densities = [config.density(position) for position in range(len(vectors))]
    ranked = scope == "global" and any(density < 1 for density in densities)
    rankings = [MagnitudeRanking(vector) for vector in vectors] if ranked else []
    total = touched_entries(rankings)

    def prepare(position: int) -> Keep:
        density = densities[position]
        if density >= 1:
            return lambda name, magnitude: torch.ones_like(magnitude, dtype=torch.bool)
        if not ranked and official:
            return lambda name, magnitude: keep_from_rank(
                magnitude, scope, lambda n: n - int(n * density)
            )
        if not ranked:
            return lambda name, magnitude: keep_largest(
                magnitude, scope, lambda n: int(density * n)
            )
        count = int(total * density)
        if official:
            line = rankings[position].kth_smallest(total - count, total)
            return lambda name, magnitude: magnitude >= line
        return rankings[position].cut(count, total).above

    keeps = [prepare(position) for position in range(len(vectors))]
    return lambda position, name, magnitude: keeps[position](name, magnitude)


MERGE_METHODS.register("ties")(
    MergeEntry(
        "ties",
        "Yadav et al. 2023, arXiv:2306.01708",
        TiesConfig,
        merge_ties,
        uses_others=True,
        passes=4,
    )
)
