"""``calibrate`` over files: exact counts, scores equal to the naive loop, the same bytes again."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import talos_engine.workflows.calibrate as module
from talos_engine.artifacts import read_mask, read_scores
from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import DataError, OptionError, OutputError, UnknownNameError
from talos_engine.inspection.tally import count_by_kind
from talos_engine.masking.rules import talos as talos_rule
from talos_engine.masking.selection import live_count, rank_units
from talos_engine.masking.spec import MASK_RULES
from talos_engine.models.loading import load_weights
from talos_engine.sensitivity import coverage, fisher, layers
from talos_engine.workflows.calibrate import (
    CalibrateRequest,
    calibrate,
    calibrate_each,
    shift_invariant_entries,
)
from talos_engine.workflows.opening import Common, Session, open_session

CPU = Common(device="cpu")
RULES: dict[str, dict[str, Any]] = {  # quick options of every rule
    "talos": {"rounds": 2, "batches": 1, "batch_size": 4},
    "lota": {"lota_steps": 3, "batch_size": 8},
    "magnitude": {},
    "random": {},
}
MASKABLE = 18_912  # conv 12,288, layer norms 192, and per layer 12·16·16 + 9·16


def request_of(out: Path, **changes: Any) -> CalibrateRequest:
    request = CalibrateRequest("toy-clip", "toy-a", 0.9, out, common=CPU)
    return dataclasses.replace(request, **changes)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("sparsity", [0, 0.1, 0.5, 0.7, 0.9, 0.95, 0.99])
def test_the_mask_in_the_file_has_exactly_the_live_entries_asked_for(
    tmp_path: Path, rule: str, sparsity: float
) -> None:
    out = tmp_path / "m"
    result = calibrate(request_of(out, sparsity=sparsity, method=rule, options=RULES[rule]))
    mask = read_mask(out)
    assert mask.total == result.total == MASKABLE
    assert mask.live_count == result.live == live_count(MASKABLE, sparsity)
    assert mask.sparsity == sparsity
    assert (mask.header.method, mask.header.task) == (rule, "toy-a")
    assert mask.header.base == load_weights("toy-clip").info
    split = MASK_RULES.get(rule).split
    fingerprint = load_split(find_task("toy-a"), split).fingerprint if split else ""
    assert mask.header.data == fingerprint


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
    for rule in ("talos", "random", "lota"):
        contents = []
        for number, seed in enumerate((0, 0, 1)):
            out, scores = tmp_path / f"{rule}{number}", tmp_path / f"{rule}{number}.scores"
            common = dataclasses.replace(CPU, seed=seed)
            saving = {"save_scores": scores} if rule == "talos" else {}
            options = RULES["lota"] if rule == "lota" else {}
            calibrate(request_of(out, method=rule, options=options, common=common, **saving))
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
        ({"scope": "row"}, OptionError, "--scope must be one of global, layer, tensor"),
        ({"sparsity": (0.5, 0.9)}, OptionError, "calibrate_each"),
        ({"sparsity": ()}, OptionError, "one sparsity"),
        ({"options": {"lota_steps": 3}}, OptionError, "lota-steps is not an option of .*talos"),
        ({"method": "random", "options": {"batch_size": 3}}, OptionError, "batch-size"),
        ({"method": "magnitude", "options": {"magnitude_keep": "x"}}, OptionError, "keep"),
        (
            {"method": "random", "common": dataclasses.replace(CPU, dtype="bfloat16")},
            OptionError,
            "runs no model",
        ),
        ({"options": {"micro_batch": 0}}, OptionError, "micro-batch"),
        ({"options": {"mc_samples": 0}}, OptionError, "mc-samples"),
        ({"options": {"fisher": "type-2", "mc_samples": 3}}, OptionError, "only goes with"),
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


@pytest.mark.parametrize("rule", ["random", "lota"])
def test_a_rule_without_scores_cannot_save_any(tmp_path: Path, rule: str) -> None:
    with pytest.raises(OptionError, match="no scores"):
        calibrate(request_of(tmp_path / "m", method=rule, save_scores=tmp_path / "s"))
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


@pytest.mark.parametrize("rule", ["random", "magnitude"])
def test_rules_without_data_read_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    monkeypatch.setattr(module, "load_split", lambda *_: pytest.fail("no data is needed"))
    calibrate(request_of(tmp_path / "m", method=rule))
    assert read_mask(tmp_path / "m").header.data == ""


@pytest.mark.parametrize("scope", ["global", "layer", "tensor"])
@pytest.mark.parametrize("rule", RULES)
def test_each_unit_of_the_scope_has_its_exact_share(
    tmp_path: Path, toy_session: Session, rule: str, scope: str
) -> None:
    result = calibrate(
        request_of(tmp_path / "m", sparsity=0.7, method=rule, options=RULES[rule], scope=scope)
    )
    mask = read_mask(tmp_path / "m")
    assert mask.header.config["scope"] == scope
    live = 0
    for unit in rank_units(toy_session.backbone.structure, scope):
        total = sum(torch.Size(mask.shapes[name]).numel() for name in unit)
        found = sum(int(mask.live[name].sum()) for name in unit if name in mask.live)
        assert found == live_count(total, 0.7)
        live += found
    assert result.live == live


@pytest.mark.parametrize("scope", ["global", "tensor"])
@pytest.mark.parametrize("rule", RULES)
def test_masks_of_several_sparsities_have_the_bytes_of_single_calls(
    tmp_path: Path, rule: str, scope: str
) -> None:
    options = {**RULES[rule], "rounds": 1} if rule == "talos" else RULES[rule]
    request = request_of(
        tmp_path / "all.{sparsity}.m",
        sparsity=(0.5, 0.9, 0.99, 0.0),
        method=rule,
        options=options,
        scope=scope,
    )
    results = calibrate_each(request)
    names = ["all.0.5.m", "all.0.9.m", "all.0.99.m", "all.0.m"]
    assert [result.path.name for result in results] == names
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    for result in results:
        alone = tmp_path / "alone"
        single = calibrate(dataclasses.replace(request, sparsity=result.sparsity, out=alone))
        assert alone.read_bytes() == result.path.read_bytes()
        assert dataclasses.replace(single, path=result.path) == result
        alone.unlink()


def test_masks_of_several_sparsities_are_nested_and_scored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    estimate = talos_rule.estimate_fisher_diag

    def count(*arguments: Any, **named: Any) -> dict[str, Tensor]:
        calls.append(1)
        return estimate(*arguments, **named)

    monkeypatch.setattr(talos_rule, "estimate_fisher_diag", count)
    loose, tight = calibrate_each(
        request_of(
            tmp_path / "{sparsity}",
            sparsity=(0.5, 0.9),
            options={"rounds": 1},
            save_scores=tmp_path / "s",
        )
    )
    assert calls == [1]
    wide, narrow = read_mask(loose.path).live, read_mask(tight.path).live
    assert all(bool((flags <= wide[name]).all()) for name, flags in narrow.items())
    assert "sparsity" not in read_scores(tmp_path / "s").header.config, "scores do not depend on it"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"options": {}}, "--rounds 1"),
        ({"options": {"rounds": 2}}, "--rounds 1"),
        ({"out": "mask"}, "{sparsity} into its name"),
        ({"sparsity": (0.5, 0.9, 0.50)}, "twice"),
        ({"sparsity": (0.5, 1.0)}, r"--sparsity must lie in \[0, 1\)"),
        ({"sparsity": (0.5, float("nan"))}, "--sparsity"),
        ({"save_scores": "m.0.9"}, "same file"),
    ],
    ids=str,
)
def test_bad_lists_of_sparsities_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr(module, "load_weights", lambda _: pytest.fail("worked for nothing"))
    paths = {name: tmp_path / change[name] for name in ("out", "save_scores") if name in change}
    wanted = {"sparsity": (0.5, 0.9), "options": {"rounds": 1}, **change, **paths}
    request = dataclasses.replace(request_of(tmp_path / "m.{sparsity}"), **wanted)
    with pytest.raises(OptionError) as caught:
        calibrate_each(request)
    assert re.search(words, str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_one_existing_output_of_several_is_found_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.0.9").write_text("precious")
    request = request_of(tmp_path / "m.{sparsity}", sparsity=(0.5, 0.9), options={"rounds": 1})
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_weights", lambda _: pytest.fail("worked for nothing"))
        with pytest.raises(OutputError, match=r"m\.0\.9 exists already"):
            calibrate_each(request)
    assert [path.name for path in tmp_path.iterdir()] == ["m.0.9"]
    forced = dataclasses.replace(request, common=dataclasses.replace(CPU, force=True))
    assert [read_mask(made.path).sparsity for made in calibrate_each(forced)] == [0.5, 0.9]


def test_the_lota_mask_records_its_dense_run_and_leaves_the_model_alone(tmp_path: Path) -> None:
    options = {"lota_steps": 20}
    result = calibrate(request_of(tmp_path / "m", method="lota", options=options))
    assert result.notes["steps"] == 20
    training = read_mask(tmp_path / "m").header.config["training"]
    assert training["steps"] == 20
    assert training["lr"] == 3e-3, "the model's default for dense fine-tuning"
    assert training["batch_size"] == 16
    assert training["warmup"] == 2
    assert read_mask(tmp_path / "m").header.base == load_weights("toy-clip").info


def test_magnitude_scores_are_the_weights_sizes(tmp_path: Path) -> None:
    calibrate(request_of(tmp_path / "m", method="magnitude", save_scores=tmp_path / "s"))
    scores = read_scores(tmp_path / "s")
    theta0 = load_weights("toy-clip").tensors
    assert all(torch.equal(score, theta0[name].abs()) for name, score in scores.tensors.items())
    assert scores.header.method == "magnitude"


def test_saving_memory_changes_no_entry(tmp_path: Path) -> None:
    """Recomputation gives the same bits; micro-batches may differ in rounding, at the threshold."""
    some: dict[str, Any] = {"batches": 1, "rounds": 2}
    calibrate(request_of(tmp_path / "plain", save_scores=tmp_path / "s", options=some))
    saving = {"options": {**some, "gradient_checkpointing": True}}
    calibrate(request_of(tmp_path / "saving", **saving))
    small = {"options": {**some, "micro_batch": 3}}
    calibrate(request_of(tmp_path / "small", save_scores=tmp_path / "t", **small))
    plain, saved, other = (read_mask(tmp_path / name) for name in ("plain", "saving", "small"))
    assert (tmp_path / "saving").read_bytes() == (tmp_path / "plain").read_bytes()
    for name, flags in plain.live.items():
        assert torch.equal(saved.live[name], flags), name
    whole, parts = read_scores(tmp_path / "s").tensors, read_scores(tmp_path / "t").tensors
    for name, value in whole.items():
        worst = float((parts[name] - value).abs().max())
        assert worst <= 1e-5 * float(value.max()), name
    assert other.header.config["micro_batch"] == 3


def test_bfloat16_is_recorded_and_ranks_much_alike(tmp_path: Path) -> None:
    options = {"options": {"fisher": "empirical", "rounds": 1}}
    calibrate(request_of(tmp_path / "exact", **options))
    rough = dataclasses.replace(CPU, dtype="bfloat16")
    calibrate(request_of(tmp_path / "rough", common=rough, **options))
    exact, rounded = read_mask(tmp_path / "exact"), read_mask(tmp_path / "rough")
    assert rounded.header.config["dtype"] == "bfloat16"
    assert rounded.live_count == exact.live_count
    shared = sum(
        int((flags & rounded.live[name]).sum())
        for name, flags in exact.live.items()
        if name in rounded.live
    )
    assert 0.8 * exact.live_count < shared < exact.live_count


def test_parameters_no_tap_covers_are_named_and_scored_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = calibrate(request_of(tmp_path / "fast", save_scores=tmp_path / "s"))
    assert fast.slow == ()
    fewer = tuple(maker for maker in layers.TAP_MAKERS if maker is not layers.tap_attention)
    monkeypatch.setattr(coverage, "TAP_MAKERS", fewer)
    monkeypatch.setattr(fisher, "TAP_MAKERS", fewer)
    slow = calibrate(request_of(tmp_path / "slow", save_scores=tmp_path / "t"))
    assert slow.slow == tuple(
        sorted(name for name in read_scores(tmp_path / "t").tensors if ".attn." in name)
    )
    one, other = read_scores(tmp_path / "s").tensors, read_scores(tmp_path / "t").tensors
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=1e-3, atol=1e-9)


def test_tensors_frozen_to_the_last_entry_are_not_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At sparsity 0.99 the first rounds leave whole tensors frozen; the mask does not change."""
    asked = []
    estimate = talos_rule.estimate_fisher_diag

    def remember(*given: Any, **named: Any) -> dict[str, Tensor]:
        asked.append(len(named["scored"]))
        return estimate(*given, **named)

    def score_all(*given: Any, **named: Any) -> dict[str, Tensor]:
        return estimate(*given, **{**named, "scored": None})

    options = {"sparsity": 0.99, "options": {"rounds": 4, "batches": 1}}
    monkeypatch.setattr(talos_rule, "estimate_fisher_diag", remember)
    calibrate(request_of(tmp_path / "a", **options))
    monkeypatch.setattr(talos_rule, "estimate_fisher_diag", score_all)
    calibrate(request_of(tmp_path / "b", **options))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert asked == sorted(asked, reverse=True)
    assert asked[-1] < asked[0]


def test_no_output_takes_the_place_of_another_or_of_the_model(
    tmp_path: Path, toy_files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the paths are written, and even when forced."""
    monkeypatch.chdir(tmp_path)
    force = Common(device="cpu", force=True)
    asked = request_of(Path("m"), save_scores=tmp_path / "m", common=force)
    with pytest.raises(OptionError, match="same file"):
        calibrate(asked)
    base = tmp_path / "base"
    base.write_bytes(toy_files.checkpoint("a", "nonlinear").read_bytes())
    with pytest.raises(OptionError, match="which is read"):
        calibrate(request_of(Path("base"), model=str(base), common=force))
    assert [path.name for path in tmp_path.iterdir()] == ["base"]


@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_rules_without_data_do_not_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    missing = dataclasses.replace(find_task("toy-a"), available=lambda: False)
    monkeypatch.setitem(EMBEDDED_TASKS._entries, "toy-a", missing)
    assert calibrate(request_of(tmp_path / "m", method=method)).live > 0
    with pytest.raises(DataError, match="not on this machine"):
        calibrate(request_of(tmp_path / "n"))
