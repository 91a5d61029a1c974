"""The entropy of predictions and its slope, against models rebuilt and finite differences."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.evaluation.entropy import EntropySlope
from talos_engine.workflows.opening import Session


def direction(session: Session, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in list(session.backbone.encoder_state().items())[2:6]
    }


@pytest.fixture
def slope(toy_session: Session) -> EntropySlope:
    tasks = [toy_session.evaluation_task(name, "val") for name in ("toy-a", "toy-b")]
    return EntropySlope(EditedEncoder(toy_session.backbone), tasks, 5, seed=1)


def entropy_by_hand(
    session: Session, slope: EntropySlope, change: Mapping[str, Tensor], step: int
) -> float:
    """In float64, on a copy of the tower."""
    total = 0.0
    for task in slope.tasks:
        model = copy.deepcopy(task.classifier).double()
        state = {
            name.removeprefix("visual."): (value.double() + change.get(name, 0))
            for name, value in session.weights.tensors.items()
            if name.startswith("visual.")
        }
        model.visual.load_state_dict(state)
        with torch.no_grad():
            p = torch.softmax(model(task.inputs[slope._batch(task, step)].double()), dim=-1)
        total += float(-(p * p.log()).sum(dim=-1).mean())
    return total


def test_entropy_and_slope(toy_session: Session, slope: EntropySlope) -> None:
    change, along = direction(toy_session, 0), direction(toy_session, 1)
    loss, gradient = slope(0, change)
    assert loss == pytest.approx(entropy_by_hand(toy_session, slope, change, 0), rel=1e-4)
    assert gradient.keys() == change.keys()
    step = 1e-4
    there, back = (
        entropy_by_hand(
            toy_session, slope, {n: change[n] + sign * step * along[n] for n in change}, 0
        )
        for sign in (1, -1)
    )
    expected = (there - back) / (2 * step)
    found = sum(float((gradient[name].double() * along[name]).sum()) for name in along)
    assert found == pytest.approx(expected, rel=2e-3, abs=1e-5)
    assert abs(expected) > 1e-4, "else nothing was tested"


def test_labels_are_never_looked_at(toy_session: Session, slope: EntropySlope) -> None:
    change = direction(toy_session, 0)
    blind = dataclasses.replace(
        slope,
        tasks=[dataclasses.replace(task, labels=torch.full((1,), -1)) for task in slope.tasks],
    )
    (loss, gradient), (other, again) = slope(3, change), blind(3, change)
    assert loss == other
    assert all(torch.equal(gradient[name], again[name]) for name in gradient)


def test_every_example_comes_once_an_epoch(slope: EntropySlope) -> None:
    """Eight examples in batches of five: one batch an epoch, in a new order each."""
    task = slope.tasks[0]
    small = dataclasses.replace(slope, batch_size=4)
    first = torch.cat([small._batch(task, step) for step in (0, 1)])
    second = torch.cat([small._batch(task, step) for step in (2, 3)])
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(8))
    assert first.tolist() != second.tolist()
    assert len(dataclasses.replace(slope, batch_size=100)._batch(task, 7)) == 8


def test_the_model_wants_no_gradients_afterwards(toy_session: Session, slope: EntropySlope) -> None:
    slope(0, direction(toy_session, 0))
    slope.encoder.reset()
    state = toy_session.backbone.encoder_state()
    assert not any(value.requires_grad for value in state.values())
    for name, value in state.items():
        assert torch.equal(value, toy_session.weights.tensors[name])
