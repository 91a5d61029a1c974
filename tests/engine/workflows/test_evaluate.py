"""``evaluate`` over files: what is measured is the model in the file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    Checkpoint,
    read_checkpoint,
    read_metrics,
    write_checkpoint,
)
from talos_engine.errors import MismatchError, OptionError, OutputError, WrongKindError
from talos_engine.evaluation.accuracy import Accuracy
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows import evaluate as module
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu")
TASKS = ("toy-a", "toy-b")


def request_of(*paths: Path, **changes: Any) -> EvaluateRequest:
    request = EvaluateRequest(tuple(paths), TASKS, model="toy-clip", common=CPU)
    return dataclasses.replace(request, **changes)


def naive_counts(model: str, split: str = "test") -> dict[str, int]:
    """One example at a time through a model built from the file itself."""
    backbone = build_backbone(load_weights(model))
    session = Session(backbone.weights, backbone, CPU.runtime())
    counts = {}
    for name in TASKS:
        task = session.evaluation_task(name, split)
        with torch.no_grad():
            counts[name] = sum(
                int(task.classifier(one[None]).argmax()) == int(label)
                for one, label in zip(task.inputs, task.labels, strict=True)
            )
    return counts


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_counts_equal_a_naive_loop_over_models_built_from_the_files(
    toy_files: Any, split: str
) -> None:
    paths = [toy_files.checkpoint("a", "nonlinear"), toy_files.checkpoint("b")]
    result = evaluate(request_of(*paths, split=split))
    for model, path in zip(result.models, paths, strict=True):
        assert model.path == path
        expected = naive_counts(str(path), split)
        assert {name: found.correct for name, found in model.accuracies.items()} == expected
        sizes = {name: found.n for name, found in model.accuracies.items()}
        assert set(sizes.values()) == {{"test": 48, "val": 8, "train": 72}[split]}
        assert model.mean == pytest.approx(sum(expected[n] / sizes[n] for n in TASKS) / 2)
        assert model.normalized is None


def test_without_files_the_base_is_measured() -> None:
    (model,) = evaluate(request_of()).models
    assert model.path is None
    found = {name: accuracy.correct for name, accuracy in model.accuracies.items()}
    assert found == naive_counts("toy-clip")


def test_models_are_measured_apart(toy_files: Any) -> None:
    """The order of the files does not matter: nothing of one model stays for the next."""
    paths = [
        toy_files.checkpoint("a", "nonlinear"),
        toy_files.vector("b"),
        toy_files.checkpoint("c"),
    ]
    forward = evaluate(request_of(*paths)).models
    backward = evaluate(request_of(*reversed(paths))).models
    assert [m.accuracies for m in forward] == [m.accuracies for m in reversed(backward)]


@pytest.mark.parametrize("sparse", ["auto", "never"])
@pytest.mark.parametrize("method", ["talos", "nonlinear"])
def test_a_vector_stands_for_its_fine_tuned_model(toy_files: Any, method: str, sparse: str) -> None:
    from_vector, from_file = (
        evaluate(request_of(path)).models[0]
        for path in (toy_files.vector("a", method, sparse), toy_files.checkpoint("a", method))
    )
    assert from_vector.accuracies == from_file.accuracies


def test_a_vector_on_an_edited_model_is_added_to_it(toy_files: Any, tmp_path: Path) -> None:
    """θ* belongs to θ0 + τ alone: on θ0 − τ the vector leads back to the base."""
    vector, edited = toy_files.vector("a", "nonlinear"), tmp_path / "edited"
    negate_vector(NegateRequest(vector, edited, coef=1.0, common=CPU))
    found = evaluate(request_of(vector, model=str(edited), split="train")).models[0]
    base = evaluate(request_of(split="train")).models[0]
    tuned = evaluate(request_of(vector, split="train")).models[0]
    assert found.accuracies == base.accuracies != tuned.accuracies


def test_normalized_accuracy_by_hand(toy_files: Any) -> None:
    singles = (toy_files.vector("b", "nonlinear"), toy_files.checkpoint("a", "nonlinear"))
    result = evaluate(request_of(toy_files.checkpoint("a"), singles=singles))
    alone = {
        "toy-a": naive_counts(str(toy_files.checkpoint("a", "nonlinear")))["toy-a"],
        "toy-b": naive_counts(str(toy_files.checkpoint("b", "nonlinear")))["toy-b"],
    }
    together = naive_counts(str(toy_files.checkpoint("a")))
    expected = sum(together[name] / alone[name] for name in TASKS) / 2
    assert result.models[0].normalized == pytest.approx(expected)
    assert result.metrics["single"] == {name: alone[name] / 48 for name in TASKS}


def test_the_json_file_says_it_all_and_is_the_same_again(toy_files: Any, tmp_path: Path) -> None:
    path = toy_files.checkpoint("a")
    for name in ("one.json", "two.json"):
        result = evaluate(request_of(path, out=tmp_path / name))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    metrics = read_metrics(tmp_path / "one.json")
    assert metrics == result.metrics
    assert (metrics["command"], metrics["split"]) == ("evaluate", "test")
    assert metrics["model"]["hash"] == load_weights("toy-clip").info.hash
    assert metrics["mean"] == result.models[0].mean
    assert metrics["tasks"]["toy-a"]["n"] == 48
    assert metrics["results"][0]["input"]["path"] == str(path)
    assert metrics["results"][0]["method"] == "talos"
    several = evaluate(request_of(path, path)).metrics
    assert "mean" not in several, "ambiguous for several models"


def test_progress_reaches_its_total(toy_files: Any) -> None:
    told: list[tuple[int, int]] = []
    paths = [toy_files.checkpoint("a"), toy_files.checkpoint("b")]
    singles = (toy_files.vector("a"), toy_files.vector("b"))
    evaluate(
        request_of(*paths, singles=singles), lambda what, done, total: told.append((done, total))
    )
    assert told == [(done, 6) for done in range(1, 7)]


def test_the_model_may_come_from_the_file(toy_files: Any) -> None:
    path = toy_files.checkpoint("a")
    named, recorded = (evaluate(request_of(path, model=m)).metrics for m in ("toy-clip", None))
    assert named == recorded


@pytest.mark.parametrize("damage", ["missing", "extra", "shape", "broadcast", "dtype", "text"])
def test_checkpoints_that_do_not_fit_are_refused_by_file_and_name(
    toy_files: Any, tmp_path: Path, damage: str
) -> None:
    checkpoint = read_checkpoint(toy_files.checkpoint("a"))
    tensors = dict(checkpoint.tensors)
    name = "visual.ln_pre.bias"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "visual.unknown"
        tensors[name] = torch.zeros(2)
    elif damage == "shape":
        tensors[name] = torch.zeros(8)
    elif damage == "broadcast":
        tensors[name] = torch.zeros(1)
    elif damage == "dtype":
        tensors[name] = tensors[name].double()
    else:
        name = "logit_scale"
        tensors[name] = tensors[name] + 1
    path = tmp_path / "odd.safetensors"
    write_checkpoint(path, Checkpoint(checkpoint.header, tensors))
    with pytest.raises(MismatchError) as caught:
        evaluate(request_of(path, out=tmp_path / "m.json"))
    assert name in caught.value.message
    assert "odd.safetensors" in caught.value.message
    assert not (tmp_path / "m.json").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"tasks": ()}, OptionError, "no task"),
        ({"tasks": ("toy-a", "toy-a")}, OptionError, "twice"),
        ({"split": "validation"}, OptionError, "--split"),
        ({"model": None}, OptionError, "no model"),
        ({"model": "toy-other", "vector": True}, MismatchError, "another base"),
        ({"single": True}, OptionError, "no model of task 'toy-b'"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    toy_files: Any, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    change = dict(change)
    if change.pop("vector", False):
        change["checkpoints"] = (toy_files.vector("a"),)
    if change.pop("single", False):
        change["singles"] = (toy_files.vector("a"),)
    with pytest.raises(error, match=words):
        evaluate(request_of(out=tmp_path / "m.json", **change))
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_and_existing_outputs_are_refused(toy_files: Any, tmp_path: Path) -> None:
    with pytest.raises(WrongKindError, match="a checkpoint was expected"):
        evaluate(request_of(toy_files.mask("a")))
    (tmp_path / "m.json").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        evaluate(request_of(out=tmp_path / "m.json"))
    assert (tmp_path / "m.json").read_text() == "precious"


def test_a_matrix_holds_ratios_to_the_base(toy_files: Any, tmp_path: Path) -> None:
    paths = [toy_files.checkpoint("a", "nonlinear"), toy_files.vector("b")]
    plain = evaluate(request_of(*paths))
    result = evaluate(request_of(*paths, matrix=True, out=tmp_path / "m.json"))
    before = naive_counts("toy-clip")
    for model, other in zip(result.models, plain.models, strict=True):
        assert model.accuracies == other.accuracies
        counts = {name: found.correct for name, found in model.accuracies.items()}
        assert model.ratios == pytest.approx({n: counts[n] / before[n] for n in TASKS})
    metrics = read_metrics(tmp_path / "m.json")
    assert metrics["base_accuracy"] == pytest.approx({n: before[n] / 48 for n in TASKS})
    assert metrics["results"][1]["ratios"] == result.models[1].ratios


def test_a_base_without_a_right_answer_has_no_ratio(
    toy_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([Accuracy(0, 8), Accuracy(4, 8), Accuracy(2, 8), Accuracy(6, 8)])
    monkeypatch.setattr(module, "measure_accuracy", lambda *_: next(answers))
    (model,) = evaluate(request_of(toy_files.vector("a"), matrix=True)).models
    assert model.ratios == {"toy-a": None, "toy-b": 1.5}


def test_localization_is_measured_on_the_base(
    toy_files: Any, toy_session: Session, tmp_path: Path
) -> None:
    path = toy_files.vector("a")
    request = request_of(path, bound=5, split="val", out=tmp_path / "m.json")
    (model,) = evaluate(request).models
    assert model.bounds is not None
    theta0, edited = load_weights("toy-clip").tensors, read_checkpoint(toy_files.checkpoint("a"))
    moved = {n: v != theta0[n] for n, v in edited.tensors.items() if not torch.equal(v, theta0[n])}
    task = toy_session.evaluation_task("toy-b", "val", points=5, seed=0)
    norms = []
    for example, label in zip(task.inputs, task.labels, strict=True):
        parameters = [task.classifier.get_parameter(name).requires_grad_() for name in moved]
        log_p = torch.log_softmax(task.classifier(example[None])[0], dim=0)[label]
        gradients = torch.autograd.grad(log_p, parameters)
        live = [g[flags] for g, flags in zip(gradients, moved.values(), strict=True)]
        norms.append(float(torch.cat(live).norm()))
    task.classifier.requires_grad_(False)
    measured = model.bounds["toy-b"]
    assert measured.n == 5
    assert measured.count == sum(int(flags.sum()) for flags in moved.values())
    assert measured.gradient_norm == pytest.approx(max(norms), rel=1e-4)
    written = read_metrics(tmp_path / "m.json")
    assert written["bound_points"] == 5
    assert written["results"][0]["bounds"]["toy-b"]["bound"] == measured.bound


@pytest.mark.parametrize("change", [{"matrix": True}, {"bound": 3}, {"bound": -1}], ids=str)
def test_what_compares_with_the_base_needs_models(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"--{next(iter(change))}"):
        evaluate(request_of(**change))
