"""Editing in place, and the two searches against models rebuilt from scratch."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.evaluation.coefficients import coefficient_grid
from talos_engine.evaluation.editing import EditedEncoder, search_addition, search_negation
from talos_engine.models.open_clip_backbone import ImageClassifier
from talos_engine.workflows.opening import Session


def random_direction(session: Session, seed: int, names: int | None = None) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = list(session.backbone.encoder_state().items())[:names]
    return {
        name: 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for name, value in state
    }


def snapshot(session: Session) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in session.backbone.model.state_dict().items()}


def rebuilt(session: Session, task: EvaluationTask, change: Mapping[str, Tensor]) -> nn.Module:
    """The task's classifier with ``θ0 + change``, built anew from the pre-trained tensors."""
    classifier = task.classifier
    assert isinstance(classifier, ImageClassifier)
    visual = copy.deepcopy(session.backbone.model.visual)
    visual.load_state_dict(
        {
            name.removeprefix("visual."): (value.double() + change.get(name, 0)).float()
            for name, value in session.weights.tensors.items()
            if name.startswith("visual.")
        }
    )
    return ImageClassifier(visual, classifier.head, classifier.scale).eval()


def accuracy_of(model: nn.Module, task: EvaluationTask) -> float:
    with torch.no_grad():
        hits = [
            int(model(one[None]).argmax()) == int(label)
            for one, label in zip(task.inputs, task.labels, strict=True)
        ]
    return sum(hits) / len(hits)


def scaled(change: Mapping[str, Tensor], coef: float) -> dict[str, Tensor]:
    return {name: coef * value for name, value in change.items()}


def test_reset_gives_back_every_bit(toy_session: Session) -> None:
    before = snapshot(toy_session)
    encoder = EditedEncoder(toy_session.backbone)
    encoder.set([(0.7, random_direction(toy_session, 0)), (-3.0, random_direction(toy_session, 1))])
    assert not torch.equal(snapshot(toy_session)["visual.proj"], before["visual.proj"])
    encoder.reset()
    for name, value in snapshot(toy_session).items():
        assert torch.equal(
            value.view(-1).view(torch.int32), before[name].view(-1).view(torch.int32)
        )


def test_every_edit_starts_from_the_base(toy_session: Session) -> None:
    """Tensors of an earlier edit that the next one does not touch are put back."""
    before = snapshot(toy_session)
    encoder = EditedEncoder(toy_session.backbone)
    wide, narrow = random_direction(toy_session, 0), random_direction(toy_session, 1, names=2)
    encoder.set([(1.0, wide)])
    encoder.set([(2.0, narrow)])
    for name, value in snapshot(toy_session).items():
        if name in narrow:
            expected = (before[name].double() + 2.0 * narrow[name]).float()
            assert torch.equal(value, expected)
        else:
            assert torch.equal(value, before[name]), name


def test_terms_are_summed_before_they_are_rounded(toy_session: Session) -> None:
    before = snapshot(toy_session)
    change = random_direction(toy_session, 0)
    encoder = EditedEncoder(toy_session.backbone)
    encoder.set([(1.0, change), (-1.0, change)])
    after = snapshot(toy_session)
    assert all(torch.equal(after[name], before[name]) for name in before)
    encoder.set([(1.0, scaled(change, 1e-9)), (1.0, change)])
    name = "visual.proj"
    expected = (before[name].double() + (1e-9 * change[name] + change[name])).float()
    assert torch.equal(snapshot(toy_session)[name], expected)


@pytest.fixture
def tasks(toy_session: Session) -> list[EvaluationTask]:
    return [toy_session.evaluation_task(name, "train") for name in ("toy-a", "toy-b")]


def test_addition_search_against_rebuilt_models(
    toy_session: Session, tasks: list[EvaluationTask]
) -> None:
    before = snapshot(toy_session)
    singles = {"toy-a": random_direction(toy_session, 2), "toy-b": random_direction(toy_session, 3)}
    merged = {name: singles["toy-a"][name] + singles["toy-b"][name] for name in singles["toy-a"]}
    grid = (0.0, 0.25, 0.5, 1.0)
    found = search_addition(
        EditedEncoder(toy_session.backbone, Runtime()), merged, singles, tasks, grid
    )
    single = {
        task.name: accuracy_of(rebuilt(toy_session, task, singles[task.name]), task)
        for task in tasks
    }
    assert found.reference == pytest.approx(single)
    assert len(set(single.values())) > 1, "else the normalization would not be seen"
    objectives = []
    for coef, point in zip(grid, found.curve, strict=True):
        expected = {
            task.name: accuracy_of(rebuilt(toy_session, task, scaled(merged, coef)), task)
            for task in tasks
        }
        assert point.coef == coef
        assert point.accuracy == pytest.approx(expected)
        objectives.append(sum(expected[name] / single[name] for name in expected) / 2)
        assert point.objective == pytest.approx(objectives[-1])
        assert point.feasible
    assert found.chosen.coef == grid[objectives.index(max(objectives))]
    after = snapshot(toy_session)
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.95, 1.0])
def test_negation_search_against_rebuilt_models(
    toy_session: Session, tasks: list[EvaluationTask], keep: float
) -> None:
    before = snapshot(toy_session)
    target, control = tasks
    change = random_direction(toy_session, 4)
    grid = coefficient_grid("plain", [0.0])[::4]
    found = search_negation(
        EditedEncoder(toy_session.backbone, Runtime()), change, target, control, grid, keep
    )
    start = accuracy_of(rebuilt(toy_session, control, {}), control)
    assert found.reference == {"toy-b": pytest.approx(start)}
    feasible = []
    for coef, point in zip(grid, found.curve, strict=True):
        negated = scaled(change, -coef)
        kept = accuracy_of(rebuilt(toy_session, control, negated), control)
        forgotten = accuracy_of(rebuilt(toy_session, target, negated), target)
        assert point.accuracy == pytest.approx({"toy-a": forgotten, "toy-b": kept})
        assert point.objective == pytest.approx(forgotten)
        assert point.feasible == (coef == 0 or round(72 * kept) >= keep * round(72 * start))
        if point.feasible:
            feasible.append((forgotten, coef))
    assert found.chosen.coef == min(feasible)[1]
    after = snapshot(toy_session)
    assert all(torch.equal(after[name], before[name]) for name in before)


class Switch(nn.Module):
    """Predicts 1 for an example where it is below the first entry of ``visual.ln_pre.bias``."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = bias

    def forward(self, inputs: Tensor) -> Tensor:
        moved = self.bias[0] - self.start
        return torch.stack([torch.zeros(len(inputs)), (moved > inputs).float() - 0.5], dim=1)


def switch_task(session: Session, name: str, thresholds: Tensor) -> EvaluationTask:
    bias = session.backbone.encoder_state()["visual.ln_pre.bias"]
    model = Switch(bias)
    model.start = bias[0].detach().clone()
    return EvaluationTask(name, model, thresholds, torch.zeros(len(thresholds), dtype=torch.int64))


@pytest.mark.parametrize(
    ("keep", "right_after", "feasible"),
    [
        (0.95, 95, True),
        (0.95, 94, False),
        (0.07, 7, True),
        (0.07, 6, False),
        (0.14, 14, True),
        (0.28, 28, True),
        (0.55, 55, True),
        (0.57, 56, False),
        (1.0, 100, True),
        (1.0, 99, False),
    ],
)
def test_feasibility_counts_exactly(
    toy_session: Session, keep: float, right_after: int, feasible: bool
) -> None:
    """100 control examples are right at first, ``right_after`` of them after the edit.

    In floats 0.07 · 100 is 7.000000000000001, and 7 kept of 100 are nevertheless 7%.
    """
    thresholds = torch.full((100,), 9.0)
    thresholds[right_after:] = 0.5
    control = switch_task(toy_session, "control", thresholds)
    target = switch_task(toy_session, "target", torch.full((10,), 0.5))
    change = {"visual.ln_pre.bias": -torch.eye(16, dtype=torch.float64)[0]}
    encoder = EditedEncoder(toy_session.backbone)
    found = search_negation(encoder, change, target, control, (0.0, 1.0), keep)
    assert found.curve[1].accuracy == {"control": right_after / 100, "target": 0.0}
    assert found.curve[1].feasible is feasible
    assert found.chosen.coef == (1.0 if feasible else 0.0)


def test_zero_is_always_feasible(toy_session: Session) -> None:
    control = switch_task(toy_session, "control", torch.full((4,), -1.0))
    target = switch_task(toy_session, "target", torch.full((4,), -1.0))
    change = {"visual.ln_pre.bias": torch.zeros(16, dtype=torch.float64)}
    found = search_negation(
        EditedEncoder(toy_session.backbone), change, target, control, (0.0, 1.0), 1.0
    )
    assert found.chosen.coef == 0.0
    assert found.curve[0].feasible
