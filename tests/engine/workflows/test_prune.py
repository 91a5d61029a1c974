"""Pruning and perturbing over files, against models edited by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import talos_engine.workflows.prune as module
from talos_engine.artifacts import (
    Scores,
    read_mask,
    read_metrics,
    read_scores,
    write_scores,
)
from talos_engine.errors import (
    ArtifactError,
    CorruptFileError,
    DataError,
    MismatchError,
    OptionError,
    OutputError,
    UnknownNameError,
    WrongKindError,
)
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows.calibrate import CalibrateRequest, calibrate
from talos_engine.workflows.evaluate import EvaluateRequest, evaluate
from talos_engine.workflows.opening import Common, Session
from talos_engine.workflows.prune import LowestEdit, PruneRequest, prune

CPU = Common(device="cpu")
TASKS = ("toy-a", "toy-b")


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Scores files of two tasks and of another model, with a mask of one round at 0.9 each."""
    folder = tmp_path_factory.mktemp("scores")
    found = {}
    for name, model, task in (
        ("a", "toy-clip", "toy-a"),
        ("b", "toy-clip", "toy-b"),
        ("other", "toy-other", "toy-a"),
    ):
        found[name] = folder / f"{name}.scores"
        calibrate(
            CalibrateRequest(
                model,
                task,
                0.9,
                folder / f"{name}.mask",
                options={"rounds": 1, "fisher": "type-2"},
                save_scores=found[name],
                common=CPU,
            )
        )
    return found


def request_of(*edits: LowestEdit, **changes: Any) -> PruneRequest:
    return dataclasses.replace(PruneRequest(edits, TASKS, common=CPU), **changes)


def naive_counts(tensors: dict[str, torch.Tensor]) -> dict[str, int]:
    """One example at a time through a model built with these tensors."""
    weights = load_weights("toy-clip")
    backbone = build_backbone(dataclasses.replace(weights, tensors={**weights.tensors, **tensors}))
    session = Session(backbone.weights, backbone, CPU.runtime())
    counts = {}
    for name in TASKS:
        task = session.evaluation_task(name, "test")
        with torch.no_grad():
            counts[name] = sum(
                int(task.classifier(one[None]).argmax()) == int(label)
                for one, label in zip(task.inputs, task.labels, strict=True)
            )
    return counts


def test_pruning_zeroes_what_the_mask_of_one_round_would_train(scores: dict[str, Path]) -> None:
    result = prune(request_of(*(LowestEdit("prune", scores[name], 0.1) for name in "ab")))
    theta0 = load_weights("toy-clip").tensors
    base = naive_counts({})
    assert {name: found.correct for name, found in result.base.items()} == base
    for name, model in zip("ab", result.models, strict=True):
        live = read_mask(scores[name].with_suffix(".mask")).live
        edited = {key: torch.where(flags, 0.0, theta0[key]) for key, flags in live.items()}
        expected = naive_counts(edited)
        assert {key: found.correct for key, found in model.accuracies.items()} == expected
        assert model.ratios == {key: expected[key] / base[key] for key in TASKS}
        assert model.mean_ratio == pytest.approx(sum(model.ratios.values()) / 2)
        assert (model.task, model.method) == (f"toy-{name}", "talos")
        assert model.chosen.count == sum(int(flags.sum()) for flags in live.values())
        values = torch.cat([theta0[key][flags] for key, flags in live.items()]).double()
        assert model.chosen.mean_magnitude == pytest.approx(float(values.abs().mean()))
        assert model.chosen.std == pytest.approx(float(values.std(correction=0)))


def test_rows_do_not_depend_on_each_other(scores: dict[str, Path]) -> None:
    edits = [
        LowestEdit(edit, scores[name], fraction)
        for edit in ("prune", "perturb")
        for name in "ab"
        for fraction in (0.3, 0.9)
    ]
    forward = prune(request_of(*edits)).models
    backward = prune(request_of(*reversed(edits))).models
    assert [m.accuracies for m in forward] == [m.accuracies for m in reversed(backward)]
    assert (
        len({tuple(sorted((k, v.correct) for k, v in m.accuracies.items())) for m in forward}) > 2
    )


def test_pruning_everything_maskable_leaves_only_the_rest(scores: dict[str, Path]) -> None:
    (model,) = prune(request_of(LowestEdit("prune", scores["a"], 1.0))).models
    assert model.chosen.count == 18_912
    theta0 = load_weights("toy-clip").tensors
    zeros = {name: torch.zeros_like(theta0[name]) for name in read_scores(scores["a"]).tensors}
    assert {name: found.correct for name, found in model.accuracies.items()} == naive_counts(zeros)


def test_the_seed_matters_for_noise_and_for_noise_alone(scores: dict[str, Path]) -> None:
    tensors: dict[tuple[str, int], list[Any]] = {}
    for edit in ("prune", "perturb"):
        for seed in (0, 0, 1):
            common = dataclasses.replace(CPU, seed=seed)
            result = prune(request_of(LowestEdit(edit, scores["a"], 0.9), common=common))
            tensors.setdefault((edit, seed), []).append(result.models[0].accuracies)
    assert tensors["prune", 0] == [tensors["prune", 1][0]] * 2
    assert tensors["perturb", 0][0] == tensors["perturb", 0][1]


def test_what_the_scores_exclude_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    calibrate(
        CalibrateRequest(
            "toy-clip",
            "toy-a",
            0.9,
            tmp_path / "m",
            options={"rounds": 1},
            exclude=("*in_proj_bias#k", "*conv1*"),
            save_scores=path,
            common=CPU,
        )
    )
    (model,) = prune(request_of(LowestEdit("prune", path, 0.5))).models
    assert model.chosen.count == (18_912 - 12_288 - 32) // 2
    assert "visual.conv1.weight" not in model.chosen.flags


def test_the_json_file_says_it_all_and_is_the_same_again(
    scores: dict[str, Path], tmp_path: Path
) -> None:
    edits = (LowestEdit("prune", scores["a"], 0.1), LowestEdit("perturb", scores["b"], 0.25))
    for name in ("one.json", "two.json"):
        result = prune(request_of(*edits, out=tmp_path / name))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    metrics = read_metrics(tmp_path / "one.json")
    assert metrics == result.metrics
    assert (metrics["command"], metrics["split"], metrics["seed"]) == ("evaluate", "test", 0)
    assert metrics["model"]["hash"] == load_weights("toy-clip").info.hash
    plain = evaluate(EvaluateRequest((), TASKS, model="toy-clip", common=CPU)).metrics
    assert metrics["base"] == {"tasks": plain["tasks"], "mean": plain["mean"]}
    pruned, perturbed = metrics["edits"]
    assert (pruned["edit"], pruned["fraction"], pruned["count"]) == ("prune", 0.1, 1892)
    assert (perturbed["edit"], perturbed["fraction"], perturbed["count"]) == ("perturb", 0.25, 4728)
    assert pruned["scores"]["task"] == "toy-a"
    assert set(perturbed["ratio"]) == set(TASKS)
    assert perturbed["std"] == result.models[1].chosen.std > 0
    for name in TASKS:
        assert pruned["ratio"][name] == pytest.approx(
            pruned["tasks"][name]["accuracy"] / metrics["base"]["tasks"][name]["accuracy"]
        )


def test_progress_reaches_its_total(scores: dict[str, Path]) -> None:
    told: list[tuple[int, int]] = []
    edits = [LowestEdit("prune", scores[name], 0.1) for name in "ab"]
    prune(request_of(*edits), lambda what, done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_scores_of_another_base_are_refused_with_both_hashes_before_any_data(
    scores: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "open_session", lambda *_: pytest.fail("worked for nothing"))
    request = request_of(
        LowestEdit("prune", scores["other"], 0.1), model="toy-clip", out=tmp_path / "m.json"
    )
    with pytest.raises(MismatchError) as caught:
        prune(request)
    for name in ("toy-clip", "toy-other"):
        assert load_weights(name).info.hash[:12] in caught.value.message
    mixed = [LowestEdit("prune", scores[name], 0.1) for name in ("a", "other")]
    with pytest.raises(MismatchError, match="different bases"):
        prune(request_of(*mixed))
    assert list(tmp_path.iterdir()) == []


def test_scores_of_the_base_do_not_hold_for_an_edited_model(
    scores: dict[str, Path], toy_files: Any
) -> None:
    request = request_of(
        LowestEdit("prune", scores["a"], 0.1), model=str(toy_files.checkpoint("a"))
    )
    with pytest.raises(MismatchError, match="another base") as caught:
        prune(request)
    assert "for this model" in caught.value.hint


@pytest.mark.parametrize("damage", ["missing", "extra", "shape"])
def test_scores_that_do_not_fit_are_refused_by_name(
    scores: dict[str, Path], tmp_path: Path, damage: str
) -> None:
    found = read_scores(scores["a"])
    tensors, name = dict(found.tensors), "visual.ln_pre.bias"
    if damage == "missing":
        del tensors[name]
    elif damage == "extra":
        name = "visual.proj"
        tensors[name] = torch.zeros(2)
    else:
        tensors[name] = torch.zeros(3)
    write_scores(tmp_path / "odd", Scores(found.header, tensors))
    with pytest.raises(MismatchError, match=f"odd does not fit the model at '{name}'"):
        prune(request_of(LowestEdit("prune", tmp_path / "odd", 0.1)))


def test_a_malformed_exclude_is_damage(scores: dict[str, Path], tmp_path: Path) -> None:
    found = read_scores(scores["a"])
    header = dataclasses.replace(found.header, config={"exclude": "*conv*"})
    write_scores(tmp_path / "odd", Scores(header, found.tensors))
    with pytest.raises(CorruptFileError, match="odd"):
        prune(request_of(LowestEdit("prune", tmp_path / "odd", 0.1)))


def test_a_base_that_is_never_right_has_no_ratio(
    scores: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from talos_engine.evaluation.accuracy import Accuracy

    monkeypatch.setattr(module, "measure_accuracy", lambda *_: Accuracy(0, 48))
    with pytest.raises(DataError, match="accuracy 0 on 'toy-a'"):
        prune(request_of(LowestEdit("prune", scores["a"], 0.1)))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"edits": ()}, OptionError, "nothing to prune"),
        ({"fraction": 0.0}, OptionError, r"\(0, 1\], not 0"),
        ({"fraction": 1.1}, OptionError, r"\(0, 1\], not 1.1"),
        ({"fraction": float("nan")}, OptionError, "nan"),
        ({"edit": "shake"}, OptionError, "shake"),
        ({"tasks": ()}, OptionError, "no task"),
        ({"tasks": ("toy-a", "toy-a")}, OptionError, "twice"),
        ({"tasks": ("toys",)}, UnknownNameError, "toys"),
        ({"split": "validation"}, OptionError, "--split"),
        ({"model": "tiny-clop"}, UnknownNameError, "tiny-clop"),
        ({"plot": "m.json"}, OptionError, "same file"),
        ({"plot": "nowhere/p.png"}, OutputError, "no folder"),
        ({"common": Common(device="gpu")}, OptionError, "gpu"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    scores: dict[str, Path],
    tmp_path: Path,
    change: dict[str, Any],
    error: type[Exception],
    words: str,
) -> None:
    change = dict(change)
    edit = LowestEdit(change.pop("edit", "prune"), scores["a"], change.pop("fraction", 0.1))
    if "plot" in change:
        change["plot"] = tmp_path / change["plot"]
    request = dataclasses.replace(request_of(edit, out=tmp_path / "m.json"), **change)
    with pytest.raises(error, match=words):
        prune(request)
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_missing_files_and_existing_outputs_are_refused(
    scores: dict[str, Path], toy_files: Any, tmp_path: Path
) -> None:
    with pytest.raises(WrongKindError, match="a scores file was expected"):
        prune(request_of(LowestEdit("prune", toy_files.mask("a"), 0.1)))
    with pytest.raises(ArtifactError, match="no file"):
        prune(request_of(LowestEdit("prune", tmp_path / "nowhere", 0.1)))
    (tmp_path / "m.json").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        prune(request_of(LowestEdit("prune", scores["a"], 0.1), out=tmp_path / "m.json"))
    assert (tmp_path / "m.json").read_text() == "precious"
