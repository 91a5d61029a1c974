"""Function localization (Fig. 3): accuracy of fine-tuned models on every task, by the base's."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.experiments.maps import heatmap, table_of_means
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, evaluations


@dataclass(frozen=True)
class Config:
    """Options of a localization matrix.

    Args:
        row: Variable that tells on which task a model was fine-tuned.
    """

    row: str = "task"


def localization(config: Config, given: Given) -> dict[str, Any]:
    """acc(model of the row's task, column's task) / acc(base, column's task), mean over seeds."""
    base = next(iter(evaluations(given.present("zero-shot"))), None)
    cells: dict[tuple[str, str], list[float]] = {}
    notes = given.missing_notes()
    for record in evaluations(given.present("single")) if base is not None else ():
        assert base is not None
        for task in record.tasks:
            if task not in base.tasks or base.accuracy(task) == 0:
                notes.append(f"{task}: no ratio, the base's accuracy is 0 or unknown")
                continue
            key = (str(record.variables.get(config.row)), task)
            cells.setdefault(key, []).append(record.accuracy(task) / base.accuracy(task))
    own = [values for (row, task), values in cells.items() if row == task]
    other = [values for (row, task), values in cells.items() if row != task]
    notes += table_of_means({"on the own task": own, "on the others": other})
    means = {key: statistics.fmean(values) for key, values in cells.items()}
    return heatmap(means, "ratio", (0.0, 2.0), list(dict.fromkeys(notes)))


RESULTS.register("localization")(ResultKind(("single", "zero-shot"), (), Config, localization))
