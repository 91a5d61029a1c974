"""``linearized``: all of the encoder trains, on f_lin; its vectors are evaluated with f_lin."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from talos_engine.artifacts import (
    LINEARIZED,
    BaseInfo,
    Header,
    Mask,
    inspect_kind,
    read_checkpoint,
    read_metrics,
    read_vector,
)
from talos_engine.errors import MismatchError, OptionError
from talos_engine.evaluation.accuracy import measure_accuracy
from talos_engine.models.loading import load_weights
from talos_engine.training.loop import batch_order
from talos_engine.training.methods.linearized import LinearizedConfig, train_everything
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.disentangle import DisentangleRequest, disentangle
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session, open_session
from talos_engine.workflows.planning import plan_add
from talos_engine.workflows.vector import VectorRequest, make_vector

CPU = Common(device="cpu")
TRAINING = {"steps": 25, "lr": 0.02}


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with linearized checkpoints and vectors of two tasks, far enough from θ0 to matter."""
    folder = tmp_path_factory.mktemp("linear")
    for task in "ab":
        path = folder / f"{task}.ckpt.safetensors"
        request = FinetuneRequest("toy-clip", f"toy-{task}", "linearized", path, common=CPU)
        finetune(dataclasses.replace(request, training=TRAINING))
        make_vector(VectorRequest(path, folder / f"{task}.vector.safetensors"))
    return folder


def accuracy_of(tensors: dict[str, torch.Tensor], task: str, split: str = "test") -> float:
    """f_lin at these weights, by hand: features at θ0 plus the Jacobian's product with τ."""
    session = open_session(load_weights("toy-clip"), CPU.runtime())
    held = session.linearized(session.evaluation_task(task, split))
    session.backbone.set_weights(tensors)
    return measure_accuracy(held, session.runtime).value


def test_everything_trains_and_a_mask_is_refused(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    trains = train_everything(LinearizedConfig(), structure, None)
    assert set(trains) == set(structure.trainable)
    header = Header(
        "mask", BaseInfo("toy-clip", "random", {}, "0" * 64), "talos", "", {"sparsity": 0}, 0, ""
    )
    mask = Mask(header, {"x": torch.ones(1, dtype=torch.bool)}, {"x": (1,)})
    with pytest.raises(OptionError, match="--mask does not go with --method linearized"):
        train_everything(LinearizedConfig(), structure, mask)


def test_the_first_step_is_nonlinear_and_the_next_is_not(tmp_path: Path) -> None:
    """At θ0 both gradients are equal (in float32 up to rounding, which AdamW's sign amplifies)."""
    losses = {}
    for method in ("nonlinear", "linearized"):
        request = FinetuneRequest("toy-clip", "toy-a", method, tmp_path / method, common=CPU)
        result = finetune(dataclasses.replace(request, training={"steps": 4, "lr": 0.05}))
        losses[method] = [record.loss for record in result.records]
    assert losses["nonlinear"][0] == pytest.approx(losses["linearized"][0], rel=1e-4)
    assert losses["nonlinear"][3] != pytest.approx(losses["linearized"][3], rel=1e-3)


def test_the_loss_is_that_of_the_linearized_classifier(toy_session: Session, linear: Path) -> None:
    """The last loss of a run that is cut off one step later, from the checkpoint before."""
    request = FinetuneRequest("toy-clip", "toy-a", "linearized", linear / "cut", common=CPU)
    training = {"steps": 3, "lr": 0.05, "schedule": "constant", "warmup": 0}
    finetune(dataclasses.replace(request, training=training))
    longer = dataclasses.replace(request, out=linear / "longer", training={**training, "steps": 4})
    told = finetune(longer).records[3].loss
    task = toy_session.linearized(toy_session.evaluation_task("toy-a", "train"))
    order = batch_order(len(task.labels), 16, 0, first=3)
    chosen = next(order)
    toy_session.backbone.set_weights(read_checkpoint(linear / "cut").tensors)
    with torch.no_grad():
        loss = F.cross_entropy(task.classifier(task.inputs[chosen]), task.labels[chosen])
    assert float(loss) == pytest.approx(told, rel=1e-4)


def test_a_killed_run_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    """The loop is the same; what differs is that θ0 must still be there."""
    from talos_engine.workflows.unfinished import Persistence, resume_path

    request = FinetuneRequest("toy-clip", "toy-a", "linearized", tmp_path / "c", common=CPU)
    request = dataclasses.replace(request, training={"steps": 6, "lr": 0.05})
    finetune(dataclasses.replace(request, out=tmp_path / "whole"))
    from talos_engine.training import loop

    step = loop._take_step

    def dying(*arguments: Any) -> Any:
        if arguments[3] == 4:
            raise MemoryError
        return step(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_take_step", dying)
        with pytest.raises(MemoryError):
            finetune(dataclasses.replace(request, kept=Persistence(3)))
    assert resume_path(request.out).exists()
    assert finetune(dataclasses.replace(request, kept=Persistence(0, resume=True))).first == 3
    assert request.out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_files_record_it_and_evaluate_follows(linear: Path, tmp_path: Path) -> None:
    checkpoint, vector = linear / "a.ckpt.safetensors", linear / "a.vector.safetensors"
    assert read_checkpoint(checkpoint).header.config["evaluation"] == LINEARIZED
    assert read_vector(vector).header.config["evaluation"] == LINEARIZED
    expected = accuracy_of(read_checkpoint(checkpoint).tensors, "toy-a")
    request = EvaluateRequest((checkpoint, vector), ("toy-a",), tmp_path / "m.json", common=CPU)
    result = evaluate(request)
    assert [model.mean for model in result.models] == [expected, expected]
    assert [model.evaluation for model in result.models] == [LINEARIZED, LINEARIZED]
    written = read_metrics(tmp_path / "m.json")["results"]
    assert [entry["evaluation"] for entry in written] == [LINEARIZED, LINEARIZED]


def test_any_model_can_be_linearized_afterwards(toy_files: Any) -> None:
    """Fig. 6: a non-linear model, far from θ0, is another one when linearized."""
    path = toy_files.checkpoint("a", "nonlinear")
    expected = accuracy_of(read_checkpoint(path).tensors, "toy-a")
    request = EvaluateRequest((path,), ("toy-a",), linearize=True, common=CPU)
    assert evaluate(request).models[0].mean == expected
    base = EvaluateRequest((), ("toy-a",), model="toy-clip", common=CPU)
    plain, shown = (
        evaluate(dataclasses.replace(base, linearize=each)).models[0] for each in (False, True)
    )
    assert plain.mean == shown.mean
    assert (plain.evaluation, shown.evaluation) == ("plain", "linearized")


def test_normalized_accuracy_linearizes_each_model_as_its_file_says(
    linear: Path, toy_files: Any
) -> None:
    single = linear / "a.vector.safetensors"
    request = EvaluateRequest(
        (toy_files.checkpoint("a", "nonlinear"),), ("toy-a",), singles=(single,), common=CPU
    )
    metrics = evaluate(request).metrics
    assert metrics["single"]["toy-a"] == accuracy_of(
        read_checkpoint(linear / "a.ckpt.safetensors").tensors, "toy-a"
    )


def test_sums_are_searched_and_evaluated_linearized(linear: Path, tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    vectors = (linear / "a.vector.safetensors", linear / "b.vector.safetensors")
    result = add_vectors(AddRequest(vectors, out, search=True, grid="plain", common=CPU))
    merged = read_checkpoint(out)
    assert merged.header.config["evaluation"] == LINEARIZED
    assert result.search is not None
    for task in ("toy-a", "toy-b"):
        found = result.search.chosen.accuracy[task]
        assert found == accuracy_of(merged.tensors, task, "val")
    tested = evaluate(EvaluateRequest((out,), ("toy-a", "toy-b"), common=CPU)).models[0]
    assert tested.accuracies["toy-b"].value == accuracy_of(merged.tensors, "toy-b")
    make_vector(VectorRequest(out, tmp_path / "v"))
    assert read_vector(tmp_path / "v").header.config["evaluation"] == LINEARIZED


def test_negation_and_disentanglement_are_linearized(linear: Path, tmp_path: Path) -> None:
    vectors = (linear / "a.vector.safetensors", linear / "b.vector.safetensors")
    out = tmp_path / "negated.safetensors"
    result = negate_vector(
        NegateRequest(vectors[0], out, search=True, control="toy-b", keep=0.0, common=CPU)
    )
    negated = read_checkpoint(out)
    assert negated.header.config["evaluation"] == LINEARIZED
    assert result.search is not None
    found = result.search.chosen.accuracy["toy-a"]
    assert found == accuracy_of(negated.tensors, "toy-a", "val")
    disentangle(DisentangleRequest(vectors, tmp_path / "xi.json", grid=2, common=CPU))
    assert json.loads((tmp_path / "xi.json").read_text())["evaluation"] == LINEARIZED


def test_vectors_of_both_kinds_are_not_combined(
    linear: Path, toy_files: Any, tmp_path: Path
) -> None:
    vectors = (linear / "a.vector.safetensors", toy_files.vector("b", "nonlinear"))
    request = AddRequest(vectors, tmp_path / "m", coefs=(0.5,), common=CPU)
    for work in (add_vectors, plan_add):
        with pytest.raises(MismatchError, match="no model is both"):
            work(request)  # type: ignore[operator]
    with pytest.raises(MismatchError, match="no model is both"):
        disentangle(DisentangleRequest(vectors, tmp_path / "xi", grid=2, common=CPU))
    assert list(tmp_path.iterdir()) == []


def test_a_linearized_model_is_no_base(linear: Path, tmp_path: Path) -> None:
    base = str(linear / "a.ckpt.safetensors")
    assert inspect_kind(Path(base)) == "checkpoint"
    with pytest.raises(MismatchError, match="is no base itself"):
        finetune(FinetuneRequest(base, "toy-b", "nonlinear", tmp_path / "c", common=CPU))
    vector = linear / "b.vector.safetensors"
    with pytest.raises(MismatchError, match="is no base itself"):
        add_vectors(AddRequest((vector,), tmp_path / "m", model=base, coefs=(1.0,), common=CPU))


def test_linearizing_needs_the_very_base(linear: Path, toy_files: Any, tmp_path: Path) -> None:
    """A plain edited model is a base for plain vectors, but not where f_lin was expanded."""
    edited = tmp_path / "edited.safetensors"
    add_vectors(AddRequest((toy_files.vector("c"),), edited, coefs=(0.5,), common=CPU))
    vector = linear / "b.vector.safetensors"
    request = AddRequest((vector,), tmp_path / "m", model=str(edited), coefs=(1.0,), common=CPU)
    with pytest.raises(MismatchError, match="linearized at the base it was made from"):
        add_vectors(request)
    with pytest.raises(MismatchError, match="linearized at the base it was made from"):
        evaluate(EvaluateRequest((vector,), ("toy-b",), model=str(edited), common=CPU))
    assert not (tmp_path / "m").exists()
