"""Patience: when it measures, what it keeps, when it ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.loop import TrainConfig, TrainJob, train


def stopping_of(scores: dict[int, int], every: int, patience: int) -> EarlyStopping:
    return EarlyStopping(lambda step: scores[step], every, patience)


def test_the_best_state_is_kept_and_patience_runs_out() -> None:
    stopping = stopping_of({2: 5, 4: 7, 6: 7, 8: 6}, every=2, patience=2)
    for step in range(1, 9):
        assert not stopping.over
        stopping.after_step(step, 100, torch.tensor([float(step)]))
    assert stopping.over
    assert (stopping.best_step, stopping.best_correct) == (4, 7), "of equals the earliest"
    assert stopping.best_values is not None
    assert stopping.best_values.tolist() == [4.0]


def test_a_new_best_gives_new_patience() -> None:
    stopping = stopping_of({1: 3, 2: 1, 3: 4, 4: 2, 5: 2}, every=1, patience=2)
    for step in range(1, 6):
        stopping.after_step(step, 100, torch.tensor([float(step)]))
        assert stopping.over == (step == 5)
    assert stopping.best_step == 3


def test_the_last_step_is_measured_whatever_the_interval() -> None:
    stopping = stopping_of({4: 1, 7: 2}, every=4, patience=1)
    for step in range(1, 8):
        stopping.after_step(step, 7, torch.tensor([float(step)]))
    assert stopping.best_step == 7


def test_the_kept_values_are_a_copy() -> None:
    values = torch.zeros(3)
    stopping = stopping_of({1: 1}, every=1, patience=1)
    stopping.after_step(1, 9, values)
    values.fill_(5)
    assert stopping.best_values is not None
    assert stopping.best_values.tolist() == [0, 0, 0]


def test_counts_come_back() -> None:
    stopping = stopping_of({1: 3, 2: 1}, every=1, patience=2)
    for step in (1, 2):
        stopping.after_step(step, 9, torch.tensor([1.0]))
    other = stopping_of({3: 2}, every=1, patience=2)
    other.restore(stopping.counts(), stopping.best_values)
    assert other.counts() == {"best_correct": 3, "best_step": 1, "waited": 1}
    other.after_step(3, 9, torch.tensor([2.0]))
    assert other.over
    assert other.best_step == 1


@pytest.mark.parametrize(("scores", "best", "made"), [([1, 9, 3, 4, 9], 2, 4), ([1, 2, 3], 3, 3)])
def test_the_loop_ends_and_leaves_the_best_state(
    small_classifier: Callable[..., nn.Module], scores: list[int], best: int, made: int
) -> None:
    steps = len(scores)

    def run(measure: bool) -> tuple[int, list[torch.Tensor], EarlyStopping | None]:
        model = small_classifier()
        seen: list[torch.Tensor] = []

        def state(record: object) -> None:
            seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]).clone())

        stopping = EarlyStopping(lambda step: scores[step - 1], 1, 2) if measure else None
        generator = torch.Generator().manual_seed(0)
        job = TrainJob(
            model, dict(model.named_parameters()), {}, torch.randn(20, 2, generator=generator),
            torch.arange(20) % 3, TrainConfig(steps, 4, 0.05, 0.0, 0, "constant", 1.0, 0),
            observe=state, stopping=stopping,
        )  # fmt: skip
        count = len(train(job))
        seen.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        return count, seen, stopping

    _, plain, _ = run(measure=False)
    count, stopped, stopping = run(measure=True)
    assert count == made
    assert stopping is not None
    assert stopping.over == (made < steps)
    for a, b in zip(plain[:made], stopped[:made], strict=True):
        assert torch.equal(a, b), "measuring changes nothing"
    assert torch.equal(stopped[-1], plain[best - 1])
