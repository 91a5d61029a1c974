"""The disentanglement error on a small grid against models rebuilt from scratch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from talos_engine.evaluation.accuracy import EvaluationTask
from talos_engine.evaluation.disentanglement import equispaced, map_disentanglement
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.models.open_clip_backbone import ImageClassifier
from talos_engine.workflows.opening import Session

COEFS = (-1.5, 0.0, 2.0)


def test_equispaced_by_hand() -> None:
    assert equispaced(1, 3.0) == (0.0,)
    assert equispaced(2, 3.0) == (-3.0, 3.0)
    assert equispaced(5, 1.0) == (-1.0, -0.5, 0.0, 0.5, 1.0)
    twenty = equispaced(20, 3.0)
    assert len(twenty) == 20
    assert twenty == tuple(-value for value in reversed(twenty))


def directions(session: Session) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {
            name: 0.15 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
            for name, value in session.backbone.encoder_state().items()
            if number == 0 or "transformer" in name
        }
        for number in range(2)
    ]


def naive_predictions(
    session: Session, task: EvaluationTask, change: dict[str, Tensor]
) -> list[int]:
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
    model = ImageClassifier(visual, classifier.head, classifier.scale).eval()
    with torch.no_grad():
        return [int(model(one[None]).argmax()) for one in task.inputs]


def combine(*terms: tuple[float, dict[str, Tensor]]) -> dict[str, Tensor]:
    total: dict[str, Tensor] = {}
    for coef, change in terms:
        for name, value in change.items():
            total[name] = total.get(name, 0) + coef * value
    return total


def test_against_rebuilt_models(toy_session: Session) -> None:
    first, second = directions(toy_session)
    tasks = [
        toy_session.evaluation_task("toy-a", "test", 20, 1),
        toy_session.evaluation_task("toy-b", "val"),
    ]
    assert [len(task.labels) for task in tasks] == [20, 8]
    before = toy_session.backbone.encoder_state()["visual.proj"].clone()
    told: list[tuple[int, int]] = []
    found = map_disentanglement(
        EditedEncoder(toy_session.backbone),
        [first, second],
        tasks,
        COEFS,
        lambda what, done, total: told.append((done, total)),
    )
    assert torch.equal(toy_session.backbone.encoder_state()["visual.proj"], before)
    assert found.coefs == COEFS
    assert found.points == {"toy-a": 20, "toy-b": 8}
    assert told == [(done, 15) for done in range(1, 16)]
    errors = set()
    for i, a1 in enumerate(COEFS):
        for j, a2 in enumerate(COEFS):
            expected = 0.0
            for task, alone in zip(tasks, ((a1, first), (a2, second)), strict=True):
                one = naive_predictions(toy_session, task, combine(alone))
                both = naive_predictions(toy_session, task, combine((a1, first), (a2, second)))
                differing = sum(x != y for x, y in zip(one, both, strict=True))
                assert found.disagreements[task.name][i][j] == differing
                expected += differing / len(one)
            assert found.error[i][j] == pytest.approx(expected)
            errors.add(found.error[i][j])
    assert len(errors) > 3, "the case is not trivial"


def test_where_one_coefficient_is_zero_only_the_other_task_can_disagree(
    toy_session: Session,
) -> None:
    tasks = [toy_session.evaluation_task(name, "test") for name in ("toy-a", "toy-b")]
    found = map_disentanglement(
        EditedEncoder(toy_session.backbone), directions(toy_session), tasks, COEFS
    )
    zero = COEFS.index(0.0)
    assert found.error[zero][zero] == 0.0
    for i in range(3):
        assert found.disagreements["toy-a"][i][zero] == 0, "α2 = 0: the sum is task 1's model"
        assert found.disagreements["toy-b"][zero][i] == 0
    assert found.disagreements["toy-b"][2][zero] > 0
    assert all(0 <= value <= 2 for row in found.error for value in row)
