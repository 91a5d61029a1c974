"""Means, spreads and intervals of accuracies over tasks and seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

Counts = tuple[int, int]  # correct, of how many
_Z = 1.959963984540054  # 97.5% point of the normal distribution


def summarize(
    values: Sequence[float],
    counts: Sequence[Sequence[Counts]] = (),
    paper: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """A cell of a table: mean and standard deviation over seeds, and what is known beside them.

    Args:
        values: One per seed, at least one.
        counts: For each seed the counts of each task, where the value is a mean accuracy.
        paper: The paper's number, a share where the value is one.
        note: What a reader should know of this cell.
    """
    cell: dict[str, Any] = {
        "mean": statistics.fmean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "n": len(values),
        "values": list(values),
        "paper": paper,
    }
    if counts:
        cell["low"], cell["high"] = interval(counts)
    if note:
        cell["note"] = note
    return cell


def missing(note: str, paper: float | None = None) -> dict[str, Any]:
    """A cell for which nothing was measured."""
    return {"mean": None, "std": None, "n": 0, "values": [], "paper": paper, "note": note}


def interval(counts: Sequence[Sequence[Counts]]) -> tuple[float, float]:
    """95% interval of a mean accuracy over tasks, from the number of test examples.

    Of one task it is Wilson's; of several the normal one for a mean of independent binomials. Seeds
    share the test examples, so more seeds do not make it narrower: rates are averaged over them.

    Args:
        counts: For each seed, correct and total of each task, in one order.
    """
    tasks = list(zip(*counts, strict=True))
    rates = [statistics.fmean(correct / n for correct, n in seeds) for seeds in tasks]
    sizes = [seeds[0][1] for seeds in tasks]
    if len(tasks) == 1:
        return wilson(rates[0], sizes[0])
    mean = statistics.fmean(rates)
    variance = sum(p * (1 - p) / n for p, n in zip(rates, sizes, strict=True)) / len(tasks) ** 2
    half = _Z * math.sqrt(variance)
    return max(0.0, mean - half), min(1.0, mean + half)


def wilson(rate: float, n: int) -> tuple[float, float]:
    """Wilson's 95% score interval of a binomial proportion.

    Args:
        rate: Share of successes, in [0, 1].
        n: Number of trials, at least 1.
    """
    z2 = _Z * _Z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
