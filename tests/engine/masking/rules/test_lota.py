"""The LoTA mask against a dense run made by hand; the model comes back to θ0."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from talos_engine.errors import OptionError, TrainingError
from talos_engine.masking.rules.lota import LotaConfig, rank_by_change
from talos_engine.masking.selection import count_entries, live_count
from talos_engine.masking.spec import MASK_RULES, MaskContext
from talos_engine.training.loop import batch_order

TRAINING = {
    "steps": 500,
    "batch_size": 4,
    "lr": 1e-2,
    "weight_decay": 0.1,
    "warmup": 0,
    "schedule": "constant",
    "clip": 0.0,
}


@pytest.fixture
def problem(small_classifier: Callable[..., nn.Module]) -> MaskContext:
    """A two-layer network with 12 random examples; the output layer's bias is not maskable."""
    model = small_classifier(1)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 2, generator=generator)
    labels = torch.randint(0, 3, (12,), generator=generator)
    parameters = dict(model.named_parameters())
    theta0 = {name: parameters[name] for name in parameters if name != "out.bias"}
    return MaskContext(
        theta0=theta0,
        candidates={name: torch.ones(v.shape, dtype=torch.bool) for name, v in theta0.items()},
        zero_scores={},
        sparsity=0.8,
        seed=3,
        load_model=lambda: model,
        load_inputs=lambda: (inputs, labels),
        training=TRAINING,
    )


def dense_run(context: MaskContext, steps: int, lr: float, batch_size: int) -> dict[str, Tensor]:
    """|θ − θ0| after ordinary AdamW on a copy of the model."""
    model = copy.deepcopy(context.load_model()).requires_grad_(True)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    inputs, labels = context.load_inputs()
    order = batch_order(len(labels), batch_size, context.seed)
    for _ in range(steps):
        chosen = next(order)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
        optimizer.step()
    return {name: (v.detach() - before[name]).abs() for name, v in model.named_parameters()}


@pytest.mark.parametrize(
    ("config", "steps", "lr", "batch_size"),
    [
        (LotaConfig(lota_steps=5), 5, 1e-2, 4),
        (LotaConfig(lota_steps=7, lota_lr=0.05, batch_size=6), 7, 0.05, 6),
    ],
)
def test_the_entries_that_dense_training_moves_most_are_live(
    problem: MaskContext, config: LotaConfig, steps: int, lr: float, batch_size: int
) -> None:
    moved = dense_run(problem, steps, lr, batch_size)
    live = rank_by_change(config, problem).select(problem, 0.8)
    flat = torch.cat([moved[name].flatten() for name in problem.theta0])
    chosen = torch.cat([live[name].flatten() for name in problem.theta0])
    assert int(chosen.sum()) == live_count(24, 0.8)
    assert float(flat[chosen].min()) > float(flat[~chosen].max())


def test_the_model_is_at_theta0_again(problem: MaskContext) -> None:
    before = {name: v.detach().clone() for name, v in problem.load_model().named_parameters()}
    ranking = rank_by_change(LotaConfig(lota_steps=3), problem)
    after = dict(problem.load_model().named_parameters())
    for name, value in before.items():
        assert torch.equal(after[name], value)
    assert all(bool((score < 0).any()) for score in ranking.scores.values()), "it did move"


def test_the_model_is_at_theta0_again_after_a_failure(problem: MaskContext) -> None:
    before = {name: v.detach().clone() for name, v in problem.load_model().named_parameters()}
    with pytest.raises(TrainingError, match="loss became"):
        rank_by_change(LotaConfig(lota_steps=20, lota_lr=1e38), problem)
    for name, value in problem.load_model().named_parameters():
        assert torch.equal(value, before[name])


def test_a_breakdown_in_the_last_step_is_found(problem: MaskContext) -> None:
    training = {**TRAINING, "weight_decay": 1e38}
    context = dataclasses.replace(problem, training=training)
    with pytest.raises(TrainingError, match=r"not finite after the dense run"):
        rank_by_change(LotaConfig(lota_steps=1, lota_lr=1e38), context)


def test_entries_that_change_nothing_come_last(problem: MaskContext) -> None:
    zeros = {"hidden.bias": torch.tensor([True, False, True, False])}
    context = dataclasses.replace(problem, zero_scores=zeros)
    ranking = rank_by_change(LotaConfig(lota_steps=3), context)
    assert (ranking.scores["hidden.bias"] == 0).tolist() == [True, False, True, False]
    live = ranking.select(context, live_fraction := 2 / 24)
    assert count_entries(live) == live_count(24, live_fraction) == 23
    assert not bool(live["hidden.bias"][2])


def test_what_was_resolved_is_told(problem: MaskContext) -> None:
    ranking = rank_by_change(LotaConfig(lota_steps=30, batch_size=100), problem)
    assert ranking.notes == {"steps": 30, "batch_size": 12}
    training: dict[str, Any] = ranking.settings["training"]
    assert (training["lr"], training["batch_size"], training["seed"]) == (1e-2, 100, 3)
    context = dataclasses.replace(problem, training={**TRAINING, "warmup": 50})
    ranking = rank_by_change(LotaConfig(lota_steps=30), context)
    assert ranking.settings["training"]["warmup"] == 3, "a short run must reach its rate"


def test_the_same_seed_gives_the_same_ranking_and_another_does_not(problem: MaskContext) -> None:
    first, again, other = (
        rank_by_change(LotaConfig(lota_steps=4), dataclasses.replace(problem, seed=seed)).scores
        for seed in (3, 3, 4)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_it_uses_the_training_split_and_has_no_scores_to_save() -> None:
    entry = MASK_RULES.get("lota")
    assert (entry.split, entry.has_scores) == ("train", False)
    assert entry.one_pass(LotaConfig())


@pytest.mark.parametrize(
    "options", [{"lota_steps": 0}, {"lota_lr": 0.0}, {"lota_lr": -1.0}, {"batch_size": 0}], ids=str
)
def test_options_have_ranges(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options)).replace("_", "-")):
        LotaConfig(**options)
