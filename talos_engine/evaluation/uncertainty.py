"""How sure a measured number is: intervals of shares from counts, spread over repetitions.

Neither says anything about data sets or models other than those that were measured.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# The 97.5% point of the normal distribution: 95% lie within ± this many standard deviations.
_Z_95 = statistics.NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Spread:
    """A number that was measured several times.

    Args:
        mean: Mean of the values.
        std: Sample standard deviation (divided by n − 1); ``None`` for one value, which says
            nothing about the spread.
        n: How many values, at least 1.
    """

    mean: float
    std: float | None
    n: int


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """95% confidence interval of a share, from the counts.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference",
    without continuity correction. Deviation: none. Unlike ``p ± 1.96·√(p(1−p)/n)`` it stays in
    [0, 1] and has a width at 0 and n correct.

    Args:
        correct: How many of n independent trials succeeded.
        n: How many trials, at least 1.

    Returns:
        Lower and upper bound in [0, 1]; ``correct / n`` lies between them.

    Raises:
        ValueError: not ``0 <= correct <= n`` with ``n >= 1``.
    """
    if n < 1 or not 0 <= correct <= n:
        raise ValueError(f"{correct} of {n} is no share")
    share = correct / n
    shrunk = 1 + _Z_95**2 / n
    centre = (share + _Z_95**2 / (2 * n)) / shrunk
    half = _Z_95 / shrunk * math.sqrt(share * (1 - share) / n + _Z_95**2 / (4 * n**2))
    # Rounding may put a bound of exactly 0 or 1 a hair beside it.
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == n else min(1.0, centre + half)
    return low, high


def mean_and_std(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of repeated measurements, e.g. one per seed.

    Args:
        values: Finite numbers, at least one; their order changes no bit of the result.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    if not values or not all(math.isfinite(value) for value in values):
        raise ValueError("a mean needs at least one value, all of them finite")
    mean = math.fsum(values) / len(values)
    std = statistics.stdev(values) if len(values) > 1 else None
    return Spread(mean, std, len(values))
