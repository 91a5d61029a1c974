"""Disentanglement error over two coefficients (Fig. 2), from ``disentangle``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import heatmap
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind


@dataclass(frozen=True)
class Config:
    """A disentanglement map has no options."""


def disentanglement(config: Config, given: Given) -> dict[str, Any]:
    """ξ(α1, α2) of Eq. 10 of arXiv:2504.02620, mean over the sources; rows are α1."""
    cells: dict[tuple[str, str], list[float]] = {}
    notes, box = given.missing_notes(), []
    tasks: set[tuple[str, str]] = set()
    for source in given.present("grids"):
        try:
            coefs, error = source.content["coefs"], source.content["error"]  # type: ignore[index]
            one, other = source.content["tasks"]  # type: ignore[index]
            tasks.add((str(one), str(other)))
            for first, row in zip(coefs, error, strict=True):
                for second, value in zip(coefs, row, strict=True):
                    key = (f"{first:.3g}", f"{second:.3g}")
                    cells.setdefault(key, []).append(float(value))
                    if 0 <= first <= 1 and 0 <= second <= 1:
                        box.append(float(value))
        except (KeyError, TypeError, ValueError) as problem:
            raise CorruptFileError(f"{source.path}: no result of disentangle: {problem}") from None
    means = {key: statistics.fmean(values) for key, values in cells.items()}
    if means:
        notes.insert(0, f"mean ξ {statistics.fmean(means.values()):.3f} over the grid")
    if box:
        notes.insert(1, f"mean ξ {statistics.fmean(box):.3f} where both coefficients are in [0, 1]")
    one, other = tasks.pop() if len(tasks) == 1 else ("the first task", "the second task")
    axes = {
        "x": {"label": f"α of {other}", "unit": ""},
        "y": {"label": f"α of {one}", "unit": ""},
    }
    return {**heatmap(means, "error", (0.0, 2.0), notes), **axes, "box": [0.0, 1.0]}


RESULTS.register("disentanglement")(ResultKind(("grids",), (), Config, disentanglement))
