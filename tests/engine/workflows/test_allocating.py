"""Peaks by phase of steps and calibrations, where the sizes can be counted by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from talos_engine.masking.spec import MASK_RULES
from talos_engine.models.loading import load_weights
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob
from talos_engine.workflows import allocating, measuring
from talos_engine.workflows.allocating import AllocatorCost, measure_allocator, measure_calibration
from talos_engine.workflows.calibrate import CalibrateRequest, make_context
from talos_engine.workflows.measuring import WARMUP_STEPS, ProfileRequest, measure_steps
from talos_engine.workflows.opening import Common, open_session

SIDE = 512
ENTRIES = SIDE * SIDE
FLOAT, INDEX = 4, 8
SMALL = 64 * 2**10  # a batch, its logits, the states of random generators


def cost_of(live: torch.Tensor | None = None) -> AllocatorCost:
    """One square layer without bias; its first gradient step and the one after."""
    model = nn.Linear(SIDE, SIDE, bias=False)
    config = TrainConfig(
        steps=99, batch_size=4, lr=0.01, weight_decay=0.1, warmup=0, schedule="constant",
        clip=1.0, seed=0,
    )  # fmt: skip
    inputs, labels = torch.randn(8, SIDE), torch.zeros(8, dtype=torch.int64)
    flags = {} if live is None else {"weight": live}
    job = TrainJob(model, {"weight": model.weight}, flags, inputs, labels, config)
    return measure_allocator(job, {})


def test_a_dense_step_holds_four_numbers_per_entry_and_the_gradient() -> None:
    cost = cost_of()
    assert (cost.source, cost.model_bytes) == ("profiler", ENTRIES * FLOAT)
    assert list(cost.phases) == ["forward", "backward", "optimizer"]
    forward, backward, optimizer = cost.phases.values()
    kept = 4 * ENTRIES * FLOAT  # values, gathered gradients and both moments, made a step before
    assert forward.start_bytes == pytest.approx(kept, abs=SMALL)
    assert forward.peak_bytes == pytest.approx(kept, abs=SMALL)
    assert backward.peak_bytes == pytest.approx(kept + ENTRIES * FLOAT, abs=SMALL)
    assert optimizer.start_bytes == pytest.approx(kept + ENTRIES * FLOAT, abs=SMALL)
    assert optimizer.peak_bytes == pytest.approx(kept + ENTRIES * FLOAT, abs=SMALL)


def test_a_sparse_step_holds_them_for_live_entries_and_their_places() -> None:
    live = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    live[: SIDE // 8] = True
    forward, backward, _ = cost_of(live).phases.values()
    kept = ENTRIES // 8 * (4 * FLOAT + INDEX)
    assert forward.start_bytes == pytest.approx(kept, abs=SMALL)
    assert backward.peak_bytes == pytest.approx(kept + ENTRIES * FLOAT, abs=SMALL)


@pytest.mark.parametrize("name", ["talos", "lota"])
def test_a_brief_calibration_takes_as_much_as_a_whole_one(name: str) -> None:
    common = Common(device="cpu")
    session = open_session(load_weights("toy-clip", None), common.runtime())
    rule = MASK_RULES.get(name)
    asked = CalibrateRequest("toy-clip", "toy-a", 0.9, Path("unused"), name, common=common)
    context = make_context(session, rule, asked)
    brief = measure_calibration(rule, context, 0.9, {})
    whole = measure_calibration(dataclasses.replace(rule, brief={}), context, 0.9, {})
    assert list(brief) == ["calibration"]
    peak = brief["calibration"].peak_bytes
    assert peak == pytest.approx(whole["calibration"].peak_bytes, rel=0.01)
    assert peak > 2 * FLOAT * sum(value.numel() for value in context.theta0.values())


def test_nobody_watches_the_steps_that_are_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looking(seen: list[bool]) -> Any:
        def look(_: StepRecord) -> None:
            seen.append(torch.autograd._profiler_enabled())

        return lambda job: real(dataclasses.replace(job, observe=look))

    real = measuring.train
    timed: list[bool] = []
    watched: list[bool] = []
    monkeypatch.setattr(measuring, "train", looking(timed))
    monkeypatch.setattr(allocating, "train", looking(watched))
    request = ProfileRequest("toy-clip", "toy-a", tmp_path / "x", iters=2, batch_size=8)
    cost = measure_steps(
        dataclasses.replace(request, common=Common(device="cpu")), "nonlinear", None
    )
    assert cost.total.n == 2
    assert timed == [False] * (WARMUP_STEPS + 2)
    assert watched == [True] * 2
