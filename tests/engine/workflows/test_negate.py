"""``negate`` over files: θ0 − α·τ, the constrained search, refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from talos_engine.artifacts import (
    hash_tensors,
    read_checkpoint,
    read_metrics,
    read_vector,
    write_vector,
)
from talos_engine.errors import MismatchError, OptionError, OutputError, UnknownNameError
from talos_engine.evaluation.accuracy import Accuracy, measure_accuracy
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.negate import NegateRequest, negate_vector
from talos_engine.workflows.opening import Common, Session

CPU = Common(device="cpu", force=True)


@pytest.mark.parametrize("method", ["talos", "nonlinear"])
@pytest.mark.parametrize("coef", [0.5, 1.0, -2.0, 3.25])
def test_it_subtracts_with_one_rounding(
    toy_files: Any, tmp_path: Path, method: str, coef: float
) -> None:
    vector = toy_files.vector("a", method)
    result = negate_vector(NegateRequest(vector, tmp_path / "n", coef=coef, common=CPU))
    assert result.coefs == (coef,)
    found = read_checkpoint(tmp_path / "n")
    entries = read_vector(vector).entries
    for name, before in load_weights("toy-clip").tensors.items():
        expected = before
        if name in entries:
            expected = (before.double() - coef * entries[name].dense().double()).float()
        assert torch.equal(found.tensors[name], expected), name
    assert found.header.method == "negate:sum"
    assert found.header.config["inputs"][0]["coef"] == -coef


def test_coefficient_zero_is_the_base(toy_files: Any, tmp_path: Path) -> None:
    negate_vector(NegateRequest(toy_files.vector("a"), tmp_path / "n", coef=0.0, common=CPU))
    found = read_checkpoint(tmp_path / "n").tensors
    assert hash_tensors(found) == load_weights("toy-clip").info.hash


def test_negating_is_adding_with_the_opposite_sign(toy_files: Any, tmp_path: Path) -> None:
    vector = toy_files.vector("b", "nonlinear")
    negate_vector(NegateRequest(vector, tmp_path / "n", coef=0.7, common=CPU))
    add_vectors(AddRequest((vector,), tmp_path / "p", coefs=(-0.7,), common=CPU))
    ours, theirs = (read_checkpoint(tmp_path / name).tensors for name in "np")
    assert hash_tensors(ours) == hash_tensors(theirs)


@pytest.mark.parametrize("keep", [0.0, 0.95])
def test_searching_equals_trying_every_file(toy_files: Any, tmp_path: Path, keep: float) -> None:
    vector = toy_files.vector("a", "nonlinear")
    out = tmp_path / "n.safetensors"
    request = NegateRequest(
        vector, out, search=True, control="toy-b", keep=keep, grid="plain", common=CPU
    )
    result = negate_vector(request)
    assert result.search is not None

    def accuracy(path: Path, task: str) -> Accuracy:
        backbone = build_backbone(load_weights(str(path)))
        session = Session(backbone.weights, backbone, CPU.runtime())
        return measure_accuracy(session.evaluation_task(task, "val"), session.runtime)

    best: tuple[float, float] | None = None
    before = 0
    for point in result.search.curve:
        tried = tmp_path / "tried.safetensors"
        negate_vector(NegateRequest(vector, tried, coef=point.coef, common=CPU))
        target, control = accuracy(tried, "toy-a"), accuracy(tried, "toy-b")
        if point.coef == 0:
            before = control.correct
        assert point.accuracy == {"toy-a": target.value, "toy-b": control.value}
        feasible = point.coef == 0 or 100 * control.correct >= 100 * keep * before
        assert point.feasible == feasible
        if feasible and (best is None or (target.value, point.coef) < best):
            best = (target.value, point.coef)
    assert best is not None
    assert result.search.chosen.coef == best[1]
    negate_vector(NegateRequest(vector, tmp_path / "again", coef=best[1], common=CPU))
    ours, theirs = (read_checkpoint(path).tensors for path in (out, tmp_path / "again"))
    assert hash_tensors(ours) == hash_tensors(theirs)
    report = read_metrics(tmp_path / "n.search.json")
    assert (report["task"], report["control"], report["keep"]) == ("toy-a", "toy-b", keep)
    assert (report["coef"], report["split"]) == (best[1], "val")
    assert [point["feasible"] for point in report["curve"]] == [
        point.feasible for point in result.search.curve
    ]


@pytest.mark.parametrize("out", ["v", "other", "base"])
def test_no_output_takes_the_place_of_an_input(toy_files: Any, tmp_path: Path, out: str) -> None:
    files = {
        "v": toy_files.vector("a"),
        "other": toy_files.vector("b"),
        "base": toy_files.checkpoint("c"),
    }
    for name, path in files.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    request = NegateRequest(
        tmp_path / "v",
        tmp_path / out,
        str(tmp_path / "base"),
        method="ties",
        others=(tmp_path / "other",),
        coef=1.0,
        common=CPU,
    )
    with pytest.raises(OptionError, match="which is read"):
        negate_vector(request)
    assert (tmp_path / out).read_bytes() == files[out].read_bytes()


def test_the_task_to_forget_may_be_another(toy_files: Any, tmp_path: Path) -> None:
    request = NegateRequest(
        toy_files.vector("a"),
        tmp_path / "n",
        search=True,
        task="toy-c",
        control="toy-b",
        common=CPU,
    )
    result = negate_vector(request)
    assert result.search is not None
    assert set(result.search.chosen.accuracy) == {"toy-c", "toy-b"}


def test_edits_outside_the_encoder_are_not_searched(toy_files: Any, tmp_path: Path) -> None:
    from talos_engine.artifacts import make_entry

    vector = read_vector(toy_files.vector("a"))
    before = load_weights("toy-clip").tensors["text_projection"]
    entry = make_entry(before, before + 1)
    assert entry is not None
    path = tmp_path / "v"
    entries = {**vector.entries, "text_projection": entry}
    write_vector(path, dataclasses.replace(vector, entries=entries))
    with pytest.raises(MismatchError, match="text_projection"):
        negate_vector(NegateRequest(path, tmp_path / "n", search=True, control="toy-b", common=CPU))
    assert not (tmp_path / "n").exists()


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({}, OptionError, "either --coef X or --search"),
        ({"coef": 1.0, "search": True, "control": "toy-b"}, OptionError, "either"),
        ({"search": True}, OptionError, "needs --control"),
        ({"coef": 1.0, "control": "toy-b"}, OptionError, "only go with --search"),
        ({"coef": 1.0, "task": "toy-a"}, OptionError, "only go with --search"),
        ({"coef": float("nan")}, OptionError, "finite"),
        ({"coef": float("-inf")}, OptionError, "finite"),
        ({"search": True, "control": "toy-a"}, OptionError, "both 'toy-a'"),
        ({"search": True, "control": "toys"}, UnknownNameError, "toys"),
        ({"search": True, "control": "toy-b", "task": "toys"}, UnknownNameError, "toys"),
        ({"search": True, "control": "toy-b", "keep": 1.5}, OptionError, "--keep"),
        ({"search": True, "control": "toy-b", "grid": "fine"}, OptionError, "--grid"),
        ({"coef": 1.0, "method": "average"}, UnknownNameError, "average"),
        ({"coef": 1.0, "model": "toy-other"}, MismatchError, "another base"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    toy_files: Any, tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    request = NegateRequest(toy_files.vector("a"), tmp_path / "n", common=CPU)
    with pytest.raises(error, match=words):
        negate_vector(dataclasses.replace(request, **change))
    assert list(tmp_path.iterdir()) == []


def test_an_unbounded_coefficient_writes_nothing(toy_files: Any, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="NaN or Inf"):
        negate_vector(NegateRequest(toy_files.vector("a"), tmp_path / "n", coef=1e300, common=CPU))
    assert list(tmp_path.iterdir()) == []
