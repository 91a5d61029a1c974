"""How sensitivities are distributed: histograms on a logarithmic scale, by kind of parameter."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from talos_engine.artifacts import JSON
from talos_engine.inspection.blocks import Block, kind_order

BINS_PER_DECADE = 4
_SLICE = 2**22  # entries that are sorted into bins at once


@dataclass(frozen=True)
class ScoreSummary:
    """The scores of some entries.

    Args:
        entries: Number of entries.
        zeros: Number of those that are exactly 0.
        least: Smallest score above 0.
        median: Median of the scores above 0, the mean of both middle ones for an even number.
        largest: Largest score; this and the two before are ``None`` where every score is 0.
        counts: Entries in each bin; together ``entries − zeros``.
    """

    entries: int
    zeros: int
    least: float | None
    median: float | None
    largest: float | None
    counts: tuple[int, ...]

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON."""
        return {
            "entries": self.entries,
            "zeros": self.zeros,
            "min_above_zero": self.least,
            "median_above_zero": self.median,
            "max": self.largest,
            "counts": list(self.counts),
        }


@dataclass(frozen=True)
class ScoreHistograms:
    """The scores of a file.

    Args:
        edges: Bin i holds ``edges[i] <= score < edges[i + 1]``; a quarter of a decade each. Empty
            where every score is 0.
        overall: All entries.
        by_kind: The entries of each kind.
    """

    edges: tuple[float, ...]
    overall: ScoreSummary
    by_kind: Mapping[str, ScoreSummary]

    def as_json(self) -> dict[str, JSON]:
        """Plain JSON."""
        return {
            "edges": list(self.edges),
            **self.overall.as_json(),
            "by_kind": {kind: summary.as_json() for kind, summary in self.by_kind.items()},
        }


def summarize_scores(tensors: Mapping[str, Tensor], blocks: Sequence[Block]) -> ScoreHistograms:
    """Histograms of all scores and of each kind's.

    Args:
        tensors: Scores by parameter, finite and >= 0.
        blocks: Blocks that cover them.
    """
    pieces: dict[str, list[Tensor]] = {}
    for block in blocks:
        piece = tensors[block.name].reshape(-1)[block.start : block.stop]
        pieces.setdefault(block.kind, []).append(piece)
    edges = _edges(tensors.values())
    by_kind = {kind: _summary(pieces[kind], edges) for kind in sorted(pieces, key=kind_order)}
    overall = _summary([piece for own in pieces.values() for piece in own], edges)
    return ScoreHistograms(tuple(edges), overall, by_kind)


def _edges(tensors: Iterable[Tensor]) -> list[float]:
    """Bin edges 10^(i/4) around every score above 0."""
    least, largest = math.inf, 0.0
    for tensor in tensors:
        above = tensor[tensor > 0]
        if above.numel():
            low, high = torch.aminmax(above)
            least, largest = min(least, float(low)), max(largest, float(high))
    if not largest:
        return []
    first = math.floor(BINS_PER_DECADE * math.log10(least))
    while _edge(first) > least:  # the logarithm may have been rounded up
        first -= 1
    last = math.floor(BINS_PER_DECADE * math.log10(largest)) + 1
    while _edge(last) <= largest:
        last += 1
    return [_edge(step) for step in range(first, last + 1)]


def _edge(step: int) -> float:
    edge: float = 10.0 ** (step / BINS_PER_DECADE)
    return edge


def _summary(pieces: Sequence[Tensor], edges: Sequence[float]) -> ScoreSummary:
    entries = sum(piece.numel() for piece in pieces)
    above = torch.cat([piece[piece > 0] for piece in pieces]) if pieces else torch.empty(0)
    counts = torch.zeros(max(len(edges) - 1, 0), dtype=torch.int64)
    bounds = torch.tensor(edges, dtype=torch.float64)
    for part in above.split(_SLICE):
        if part.numel():
            bins = torch.bucketize(part.double(), bounds, right=True) - 1
            counts += torch.bincount(bins, minlength=len(counts))
    least = median = largest = None
    if above.numel():
        least, largest = (float(value) for value in torch.aminmax(above))
        median = float(np.median(above.numpy()))
    return ScoreSummary(
        entries, entries - above.numel(), least, median, largest, tuple(counts.tolist())
    )
