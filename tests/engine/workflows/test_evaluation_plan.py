"""The plan of an evaluation against what the evaluation then does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import artifact_bytes
from talos_engine.evaluation import gradients
from talos_engine.models.loading import open_skeleton
from talos_engine.workflows import evaluate as module
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.evaluation_plan import bound_memory
from talos_engine.workflows.opening import Common
from talos_engine.workflows.planning import plan_evaluate

CPU = Common(device="cpu")
TASKS = ("toy-a", "toy-b")


def request_for(toy_files: Any, out: Path | None = None, **more: Any) -> EvaluateRequest:
    files = (toy_files.vector("a"), toy_files.vector("b"), toy_files.checkpoint("c"))
    return EvaluateRequest(files, TASKS, out=out, common=CPU, **more)


@pytest.mark.parametrize("bound", [0, 5, 1000])
@pytest.mark.parametrize("matrix", [False, True])
@pytest.mark.parametrize("singles", [False, True])
def test_the_passes_planned_are_made(
    toy_files: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bound: int,
    matrix: bool,
    singles: bool,
) -> None:
    alone = (toy_files.vector("a"), toy_files.vector("b")) if singles else ()
    request = request_for(toy_files, tmp_path / "m.json", bound=bound, matrix=matrix, singles=alone)
    facts = plan_evaluate(request).facts
    assert list(tmp_path.iterdir()) == []
    forward, backward = [], []
    measure, localize = module.measure_accuracy, module.measure_localization

    def counted(*arguments: Any) -> Any:
        forward.append(measure(*arguments))
        return forward[-1]

    def counted_bound(*arguments: Any) -> Any:
        backward.append(localize(*arguments))
        return backward[-1]

    monkeypatch.setattr(module, "measure_accuracy", counted)
    monkeypatch.setattr(module, "measure_localization", counted_bound)
    evaluate(request)
    assert facts["forward_passes"] == sum(found.n for found in forward)
    assert facts.get("gradient_passes", 0) == sum(found.n for found in backward)
    assert ("gradient_passes" in facts) == bool(bound)
    assert facts.get("base_evaluations", 0) == (len(TASKS) if matrix else 0)
    size = (tmp_path / "m.json").stat().st_size
    assert size <= int(facts["disk_bytes"]) <= 2 * size
    files = {*request.checkpoints, *alone}
    base = open_skeleton("toy-clip", None).total_entries * 4
    assert facts["read_bytes"] == base + sum(artifact_bytes(path) for path in files)


def test_nothing_is_written_without_an_output(toy_files: Any) -> None:
    assert plan_evaluate(request_for(toy_files, matrix=True, bound=3)).facts["disk_bytes"] == 0


def test_the_gradients_of_a_bound_take_memory(
    toy_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as are taken at once, of the entries that a vector lists or a checkpoint may change."""
    skeleton = open_skeleton("toy-clip", None)
    vector = toy_files.vector("a", "nonlinear")

    def memory(path: Path, bound: int) -> int:
        request = EvaluateRequest((path,), TASKS, bound=bound, common=CPU)
        return bound_memory(request, module.check_evaluate(request), skeleton)

    assert memory(vector, 0) == 0
    one, three = memory(vector, 1), memory(vector, 3)
    gradients_of_one = 2 * 4 * skeleton.encoder_entries
    assert three - one >= 2 * gradients_of_one
    assert memory(toy_files.checkpoint("a"), 1) == one, "a non-linear vector lists the encoder"
    assert memory(toy_files.vector("a"), 1) < one, "a sparse one fewer tensors"
    monkeypatch.setattr(gradients, "_ENTRIES_AT_ONCE", 2 * skeleton.encoder_entries)
    assert memory(vector, 1000) == memory(vector, 2), "more examples come in slices"
