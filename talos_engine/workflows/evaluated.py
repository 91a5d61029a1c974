"""What an evaluation found of one model, and how a metrics file tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from talos_engine.artifacts import artifact_hash
from talos_engine.evaluation.accuracy import Accuracy
from talos_engine.evaluation.localization import LocalizationBound


@dataclass(frozen=True)
class EvaluatedModel:
    """Accuracies of one model.

    Args:
        path: Its file; ``None`` for the base.
        method: What made it; empty for the base.
        evaluation: ``plain`` or ``linearized``.
        accuracies: By task.
        mean: Mean accuracy over tasks.
        normalized: Mean normalized accuracy, where single-task models were given.
        ratios: Accuracy over the base's by task, where a matrix was asked for; ``None`` for a task
            on which the base has no right answer.
        bounds: How local its change is by task, where that was asked for.
    """

    path: Path | None
    method: str
    evaluation: str
    accuracies: Mapping[str, Accuracy]
    mean: float
    normalized: float | None
    ratios: Mapping[str, float | None] | None = None
    bounds: Mapping[str, LocalizationBound] | None = None


def accuracy_ratios(
    values: Mapping[str, float], before: Mapping[str, float]
) -> dict[str, float | None] | None:
    """Accuracy over the base's by task; ``None`` without a base, or for one that is never right."""
    if not before:
        return None
    return {name: value / before[name] if before[name] else None for name, value in values.items()}


def describe_model(model: EvaluatedModel) -> dict[str, Any]:
    """A model's entry in a metrics file."""
    tasks = {
        name: {"accuracy": accuracy.value, "correct": accuracy.correct, "n": accuracy.n}
        for name, accuracy in model.accuracies.items()
    }
    result: dict[str, Any] = {
        "input": None
        if model.path is None
        else {"path": str(model.path), "sha256": artifact_hash(model.path)},
        "method": model.method,
        "evaluation": model.evaluation,
        "tasks": tasks,
        "mean": model.mean,
    }
    if model.normalized is not None:
        result["normalized"] = model.normalized
    if model.ratios is not None:
        result["ratios"] = dict(model.ratios)
    if model.bounds is not None:
        result["bounds"] = {
            name: {**asdict(found), "bound": found.bound} for name, found in model.bounds.items()
        }
    return result
