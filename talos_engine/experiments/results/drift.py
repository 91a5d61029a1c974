"""Sensitivity drift during training (Fig. 7), from the logs of ``finetune --log-drift``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import curve
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, key_of


@dataclass(frozen=True)
class Config:
    """Options of a drift curve.

    Args:
        series: Variables that tell series apart; the mean goes over the others.
        relative: Whether drift is divided by the mean squared gradient at the base.
    """

    series: tuple[str, ...] = ("method",)
    relative: bool = True


def drift(config: Config, given: Given) -> dict[str, Any]:
    """Mean over examples of the squared distance of gradients from those at the base, by step."""
    name = "relative_drift" if config.relative else "drift"
    found: dict[tuple[str, ...], dict[int, list[float]]] = {}
    for source in given.present("logs"):
        key = key_of(source.variables, tuple(config.series)) or ()
        own = found.setdefault(key, {})
        try:
            for line in source.content:  # type: ignore[union-attr]
                if name in line:
                    own.setdefault(int(line["step"]), []).append(float(line[name]))
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{source.path}: no training log: {error}") from None
    series = []
    notes, runs = given.missing_notes(), 0
    for key, points in found.items():
        most = max(map(len, points.values()), default=0)
        runs = max(runs, most)
        steps = sorted(step for step, values in points.items() if len(values) == most)
        if len(steps) < len(points):
            notes.append(f"{', '.join(key)}: steps that not every run has are left out")
        series.append(
            {
                "label": ", ".join(key) or "all",
                "variables": dict(zip(config.series, key, strict=False)),
                "x": steps,
                "y": [statistics.fmean(points[step]) for step in steps],
                "low": [min(points[step]) for step in steps],
                "high": [max(points[step]) for step in steps],
            }
        )
    if runs > 1:
        notes.append("band: least and largest of the runs that a series is the mean of")
    return curve((("step", ""), ("relative drift" if config.relative else "drift", "")),
                 series, notes)  # fmt: skip


RESULTS.register("drift")(ResultKind(("logs",), (), Config, drift))
