"""Accuracy and normalized accuracy, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.errors import DataError
from talos_engine.evaluation import accuracy as module
from talos_engine.evaluation.accuracy import (
    Accuracy,
    EvaluationTask,
    mean_accuracy,
    measure_accuracy,
    normalize_accuracy,
    predict,
)


class Echo(nn.Module):
    """The inputs are the logits; remembers the sizes of its batches."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.sizes.append(len(inputs))
        assert not torch.is_grad_enabled()
        return inputs


def task_of(logits: list[list[float]], labels: list[int]) -> EvaluationTask:
    return EvaluationTask("t", Echo(), torch.tensor(logits), torch.tensor(labels))


def test_by_hand() -> None:
    task = task_of([[0.1, 0.9], [2, 1], [-5, -4], [3, 3.5]], [1, 1, 1, 0])
    assert predict(task, Runtime()).tolist() == [1, 0, 1, 1]
    found = measure_accuracy(task, Runtime())
    assert found == Accuracy(2, 4)
    assert found.value == 0.5


def test_ties_go_to_the_lowest_class() -> None:
    assert predict(task_of([[1, 1, 1], [0, 2, 2]], [0, 1]), Runtime()).tolist() == [0, 1]


def test_batches_are_bounded_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_SIZE", 3)
    logits = torch.eye(5)[torch.tensor([4, 0, 3, 2, 1, 1, 0])]
    task = EvaluationTask("t", Echo(), logits, torch.zeros(7, dtype=torch.int64))
    assert predict(task, Runtime()).tolist() == [4, 0, 3, 2, 1, 1, 0]
    assert task.classifier.sizes == [3, 3, 1]


def test_the_mean_counts_tasks_not_examples() -> None:
    assert mean_accuracy({"a": Accuracy(1, 1), "b": Accuracy(0, 99)}) == 0.5


def test_normalized_accuracy_by_hand() -> None:
    """(0.6 / 0.8 + 0.9 / 0.6) / 2 = (0.75 + 1.5) / 2; more than 1 is possible."""
    merged, single = {"a": 0.6, "b": 0.9}, {"a": 0.8, "b": 0.6, "unused": 0.0}
    assert normalize_accuracy(merged, single) == pytest.approx(1.125)
    assert normalize_accuracy(single | {"unused": 1.0}, single | {"unused": 1.0}) == 1.0


@pytest.mark.parametrize(
    ("single", "word"), [({"a": 0.5}, "not known"), ({"a": 0.5, "b": 0.0}, "is 0")]
)
def test_an_impossible_denominator_is_an_error(single: dict[str, float], word: str) -> None:
    with pytest.raises(DataError, match=f"'b'.*{word}"):
        normalize_accuracy({"a": 0.5, "b": 0.5}, single)
