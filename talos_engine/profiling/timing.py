"""Mean and spread of repeated timings."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TimingSummary:
    """Seconds per iteration over several iterations.

    Args:
        mean: Arithmetic mean.
        std: Sample standard deviation; 0 for a single iteration.
        median: Middle value.
        n: Number of iterations.
    """

    mean: float
    std: float
    median: float
    n: int


def summarize_timings(seconds: Sequence[float]) -> TimingSummary:
    """The summary of at least one timing."""
    std = statistics.stdev(seconds) if len(seconds) > 1 else 0.0
    return TimingSummary(statistics.fmean(seconds), std, statistics.median(seconds), len(seconds))
