"""Dry runs: they write nothing, read no weights, refuse what the real run refuses, count right."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from talos_engine.artifacts import Checkpoint, read_checkpoint, write_checkpoint
from talos_engine.errors import MismatchError, OptionError, OutputError, TalosError
from talos_engine.models.spec import MODELS
from talos_engine.workflows import planning
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate, calibrate_each
from talos_engine.workflows.disentangle import DisentangleRequest
from talos_engine.workflows.evaluate import EvaluateRequest
from talos_engine.workflows.finetune import FinetuneRequest, finetune
from talos_engine.workflows.negate import NegateRequest
from talos_engine.workflows.opening import Common
from talos_engine.workflows.profile import ProfileRequest
from talos_engine.workflows.prune import LowestEdit, PruneRequest

CPU = Common(device="cpu")


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch, toy_files: Any, toy_scores: Path) -> None:
    """Reading weights is an error from here on; the toy files are made before."""

    def refuse(*_: object) -> None:
        pytest.fail("a dry run reads no weights")

    spec = MODELS.get("toy-clip")
    monkeypatch.setitem(
        MODELS._entries, "toy-clip", dataclasses.replace(spec, read=refuse, build=refuse)
    )


def requests(toy_files: Any, toy_scores: Path, out: Path) -> dict[str, Any]:
    """A request per command with its planner."""
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    return {
        "calibrate": (
            planning.plan_calibrate,
            CalibrateRequest("toy-clip", "toy-a", 0.9, out, common=CPU),
        ),
        "finetune": (
            planning.plan_finetune,
            FinetuneRequest(
                "toy-clip", "toy-a", "talos", out, mask=toy_files.mask("a"), common=CPU
            ),
        ),
        "add": (planning.plan_add, AddRequest(vectors, out, search=True, common=CPU)),
        "negate": (
            planning.plan_negate,
            NegateRequest(vectors[0], out, search=True, control="toy-b", common=CPU),
        ),
        "evaluate": (
            planning.plan_evaluate,
            EvaluateRequest((toy_files.checkpoint("a"),), ("toy-a",), out=out, common=CPU),
        ),
        "prune": (
            planning.plan_prune,
            PruneRequest(
                (LowestEdit("prune", toy_scores, 0.1), LowestEdit("perturb", toy_scores, 0.5)),
                ("toy-a", "toy-b"),
                out=out,
                common=CPU,
            ),
        ),
        "disentangle": (
            planning.plan_disentangle,
            DisentangleRequest(vectors, out, grid=4, common=CPU),
        ),
        "profile": (
            planning.plan_profile,
            ProfileRequest("toy-clip", "toy-a", out, iters=5, common=CPU),
        ),
    }


COMMANDS = (
    "calibrate", "finetune", "add", "negate", "evaluate", "prune", "disentangle", "profile",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_a_plan_writes_nothing_and_counts_memory_and_disk(
    toy_files: Any, toy_scores: Path, tmp_path: Path, command: str
) -> None:
    planner, request = requests(toy_files, toy_scores, tmp_path / "out")[command]
    facts = planner(request).facts
    assert list(tmp_path.iterdir()) == []
    assert facts["memory_bytes"] > 0
    assert facts["disk_bytes"] >= 0


@pytest.mark.parametrize("command", COMMANDS)
def test_a_plan_refuses_an_existing_output(
    toy_files: Any, toy_scores: Path, tmp_path: Path, command: str
) -> None:
    (tmp_path / "out").write_text("precious")
    planner, request = requests(toy_files, toy_scores, tmp_path / "out")[command]
    with pytest.raises(OutputError, match="exists already"):
        planner(request)


def test_counts_by_hand(toy_files: Any, toy_scores: Path, tmp_path: Path) -> None:
    plans = {
        name: planner(request).facts
        for name, (planner, request) in requests(toy_files, toy_scores, tmp_path / "out").items()
    }
    assert plans["calibrate"]["maskable_entries"] == 18_912
    assert plans["calibrate"]["live_entries"] == 18_912 - 17_020
    assert plans["calibrate"]["examples_per_round"] == 8
    assert plans["calibrate"]["rounds"] == 4
    assert plans["finetune"]["trained_entries"] == 18_912 // 4
    assert plans["finetune"]["steps"] == 6
    assert plans["finetune"]["examples"] == 72
    assert plans["add"]["coefficients"] == 36, "0…1 by .05 and 0…4 by .2, six of them in both"
    assert plans["add"]["validation_examples"] == 16
    assert plans["negate"]["coefficients"] == 36
    assert plans["evaluate"]["examples"] == 48
    assert plans["prune"]["models"] == 3, "the untouched base too"
    assert plans["prune"]["examples"] == 96
    assert plans["disentangle"]["grid_points"] == 16
    assert plans["disentangle"]["predictions"] == (4 + 16) * 96
    assert plans["profile"]["steps_per_method"] == 8


@pytest.mark.parametrize(
    ("command", "change"),
    [
        ("calibrate", {"sparsity": 1.0}),
        ("calibrate", {"model": "tiny-clop"}),
        ("calibrate", {"task": "toys"}),
        ("calibrate", {"exclude": ("*nothing*",)}),
        ("calibrate", {"sparsity": (0.5, 0.9)}),
        ("calibrate", {"scope": "row"}),
        ("finetune", {"mask": None}),
        ("finetune", {"training": {"lr": -1.0}}),
        ("add", {"coefs": (1.0,)}),
        ("add", {"tasks": ("toys",)}),
        ("add", {"vectors": (Path("nowhere"),)}),
        ("negate", {"control": None}),
        ("negate", {"control": "toy-a"}),
        ("evaluate", {"tasks": ("toy-a", "toy-a")}),
        ("evaluate", {"checkpoints": (), "model": None}),
        ("prune", {"edits": ()}),
        ("prune", {"edits": (LowestEdit("prune", Path("nowhere"), 0.1),)}),
        ("prune", {"tasks": ()}),
        ("prune", {"model": "tiny-clip"}),
        ("disentangle", {"grid": 0}),
        ("disentangle", {"tasks": ("toy-a", "toy-a")}),
        ("profile", {"iters": 0}),
        ("profile", {"methods": ()}),
    ],
    ids=str,
)
def test_a_plan_refuses_what_the_run_refuses(
    toy_files: Any, toy_scores: Path, tmp_path: Path, command: str, change: dict[str, Any]
) -> None:
    planner, request = requests(toy_files, toy_scores, tmp_path / "out")[command]
    with pytest.raises(TalosError):
        planner(dataclasses.replace(request, **change))


def test_merging_methods_are_counted(toy_files: Any, tmp_path: Path) -> None:
    """One model per task takes its disk once per task; learning takes a model and a backward."""
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    facts = {
        method: planning.plan_add(
            AddRequest(vectors, tmp_path / "out", method=method, coefs=(1.0,), common=CPU)
        ).facts
        for method in ("sum", "tall", "adamerging-task")
    }
    assert facts["sum"]["models"] == 1
    assert facts["tall"]["models"] == 2
    assert facts["tall"]["disk_bytes"] == 2 * facts["sum"]["disk_bytes"]
    assert facts["adamerging-task"]["memory_bytes"] > facts["sum"]["memory_bytes"]
    request = NegateRequest(
        vectors[0], tmp_path / "out", method="ties", others=vectors[1:], coef=1.0, common=CPU
    )
    assert planning.plan_negate(request).facts["vectors"] == 2
    assert list(tmp_path.iterdir()) == []


def test_one_model_per_task_cannot_be_planned_for_one_task_twice(
    toy_files: Any, tmp_path: Path
) -> None:
    vectors = (toy_files.vector("a"), toy_files.vector("a", "nonlinear"))
    request = AddRequest(vectors, tmp_path / "out", method="tall", coefs=(1.0,), common=CPU)
    with pytest.raises(OptionError, match="different tasks"):
        planning.plan_add(request)


def test_vectors_that_do_not_fit_are_refused(toy_files: Any, tmp_path: Path) -> None:
    request = AddRequest((toy_files.vector("a"),), tmp_path / "out", coefs=(1.0,), common=CPU)
    with pytest.raises(MismatchError):
        planning.plan_add(dataclasses.replace(request, model="tiny-clip"))


@pytest.mark.parametrize("model", ["toy-clip", "checkpoint"])
def test_plain_differences_are_planned_as_they_are_added(
    toy_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """All tensors of the state dict, the text tower too; alone, or beside a vector of ours."""
    base = read_checkpoint(toy_files.checkpoint("c"))
    plain = tmp_path / "plain"
    save_file({name: torch.full_like(value, 0.5) for name, value in base.tensors.items()}, plain)
    named = "toy-clip" if model == "toy-clip" else str(toy_files.checkpoint("c"))
    request = AddRequest((plain,), tmp_path / "out", named, coefs=(1.0,), common=CPU)
    with pytest.raises(TalosError, match="accepted where --model is given"):
        planning.plan_add(dataclasses.replace(request, model=None))
    assert planning.plan_add(request).facts["vectors"] == 1
    if model == "toy-clip":
        both = dataclasses.replace(request, vectors=(plain, toy_files.vector("a")))
        assert planning.plan_add(both).facts["vectors"] == 2
    planned = planning.plan_add(request).facts["disk_bytes"]
    monkeypatch.undo()
    size = add_vectors(request).path.stat().st_size
    assert planned <= size <= int(planned) + 20_000


def test_plain_differences_of_another_dtype_are_not_planned(toy_files: Any, tmp_path: Path) -> None:
    base = read_checkpoint(toy_files.checkpoint("c")).tensors
    save_file({name: value.half() for name, value in base.items()}, tmp_path / "half")
    request = AddRequest((tmp_path / "half",), tmp_path / "out", "toy-clip", coefs=(1.0,))
    with pytest.raises(MismatchError, match="float16"):
        planning.plan_add(request)


@pytest.mark.parametrize("model", ["toy-other", "checkpoint"])
@pytest.mark.parametrize("command", ["add", "negate", "disentangle"])
def test_vectors_of_another_base_are_not_planned(
    toy_files: Any, tmp_path: Path, model: str, command: str
) -> None:
    """The same architecture with other weights, where what is recorded tells them apart."""
    checkpoint = read_checkpoint(toy_files.checkpoint("c"))
    foreign = dataclasses.replace(checkpoint.header.base, name="toy-other", hash="1" * 64)
    header = dataclasses.replace(checkpoint.header, base=foreign)
    write_checkpoint(tmp_path / "other", Checkpoint(header, checkpoint.tensors))
    planner, request = requests(toy_files, Path("unused"), tmp_path / "out")[command]
    named = model if model == "toy-other" else str(tmp_path / "other")
    with pytest.raises(MismatchError, match="was made for another base"):
        planner(dataclasses.replace(request, model=named))
    planner(dataclasses.replace(request, model=str(toy_files.checkpoint("c"))))


def test_a_consensus_of_more_tasks_than_there_are_is_not_planned(
    toy_files: Any, tmp_path: Path
) -> None:
    vectors = (toy_files.vector("a"), toy_files.vector("b"))
    options = {"consensus_threshold": 3}
    request = AddRequest(vectors, tmp_path / "o", None, "consensus", options, (1.0,), common=CPU)
    with pytest.raises(OptionError, match="needs as many vectors; there are 2"):
        planning.plan_add(request)
    planning.plan_add(dataclasses.replace(request, options={"consensus_threshold": 2}))
    alone = NegateRequest(
        vectors[0], tmp_path / "o", None, "consensus", options, vectors[1:], 1.0, common=CPU
    )
    with pytest.raises(OptionError, match="needs as many vectors; there are 2"):
        planning.plan_negate(alone)


def test_a_vector_of_another_task_cannot_be_planned_to_search(
    toy_files: Any, tmp_path: Path
) -> None:
    request = AddRequest(
        (toy_files.vector("a"),), tmp_path / "out", search=True, tasks=("toy-c",), common=CPU
    )
    with pytest.raises(OptionError, match="toy-c"):
        planning.plan_add(request)


def test_plans_agree_with_what_happens(
    toy_files: Any, toy_scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries, steps and disk of the plan against those of the run."""
    plans = requests(toy_files, toy_scores, tmp_path / "out")
    planner, tuning = plans["finetune"]
    planned = planner(tuning).facts
    mask_planner, calibration = plans["calibrate"]
    mask_planned = mask_planner(calibration).facts
    monkeypatch.undo()
    result = finetune(tuning)
    assert planned["trained_entries"] == result.trained
    assert planned["steps"] == len(result.records)
    size = result.path.stat().st_size
    assert planned["disk_bytes"] <= size <= planned["disk_bytes"] + 20_000
    made = calibrate(dataclasses.replace(calibration, out=tmp_path / "mask"))
    assert mask_planned["live_entries"] == made.live
    assert mask_planned["examples_per_round"] == made.notes["examples"]


@pytest.mark.parametrize("scope", ["global", "layer", "tensor"])
def test_the_live_count_of_each_scope_is_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    request = CalibrateRequest(
        "toy-clip", "toy-a", 0.9, tmp_path / "m", method="random", scope=scope, common=CPU
    )
    facts = planning.plan_calibrate(request).facts
    monkeypatch.undo()
    assert facts["live_entries"] == calibrate(request).live
    assert "examples_per_round" not in facts, "no data is used"


def test_masks_of_several_sparsities_are_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = CalibrateRequest(
        "toy-clip",
        "toy-a",
        (0.5, 0.9),
        tmp_path / "m.{sparsity}",
        options={"rounds": 1},
        common=CPU,
    )
    facts = planning.plan_calibrate(request).facts
    assert (facts["masks"], facts["live_entries"]) == (2, "9456, 1892")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    made = calibrate_each(request)
    assert facts["live_entries"] == ", ".join(str(result.live) for result in made)


def test_the_dense_run_of_lota_is_planned(tmp_path: Path) -> None:
    plans = [
        planning.plan_calibrate(
            CalibrateRequest("toy-clip", "toy-a", 0.9, tmp_path / "m", method, options, common=CPU)
        ).facts
        for method, options in (("random", {}), ("lota", {"lota_steps": 7, "batch_size": 500}))
    ]
    assert plans[1]["steps"] == 7
    assert plans[1]["batch_size"] == 72, "all there is"
    dense = 5 * 19_200 * 4
    assert plans[1]["memory_bytes"] > plans[0]["memory_bytes"] + dense
