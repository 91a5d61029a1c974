"""Overlap of masks across tasks (Fig. 11): intersection over union, from ``inspect``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import heatmap
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind


@dataclass(frozen=True)
class Config:
    """Which matrix of a comparison is shown.

    Args:
        measure: ``iou``, or ``cosine`` or ``sign_conflicts`` of vectors.
    """

    measure: str = "iou"


def overlap(config: Config, given: Given) -> dict[str, Any]:
    """The matrix of a comparison, mean over the sources."""
    cells: dict[tuple[str, str], list[float]] = {}
    chance: list[float] = []
    for source in given.present("comparisons"):
        try:
            found = source.content["comparison"]  # type: ignore[index]
            labels, matrix = found["labels"], found[config.measure]
            for row, values in zip(labels, matrix, strict=True):
                for column, value in zip(labels, values, strict=True):
                    if value is not None:
                        cells.setdefault((row, column), []).append(float(value))
            for number, values in enumerate(found.get("iou_by_chance", ())):
                chance += [float(it) for n, it in enumerate(values) if n != number]
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"{source.path}: no comparison: {error}") from None
    means = {key: statistics.fmean(values) for key, values in cells.items()}
    notes = given.missing_notes()
    if config.measure == "iou" and chance:
        share = 100 * statistics.fmean(chance)
        notes.insert(0, f"masks of these sizes would overlap by {share:.1f}% by chance")
    return heatmap(means, "share", (0.0, 1.0), notes)


RESULTS.register("overlap")(ResultKind(("comparisons",), (), Config, overlap))
