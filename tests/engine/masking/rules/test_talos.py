"""Alg. 1 against a naive implementation: nested live sets, soft mask, exact counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from talos_engine.data.spec import EMBEDDED_TASKS
from talos_engine.data.splits import load_split
from talos_engine.masking.rules import talos as rule
from talos_engine.masking.rules.talos import TalosConfig
from talos_engine.masking.selection import count_entries, live_count
from talos_engine.masking.spec import MASK_RULES, MaskContext
from talos_engine.workflows.calibrate import shift_invariant_entries
from talos_engine.workflows.opening import Session

Flags = dict[str, Tensor]


@dataclasses.dataclass(frozen=True)
class Calibrated:
    """What the rule gave, with the mask at the context's sparsity."""

    live: Flags
    scores: Flags
    notes: Mapping[str, int]


def calibrate_talos(config: TalosConfig, context: MaskContext) -> Calibrated:
    ranking = rule.calibrate_talos(config, context)
    assert ranking.saved is not None
    live = ranking.select(context, context.sparsity)
    return Calibrated(live, dict(ranking.saved), ranking.notes)


@pytest.fixture
def problem(small_classifier: Callable[..., nn.Module]) -> MaskContext:
    """A two-layer network in float64 with 12 random examples; 27 maskable entries."""
    model = small_classifier(1).double()
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 3, (12,), generator=generator)
    theta0 = {name: value.detach().clone() for name, value in model.named_parameters()}
    candidates = {name: torch.ones(value.shape, dtype=torch.bool) for name, value in theta0.items()}
    return MaskContext(
        theta0=theta0,
        candidates=candidates,
        zero_scores={},
        sparsity=0.8,
        seed=0,
        load_model=lambda: model,
        load_inputs=lambda: (inputs, labels),
    )


def naive_calibration(
    context: MaskContext,
    naive_fisher: Callable[..., Flags],
    *,
    rounds: int,
    epsilon: float,
    fisher: str = "type-2",
) -> tuple[Flags, list[set[tuple[str, int]]]]:
    """Alg. 1 with Python sets; the whole data in every round, so its order does not matter."""
    inputs, labels = context.load_inputs()
    everything = [
        (name, at)
        for name in context.theta0
        for at in range(context.theta0[name].numel())
        if bool(context.candidates[name].flatten()[at])
    ]
    live = set(everything)
    history = []
    for number in range(1, rounds + 1):
        softened = {name: value.clone() for name, value in context.theta0.items()}
        for name, at in everything:
            if (name, at) not in live:
                softened[name].view(-1)[at] *= epsilon
        scores = naive_fisher(context.load_model(), softened, inputs, labels, fisher=fisher)
        for name, flags in context.zero_scores.items():
            scores[name][flags] = 0.0
        if number == rounds:
            count = live_count(len(everything), context.sparsity)
        else:
            count = round((1 - context.sparsity) ** (number / rounds) * len(everything))
        ranked = sorted(
            (place for place in everything if place in live),
            key=lambda place: float(scores[place[0]].view(-1)[place[1]]),
        )
        live = set(ranked[:count])
        history.append(live)
    flags = {
        name: torch.zeros(value.shape, dtype=torch.bool) for name, value in context.theta0.items()
    }
    for name, at in live:
        flags[name].view(-1)[at] = True
    return flags, history


@pytest.mark.parametrize("epsilon", [0.0, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("rounds", [1, 2, 4])
@pytest.mark.parametrize("fisher", ["type-2", "empirical"])
def test_it_equals_the_naive_algorithm(
    problem: MaskContext,
    naive_fisher: Callable[..., Flags],
    rounds: int,
    epsilon: float,
    fisher: str,
) -> None:
    config = TalosConfig(rounds=rounds, fisher=fisher, soft_mask=epsilon, batch_size=5)
    found = calibrate_talos(config, problem).live
    expected, _ = naive_calibration(
        problem, naive_fisher, rounds=rounds, epsilon=epsilon, fisher=fisher
    )
    for name, flags in expected.items():
        assert torch.equal(found[name], flags), name


def test_the_soft_mask_changes_the_result(problem: MaskContext) -> None:
    """Else the comparison above would not show that it is applied."""
    masks = [
        calibrate_talos(TalosConfig(fisher="type-2", soft_mask=epsilon), problem).live
        for epsilon in (0.0, 1.0)
    ]
    assert any(not torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_without_softening_rounds_do_not_matter(problem: MaskContext) -> None:
    """ε = 1 is a plain ranking: with the same scores every round, one round gives the same."""
    once, often = (
        calibrate_talos(TalosConfig(rounds=rounds, fisher="type-2", soft_mask=1.0), problem).live
        for rounds in (1, 5)
    )
    assert all(torch.equal(once[name], often[name]) for name in once)


def test_live_sets_are_nested_and_the_forward_pass_sees_the_soft_mask(
    problem: MaskContext, naive_fisher: Callable[..., Flags], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Flags] = []
    lives: list[Flags] = []
    estimate, keep = rule.estimate_fisher_diag, MaskContext.keep_lowest

    def spy_estimate(model: nn.Module, parameters: Flags, *more: Any, **named: Any) -> Flags:
        seen.append({name: value.clone() for name, value in parameters.items()})
        return estimate(model, parameters, *more, **named)

    def spy_keep(*arguments: Any) -> Flags:
        lives.append(keep(*arguments))
        return lives[-1]

    monkeypatch.setattr(rule, "estimate_fisher_diag", spy_estimate)
    monkeypatch.setattr(MaskContext, "keep_lowest", spy_keep)
    calibrate_talos(TalosConfig(rounds=4, fisher="type-2", soft_mask=0.25), problem)
    _, history = naive_calibration(problem, naive_fisher, rounds=4, epsilon=0.25)
    assert [count_entries(live) for live in lives] == [len(live) for live in history]
    before = problem.candidates
    for values, live in zip(seen, lives, strict=True):
        for name, theta in problem.theta0.items():
            expected = torch.where(before[name], theta, 0.25 * theta)
            assert torch.equal(values[name], expected)
            assert bool((live[name] <= before[name]).all()), "frozen entries stay frozen"
        before = live


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_the_count_is_exact(problem: MaskContext, sparsity: float) -> None:
    context = dataclasses.replace(problem, sparsity=sparsity)
    live = calibrate_talos(TalosConfig(fisher="type-2", rounds=3), context).live
    assert count_entries(live) == live_count(27, sparsity)


def test_excluded_entries_are_never_selected_and_never_softened(
    problem: MaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates = dict(problem.candidates)
    candidates["out.weight"] = torch.zeros_like(candidates["out.weight"])
    candidates["out.weight"][0, 0] = True
    context = dataclasses.replace(problem, candidates=candidates)
    estimate = rule.estimate_fisher_diag

    def check(model: nn.Module, parameters: Flags, *more: Any, **named: Any) -> Flags:
        excluded = ~candidates["out.weight"]
        kept = parameters["out.weight"][excluded]
        assert torch.equal(kept, problem.theta0["out.weight"][excluded])
        return estimate(model, parameters, *more, **named)

    monkeypatch.setattr(rule, "estimate_fisher_diag", check)
    live = calibrate_talos(TalosConfig(fisher="type-2"), context).live
    assert bool((live["out.weight"] <= candidates["out.weight"]).all())
    assert count_entries(live) == live_count(16, 0.8)


def test_declared_zero_scores_win_the_ranking(problem: MaskContext) -> None:
    zeros = {"out.bias": torch.tensor([True, False, True])}
    context = dataclasses.replace(problem, zero_scores=zeros)
    result = calibrate_talos(TalosConfig(fisher="type-2"), context)
    assert result.scores["out.bias"].tolist()[0] == 0.0
    assert result.scores["out.bias"].tolist()[1] > 0.0
    assert result.live["out.bias"].tolist() in ([True, False, True], [True, True, True])


def test_saved_scores_are_those_of_the_first_round(
    problem: MaskContext, naive_fisher: Callable[..., Flags]
) -> None:
    inputs, labels = problem.load_inputs()
    expected = naive_fisher(problem.load_model(), problem.theta0, inputs, labels)
    result = calibrate_talos(TalosConfig(fisher="type-2", rounds=4), problem)
    for name, value in expected.items():
        torch.testing.assert_close(result.scores[name], value, rtol=1e-9, atol=1e-15)


def test_data_per_round_is_bounded_and_reported(
    problem: MaskContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[list[int]] = []
    estimate = rule.estimate_fisher_diag

    def spy(model: nn.Module, parameters: Flags, batches: Any, *more: Any, **named: Any) -> Flags:
        listed = list(batches)
        ids.append([int(number) for batch in listed for number in batch.ids])
        inputs, labels = problem.load_inputs()
        for batch in listed:
            assert len(batch.labels) <= 3
            assert torch.equal(batch.inputs, inputs[batch.ids])
            assert torch.equal(batch.labels, labels[batch.ids])
        return estimate(model, parameters, listed, *more, **named)

    monkeypatch.setattr(rule, "estimate_fisher_diag", spy)
    few = calibrate_talos(TalosConfig(rounds=3, batches=2, batch_size=3), problem)
    assert few.notes["examples"] == 6
    assert few.notes["available_examples"] == 12
    assert [len(set(numbers)) for numbers in ids] == [6, 6, 6]
    assert len({tuple(numbers) for numbers in ids}) == 3, "other examples each round"
    ids.clear()
    everything = calibrate_talos(TalosConfig(rounds=2, batches=10, batch_size=3), problem)
    assert everything.notes["examples"] == 12
    assert [sorted(numbers) for numbers in ids] == [list(range(12))] * 2, "each exactly once"


def test_progress_is_told_per_round(problem: MaskContext) -> None:
    told: list[tuple[str, int, int]] = []
    context = dataclasses.replace(problem, progress=lambda *report: told.append(report))
    calibrate_talos(TalosConfig(rounds=2, batch_size=7), context)
    assert told == [
        ("calibration round 1/2", 0, 12),
        ("calibration round 1/2", 7, 12),
        ("calibration round 1/2", 12, 12),
        ("calibration round 2/2", 0, 12),
        ("calibration round 2/2", 7, 12),
        ("calibration round 2/2", 12, 12),
    ]


def test_on_a_clip_key_biases_are_selected_first(toy_session: Session) -> None:
    structure = toy_session.backbone.structure
    state = toy_session.backbone.encoder_state()
    zeros = shift_invariant_entries(structure)
    split = load_split(EMBEDDED_TASKS.get("toy-a"), "val")
    context = MaskContext(
        theta0={name: state[name] for name in structure.maskable},
        candidates=structure.candidates(),
        zero_scores=zeros,
        sparsity=0.9,
        seed=0,
        load_model=lambda: toy_session.classifier("toy-a"),
        load_inputs=lambda: toy_session.prepare(split),
    )
    assert count_entries(zeros) == 2 * 16
    live = calibrate_talos(TalosConfig(), context).live
    for name, flags in zeros.items():
        assert bool(live[name][flags].all())
    excluded = dataclasses.replace(context, candidates=structure.candidates(["*in_proj_bias#k"]))
    without = calibrate_talos(TalosConfig(), excluded).live
    for name, flags in zeros.items():
        assert not bool(without[name][flags].any())


@pytest.mark.parametrize("rounds", [1, 3])
def test_every_unit_follows_the_schedule_by_itself(
    problem: MaskContext, naive_fisher: Callable[..., Flags], rounds: int
) -> None:
    """Ranked tensor by tensor without softening: each keeps its own lowest."""
    context = dataclasses.replace(problem, units=[(name,) for name in problem.theta0])
    config = TalosConfig(rounds=rounds, fisher="type-2", soft_mask=1.0)
    live = calibrate_talos(config, context).live
    inputs, labels = problem.load_inputs()
    scores = naive_fisher(problem.load_model(), problem.theta0, inputs, labels)
    for name, flags in live.items():
        count = live_count(flags.numel(), 0.8)
        lowest = scores[name].flatten().sort().indices[:count]
        assert sorted(lowest.tolist()) == torch.nonzero(flags.flatten())[:, 0].tolist()


def test_one_round_ranks_without_looking_at_the_sparsity(problem: MaskContext) -> None:
    entry = MASK_RULES.get("talos")
    assert entry.one_pass(TalosConfig(rounds=1))
    assert not entry.one_pass(TalosConfig(rounds=2))
    ranking = rule.calibrate_talos(TalosConfig(rounds=1), problem)
    for sparsity in (0.1, 0.5, 0.99):
        alone = dataclasses.replace(problem, sparsity=sparsity)
        expected = calibrate_talos(TalosConfig(rounds=1), alone).live
        found = ranking.select(problem, sparsity)
        assert all(torch.equal(found[name], expected[name]) for name in expected)
