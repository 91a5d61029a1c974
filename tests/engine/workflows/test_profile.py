"""``profile``: what is measured, and what happens to the processes that measure."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from talos_engine.artifacts import read_metrics
from talos_engine.errors import DeviceError, OptionError, OutputError, UnknownNameError
from talos_engine.masking.rules import talos as rules_talos
from talos_engine.masking.selection import live_count
from talos_engine.profiling.timing import TimingSummary
from talos_engine.training.loop import TrainConfig
from talos_engine.workflows import apart, measuring
from talos_engine.workflows import profile as module
from talos_engine.workflows.finetune import FinetuneRequest
from talos_engine.workflows.measuring import MethodCost, ProfileRequest
from talos_engine.workflows.opening import Common
from talos_engine.workflows.profile import profile

CPU = Common(device="cpu")


def request_of(out: Path, **changes: Any) -> ProfileRequest:
    request = ProfileRequest("toy-clip", "toy-a", out, iters=4, batch_size=8, common=CPU)
    return dataclasses.replace(request, **changes)


@pytest.fixture
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy model is not known to a fresh process."""
    monkeypatch.setattr(module, "run_apart", lambda _, work, *arguments: work(*arguments))


@pytest.mark.usefixtures("_in_process")
def test_each_method_is_measured_and_written(tmp_path: Path) -> None:
    result = profile(request_of(tmp_path / "cost.json"))
    sparse, dense = result.costs
    assert (sparse.method, dense.method) == ("talos", "nonlinear")
    assert sparse.live == live_count(18_912, 0.9)
    assert dense.live == 19_200
    assert sparse.mask_s > 0 == dense.mask_s
    for cost in result.costs:
        assert cost.batch_size == 8
        assert cost.memory_source == "rss"
        assert cost.peak_bytes >= cost.start_bytes > 0
        for part in (cost.forward_backward, cost.optimizer, cost.total):
            assert part.n == 4, "the warm-up steps are left out"
            assert part.mean > 0
        assert cost.forward_backward.mean + cost.optimizer.mean <= cost.total.mean * (1 + 1e-9)
    assert sparse.mask_peak_bytes > 0 == dense.mask_peak_bytes
    assert dense.train_s == pytest.approx(6 * dense.total.mean), "the toy's usual 6 steps"
    assert dense.forward_flops == sparse.forward_flops > 0
    assert dense.backward_flops > sparse.backward_flops, "embeddings are frozen"
    assert list(sparse.allocator.phases) == ["calibration", "forward", "backward", "optimizer"]
    assert list(dense.allocator.phases) == ["forward", "backward", "optimizer"]
    for phase, peak in dense.allocator.phases.items():
        assert sparse.allocator.phases[phase].peak_bytes < peak.peak_bytes
    assert sparse.allocator.model_bytes == dense.allocator.model_bytes > 4 * 19_200
    metrics = read_metrics(tmp_path / "cost.json")
    told = metrics["methods"][1]["allocator"]
    assert told["source"] == "profiler"
    assert told["phases"]["forward"] == dataclasses.asdict(dense.allocator.phases["forward"])
    assert metrics["command"] == "profile"
    assert metrics["methods"][0]["flops"] == sparse.forward_flops + sparse.backward_flops
    spent = metrics["methods"][0]["forward_backward"]["mean"] * sparse.matmul_speed
    assert metrics["methods"][0]["efficiency"] == pytest.approx(sparse.flops / spent)
    assert [entry["method"] for entry in metrics["methods"]] == ["talos", "nonlinear"]
    assert metrics["methods"][0]["total"]["n"] == 4
    assert metrics["methods"][1]["peak_bytes"] == dense.peak_bytes


def test_masks_are_calibrated_with_checkpointing_where_their_rule_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bool] = []
    saving = rules_talos.gradient_checkpointing

    def watched(model: Any) -> Any:
        used.append(True)
        return saving(model)

    monkeypatch.setattr(rules_talos, "gradient_checkpointing", watched)
    masks = []
    for asked in (False, True):
        request = request_of(tmp_path / "cost.json", gradient_checkpointing=asked)
        masks.append(measuring.calibrate_mask(request, "talos").flags)
        assert len(used) == 2 * asked, "the whole calibration, and the watched one"
        used.clear()
        measuring.calibrate_mask(request, "lota")  # has no such option
    plain, saved = masks
    agree = sum(int((plain[name] == saved[name]).sum()) for name in plain)
    assert agree >= 0.99 * sum(flags.size for flags in plain.values())


@pytest.mark.usefixtures("_in_process")
def test_methods_that_train_otherwise_are_measured_too(tmp_path: Path) -> None:
    methods = ("linearized", "l-lora", "lota")
    result = profile(request_of(tmp_path / "cost.json", methods=methods, iters=2))
    linear, low_rank, lottery = result.costs
    assert linear.live == 19_200
    assert low_rank.live == 2 * 2 * 16 * 16, "B of Q and V in two layers, rank 16"
    assert linear.mask_s == low_rank.mask_s == 0 < lottery.mask_s
    assert lottery.live == live_count(18_912, 0.9)
    dense = module.measure_steps(request_of(tmp_path / "x"), "nonlinear", None)
    # W0 x, W0 x' and the change times x, backward of the slope alone; the head stays one product
    assert linear.forward_flops == pytest.approx(3 * dense.forward_flops, rel=0.01)
    assert linear.backward_flops == pytest.approx(dense.backward_flops, rel=0.01)


@pytest.mark.usefixtures("_in_process")
def test_a_whole_run_updates_once_for_several_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = measuring.resolve_training

    def with_accumulation(request: FinetuneRequest) -> TrainConfig:
        return dataclasses.replace(real(request), grad_accum=3)

    monkeypatch.setattr(measuring, "resolve_training", with_accumulation)
    (cost,) = profile(request_of(tmp_path / "c", methods=("nonlinear",))).costs
    batch = cost.total.mean - cost.optimizer.mean
    assert cost.train_s == pytest.approx(6 * (3 * batch + cost.optimizer.mean))


@pytest.mark.slow
def test_each_method_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    result = profile(
        request_of(tmp_path / "c.json", model="tiny-clip", task="digits", methods=("nonlinear",))
    )
    assert [cost.method for cost in result.costs] == ["nonlinear"]
    assert all(isinstance(cost.total, TimingSummary) for cost in result.costs)
    assert (tmp_path / "c.json").exists()


def die(request: ProfileRequest, method: str, *mask: Any) -> MethodCost:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def refuse(request: ProfileRequest, method: str, *mask: Any) -> MethodCost:
    raise OptionError(f"no {method} today", "come back tomorrow")


def run_with(measure: Any, request: ProfileRequest, monkeypatch: pytest.MonkeyPatch) -> MethodCost:
    """``_measure_apart`` with forked workers, which know the replaced ``_measure``."""
    import multiprocessing

    monkeypatch.setattr(module, "measure_steps", measure)
    fork = multiprocessing.get_context("fork")
    monkeypatch.setattr(apart.multiprocessing, "get_context", lambda _: fork)
    return module._measure_apart(request, "talos")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_worker_that_is_killed_is_an_error_that_names_the_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DeviceError, match="'talos' ended with code -9") as caught:
        run_with(die, request_of(tmp_path / "c"), monkeypatch)
    assert "--batch-size" in caught.value.hint


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_error_in_a_worker_arrives_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OptionError) as caught:
        run_with(refuse, request_of(tmp_path / "c"), monkeypatch)
    assert caught.value.message == "no talos today"
    assert caught.value.hint == "come back tomorrow"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"iters": 0}, OptionError, "--iters"),
        ({"methods": ()}, OptionError, "--methods"),
        ({"methods": ("talos", "talos")}, OptionError, "--methods"),
        ({"methods": ("talos", "magic")}, UnknownNameError, "magic"),
        ({"sparsity": 1.0}, OptionError, "--sparsity"),
        ({"batch_size": 0}, OptionError, "--batch-size"),
        ({"model": "tiny-clop"}, UnknownNameError, "tiny-clop"),
        ({"task": "toys"}, UnknownNameError, "toys"),
        ({"common": Common(device="gpu")}, OptionError, "gpu"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("_in_process")
def test_bad_requests_write_nothing(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        profile(request_of(tmp_path / "c", **change))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_in_process")
def test_an_existing_output_is_found_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").write_text("precious")
    monkeypatch.setattr(module, "_measure_apart", lambda *_: pytest.fail("measured for nothing"))
    with pytest.raises(OutputError, match="exists already"):
        profile(request_of(tmp_path / "c"))
    assert (tmp_path / "c").read_text() == "precious"
