"""``calibrate`` over files: exact counts, scores equal to the naive loop, the same bytes again."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from talos_engine.artifacts import read_mask, read_scores
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import OptionError, OutputError, UnknownNameError
from talos_engine.inspection.tally import count_by_kind
from talos_engine.masking.selection import live_count
from talos_engine.models.loading import load_weights
from talos_engine.workflows.calibrate import (
    CalibrateRequest,
    calibrate,
    shift_invariant_entries,
)
from talos_engine.workflows.opening import Common, Session, open_session

CPU = Common(device="cpu")
MASKABLE = 18_912  # conv 12,288, layer norms 192, and per layer 12·16·16 + 9·16


def request_of(out: Path, **changes: Any) -> CalibrateRequest:
    request = CalibrateRequest("toy-clip", "toy-a", 0.9, out, common=CPU)
    return dataclasses.replace(request, **changes)


@pytest.mark.parametrize("rule", ["talos", "random"])
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.7, 0.9, 0.95, 0.99])
def test_the_mask_in_the_file_has_exactly_the_live_entries_asked_for(
    tmp_path: Path, rule: str, sparsity: float
) -> None:
    out = tmp_path / "m"
    options = {"rounds": 2, "batches": 1, "batch_size": 4} if rule == "talos" else {}
    result = calibrate(request_of(out, sparsity=sparsity, method=rule, options=options))
    mask = read_mask(out)
    assert mask.total == result.total == MASKABLE
    assert mask.live_count == result.live == live_count(MASKABLE, sparsity)
    assert mask.sparsity == sparsity
    assert (mask.header.method, mask.header.task) == (rule, "toy-a")
    assert mask.header.base == load_weights("toy-clip").info
    assert mask.header.data == load_split(find_task("toy-a"), "val").fingerprint


@pytest.mark.parametrize("fisher", ["type-2", "empirical"])
def test_saved_scores_equal_a_naive_float64_loop(
    tmp_path: Path,
    toy_session: Session,
    naive_fisher: Callable[..., dict[str, Tensor]],
    fisher: str,
) -> None:
    """The whole way of the command: split, preparation, head, scores, file; all 8 examples."""
    path = tmp_path / "scores"
    options = {"fisher": fisher, "rounds": 3}
    result = calibrate(request_of(tmp_path / "m", options=options, save_scores=path))
    assert result.notes["examples"] == 8
    scores = read_scores(path)
    classifier = toy_session.classifier("toy-a")
    state = toy_session.backbone.encoder_state()
    names = toy_session.backbone.structure.maskable
    inputs, labels = toy_session.prepare(load_split(find_task("toy-a"), "val"))
    expected = naive_fisher(
        classifier, {name: state[name].double() for name in names}, inputs, labels, fisher=fisher
    )
    assert scores.tensors.keys() == set(names)
    zeros = shift_invariant_entries(toy_session.backbone.structure)
    for name, reference in expected.items():
        found = scores.tensors[name]
        assert found.dtype is torch.float32
        if name in zeros:
            assert not found[zeros[name]].any(), "key biases score exactly 0"
            assert float(reference[zeros[name]].max()) < 1e-20
        worst = float((found.double() - reference).abs().max())
        assert worst <= 1e-4 * float(reference.max()), name


@pytest.mark.slow
@pytest.mark.parametrize("task", ["digits"])
def test_saved_scores_of_tiny_clip_equal_a_naive_float64_loop(
    tmp_path: Path, naive_fisher: Callable[..., dict[str, Tensor]], task: str
) -> None:
    """Every maskable tensor of the shipped model, each class of each of 4 examples.

    Tolerance: 1e-4 of each tensor's largest score; the command computes in float32.
    """
    path = tmp_path / "scores"
    options = {"fisher": "type-2", "rounds": 1, "batches": 1, "batch_size": 4}
    calibrate(
        request_of(tmp_path / "m", model="tiny-clip", task=task, options=options, save_scores=path)
    )
    from talos_engine.masking.rules.talos import _example_order

    session = open_session(load_weights("tiny-clip"), CPU.runtime())
    inputs, labels = session.prepare(load_split(find_task(task), "val"))
    chosen = _example_order(0, 1, len(labels))[:4]
    state = session.backbone.encoder_state()
    names = session.backbone.structure.maskable
    expected = naive_fisher(
        session.classifier(task),
        {name: state[name].double() for name in names},
        inputs[chosen],
        labels[chosen],
    )
    found = read_scores(path).tensors
    assert found.keys() == set(names)
    for name, reference in expected.items():
        worst = float((found[name].double() - reference).abs().max())
        assert worst <= 1e-4 * float(reference.max()), name


def test_the_same_request_gives_the_same_bytes_and_the_seed_matters(tmp_path: Path) -> None:
    for rule in ("talos", "random"):
        contents = []
        for number, seed in enumerate((0, 0, 1)):
            out, scores = tmp_path / f"{rule}{number}", tmp_path / f"{rule}{number}.scores"
            common = dataclasses.replace(CPU, seed=seed)
            saving = {"save_scores": scores} if rule == "talos" else {}
            calibrate(request_of(out, method=rule, common=common, **saving))
            contents.append(out.read_bytes() + (scores.read_bytes() if rule == "talos" else b""))
        assert contents[0] == contents[1]
        assert contents[0] != contents[2]


def test_options_are_recorded(tmp_path: Path) -> None:
    calibrate(
        request_of(
            tmp_path / "m",
            options={"rounds": 1, "batches": None, "fisher": "type-2"},
            exclude=("*#k",),
        )
    )
    config = read_mask(tmp_path / "m").header.config
    assert config["rounds"] == 1
    assert config["batches"] == 10, "defaults too"
    assert config["fisher"] == "type-2"
    assert config["exclude"] == ["*#k"]
    assert config["sparsity"] == 0.9


def test_excluded_entries_leave_the_ranking_and_the_count(
    tmp_path: Path, toy_session: Session
) -> None:
    calibrate(request_of(tmp_path / "m", sparsity=0.3, exclude=("*in_proj_bias#k", "*conv1*")))
    mask = read_mask(tmp_path / "m")
    assert mask.live_count == live_count(MASKABLE - 32 - 12_288, 0.3)
    assert "visual.conv1.weight" not in mask.live
    for name, flags in shift_invariant_entries(toy_session.backbone.structure).items():
        assert not bool((mask.live.get(name, torch.zeros(48, dtype=torch.bool)) & flags).any())


def test_counts_by_kind_add_up(tmp_path: Path, toy_session: Session) -> None:
    result = calibrate(request_of(tmp_path / "m"))
    assert sum(live for live, _ in result.live_by_kind.values()) == result.live
    assert sum(total for _, total in result.live_by_kind.values()) == MASKABLE
    assert result.live_by_kind["k bias"] == (32, 32), "selected first"
    assert result.notes["live_zero_score"] == 32
    everything = {
        name: torch.ones(shape, dtype=torch.bool)
        for name, shape in toy_session.backbone.structure.shapes.items()
    }
    counts = count_by_kind(toy_session.backbone.structure, everything)
    assert counts["q"] == counts["o"] == (512, 512)
    assert counts["ln"] == (192, 192)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"sparsity": 1.0}, OptionError, "sparsity"),
        ({"sparsity": -0.1}, OptionError, "sparsity"),
        ({"sparsity": float("nan")}, OptionError, "sparsity"),
        ({"method": "magic"}, UnknownNameError, "magic"),
        ({"model": "tiny-clop"}, UnknownNameError, "tiny-clop"),
        ({"task": "toys"}, UnknownNameError, "toys"),
        ({"method": "random", "options": {"rounds": 3}}, OptionError, "rounds"),
        ({"options": {"soft_mask": 2.0}}, OptionError, "soft-mask"),
        ({"exclude": ("*nothing*",)}, OptionError, "nothing"),
        ({"exclude": ("*",)}, OptionError, "leaves nothing"),
        ({"common": dataclasses.replace(CPU, dtype="bfloat16")}, OptionError, "float32"),
        ({"common": dataclasses.replace(CPU, dtype="int8")}, OptionError, "float32|dtype"),
        ({"common": dataclasses.replace(CPU, device="gpu")}, OptionError, "gpu"),
    ],
    ids=str,
)
def test_bad_requests_write_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        calibrate(request_of(tmp_path / "m", save_scores=tmp_path / "s", **change))
    assert list(tmp_path.iterdir()) == []


def test_existing_outputs_are_kept_unless_forced(tmp_path: Path) -> None:
    out, scores = tmp_path / "m", tmp_path / "s"
    scores.write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        calibrate(request_of(out, save_scores=scores))
    assert not out.exists()
    assert scores.read_text() == "precious"
    forced = dataclasses.replace(CPU, force=True)
    calibrate(request_of(out, save_scores=scores, common=forced))
    assert read_scores(scores).header.task == "toy-a"


def test_mask_and_scores_cannot_be_one_file(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="same file"):
        calibrate(request_of(tmp_path / "m", save_scores=tmp_path / "m"))
    assert list(tmp_path.iterdir()) == []


def test_a_rule_without_scores_cannot_save_any(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no scores"):
        calibrate(request_of(tmp_path / "m", method="random", save_scores=tmp_path / "s"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_seeds_have_a_range(seed: int) -> None:
    with pytest.raises(OptionError, match="--seed"):
        Common(seed=seed)


def test_the_largest_seed_works(tmp_path: Path) -> None:
    common = dataclasses.replace(CPU, seed=2**63 - 1)
    options = {"rounds": 1, "batches": 1, "batch_size": 2}
    calibrate(request_of(tmp_path / "m", common=common, options=options))
    assert read_mask(tmp_path / "m").header.seed == 2**63 - 1
