"""Choosing a hyper-parameter by task negation on validation data (App. A.1 of arXiv:2504.02620).

Of each candidate the searches of its negations tell the target's accuracy that is left where the
control task is kept; the candidate with the lowest mean (over tasks, where these are compared
together) wins, the first of equals. Test data are never read, and one choice serves addition and
negation.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talos_engine.artifacts import copy_output, read_metrics, write_metrics
from talos_engine.errors import CorruptFileError
from talos_engine.experiments.steps import Choice
from talos_engine.experiments.template import format_value


def choose(choice: Choice, folder: Path, out: str) -> None:
    """Write which candidate wins, with what was compared, and copy what it is to give.

    Args:
        choice: What to compare.
        folder: The run folder.
        out: The file to write, relative to it.

    Raises:
        CorruptFileError: a report is not one of a negation's search on validation data.
        OutputError: the choice cannot be written.
        ArtifactError: what is to be copied is not there.
    """
    compared: dict[str, dict[str, Any]] = {}
    for path, variables in choice.reports:
        value = variables[choice.variable]
        found = compared.setdefault(
            format_value(value), {"value": value, "accuracy": [], "reports": []}
        )
        found["accuracy"].append(_negated_accuracy(folder / path))
        found["reports"].append(path)
    candidates = [
        # Rounded, so that sums of the same counts in another order are equal.
        {**found, "mean": round(statistics.fmean(found["accuracy"]), 12)}
        for found in compared.values()
    ]
    best = min(candidates, key=lambda found: float(found["mean"]))  # the first of equals
    for take in choice.takes:
        (source,) = (
            path
            for path, variables in take.candidates
            if format_value(variables[choice.variable]) == format_value(best["value"])
        )
        copy_output(folder / source, folder / take.out)
    content = {
        "command": "choose",
        "split": "val",
        "variable": choice.variable,
        "chosen": best["value"],
        "candidates": candidates,
    }
    write_metrics(folder / out, content, force=True)


def read_choice(path: Path) -> str:
    """The word that was chosen.

    Raises:
        ArtifactError: the file is not one that ``choose`` wrote.
    """
    content = read_metrics(path)
    if content["command"] != "choose" or "chosen" not in content:
        raise CorruptFileError(f"{path}: holds no choice")
    return format_value(content["chosen"])


def _negated_accuracy(path: Path) -> float:
    """Validation accuracy of the target at the coefficient that the search chose."""
    report: Mapping[str, Any] = read_metrics(path)
    try:
        if report["command"] != "negate" or report["split"] != "val":
            raise CorruptFileError(f"{path}: is no search of a negation on validation data")
        chosen = next(it for it in report["curve"] if it["coef"] == report["coef"])
        return float(chosen["accuracy"][report["task"]])
    except (KeyError, TypeError, StopIteration) as error:
        raise CorruptFileError(f"{path}: is no search of a negation: {error}") from None
