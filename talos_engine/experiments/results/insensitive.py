"""Pruned or perturbed insensitive parameters (Fig. 1 and 10): accuracy ratios to the base."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import heatmap
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind

_SPAN = (0.0, 1.25)  # one colour scale for all edits; what lies above shows as its end


@dataclass(frozen=True)
class Config:
    """Which edit is shown.

    Args:
        edit: ``prune`` or ``perturb``.
    """

    edit: str = "prune"


def insensitive(config: Config, given: Given) -> dict[str, Any]:
    """Rows: the task whose lowest-scored entries were edited; columns: the task evaluated."""
    cells: dict[tuple[str, str], list[float]] = {}
    for source in given.present("edits"):
        try:
            for edit in source.content["edits"]:  # type: ignore[index]
                if edit["edit"] == config.edit:
                    for task, ratio in edit["ratio"].items():
                        cells.setdefault((edit["scores"]["task"], task), []).append(float(ratio))
        except (KeyError, TypeError) as error:
            raise CorruptFileError(f"{source.path}: no result of an edit: {error}") from None
    means = {key: statistics.fmean(values) for key, values in cells.items()}
    return heatmap(means, "ratio", _SPAN, given.missing_notes())


RESULTS.register("insensitive")(ResultKind(("edits",), (), Config, insensitive))
