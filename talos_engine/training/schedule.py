"""Learning-rate schedules as plain functions of the step."""

from __future__ import annotations

import math

SCHEDULES = ("cosine", "constant")


def learning_rate_at(step: int, *, steps: int, peak: float, warmup: int, schedule: str) -> float:
    """The learning rate of a step.

    Linear from ``peak / warmup`` over the first ``warmup`` steps, then constant, or half a cosine
    that would reach 0 at step ``steps``.

    Args:
        step: Counted from 0.
        steps: Number of steps of the run.
        peak: Learning rate after warm-up.
        warmup: Number of warm-up steps.
        schedule: One of ``SCHEDULES``.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    share = (step - warmup) / max(1, steps - warmup)
    return peak * 0.5 * (1 + math.cos(math.pi * share))
