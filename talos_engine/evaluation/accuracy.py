"""Predictions and accuracies of a classifier, and the accuracy of merged models normalized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.errors import DataError

BATCH_SIZE = 256


@dataclass(frozen=True)
class EvaluationTask:
    """A task ready to be evaluated.

    Args:
        name: Name of the task.
        classifier: Maps inputs to logits; shares its encoder with the backbone being edited.
        inputs: Prepared inputs, shape (n, ...).
        labels: int64, shape (n,).
    """

    name: str
    classifier: nn.Module
    inputs: Tensor
    labels: Tensor

    def sample(self, points: int, seed: int) -> EvaluationTask:
        """The task with a random subset of at most ``points`` examples, in their order."""
        if points >= len(self.labels):
            return self
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(self.labels), generator=generator)[:points].sort().values
        return replace(self, inputs=self.inputs[chosen], labels=self.labels[chosen])


@dataclass(frozen=True)
class Accuracy:
    """A share of correct predictions.

    Args:
        correct: How many predictions were right.
        n: How many were made, at least 1.
    """

    correct: int
    n: int

    @property
    def value(self) -> float:
        """Accuracy in [0, 1]."""
        return self.correct / self.n


@torch.no_grad()
def predict(task: EvaluationTask, runtime: Runtime) -> Tensor:
    """Predicted labels (argmax over classes), int64 of shape (n,), on the CPU."""
    pieces = []
    for inputs in task.inputs.split(BATCH_SIZE):
        with runtime.autocast():
            logits = task.classifier(inputs.to(runtime.device))
        pieces.append(logits.argmax(dim=-1).cpu())
    return torch.cat(pieces)


def measure_accuracy(task: EvaluationTask, runtime: Runtime) -> Accuracy:
    """The accuracy of the task's classifier as it is now."""
    correct = int((predict(task, runtime) == task.labels).sum())
    return Accuracy(correct, len(task.labels))


def mean_accuracy(accuracies: Mapping[str, Accuracy]) -> float:
    """Mean over tasks, each counting the same, in [0, 1]."""
    return sum(accuracy.value for accuracy in accuracies.values()) / len(accuracies)


def normalize_accuracy(merged: Mapping[str, float], single: Mapping[str, float]) -> float:
    """Mean over tasks of ``merged / single-task`` accuracy: Eq. 11 of arXiv:2504.02620.

    Deviation: the denominator is the fine-tuned model before fusion, ``θ0 + 1·τ_t``, as the text
    says; the formula prints ``θ0 + α_t·τ_t``.

    Args:
        merged: Accuracy of the edited model by task.
        single: Accuracy of each task's own fine-tuned model.

    Raises:
        DataError: a task has no single-task accuracy, or one of 0.
    """
    for name in merged:
        if single.get(name, 0.0) <= 0.0:
            raise DataError(
                f"no normalized accuracy: the single-task accuracy of {name!r} is "
                + ("0" if name in single else "not known")
            )
    return sum(merged[name] / single[name] for name in merged) / len(merged)
