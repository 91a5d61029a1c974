"""The loop: order of the data, loss, what trains and what does not, failures, determinism."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.errors import OptionError, TrainingError
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob, batch_order, train
from talos_engine.training.schedule import learning_rate_at

CONFIG = {
    "steps": 12,
    "batch_size": 4,
    "lr": 0.05,
    "weight_decay": 0.01,
    "warmup": 3,
    "schedule": "cosine",
    "clip": 1.0,
    "seed": 0,
}


def config_of(**changes: Any) -> TrainConfig:
    return TrainConfig(**{**CONFIG, **changes})


def data(count: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, 2, generator=generator)
    return inputs, (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0).long()


def job_of(
    model: nn.Module, names: list[str] | None = None, live: Any = (), **changes: Any
) -> TrainJob:
    inputs, labels = data()
    parameters = {
        name: value for name, value in model.named_parameters() if names is None or name in names
    }
    return TrainJob(model, parameters, dict(live), inputs, labels, config_of(**changes))


def test_dense_training_equals_a_plain_torch_loop(
    small_classifier: Callable[..., nn.Module],
) -> None:
    model = small_classifier()
    plain = copy.deepcopy(model)
    records = train(job_of(model, weight_decay=0.1))
    inputs, labels = data()
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.1)
    order = batch_order(20, 4, 0)
    for step in range(12):
        chosen = next(order)
        rate = learning_rate_at(step, steps=12, peak=0.05, warmup=3, schedule="cosine")
        loss = F.cross_entropy(plain(inputs[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        assert records[step].step == step + 1
        assert records[step].lr == rate
        assert records[step].loss == pytest.approx(loss.item(), rel=1e-5)
    for name, value in plain.named_parameters():
        torch.testing.assert_close(
            model.get_parameter(name).detach(), value.detach(), rtol=1e-5, atol=1e-6
        )


def test_a_sparse_run_equals_a_plain_masked_loop(
    small_classifier: Callable[..., nn.Module],
) -> None:
    """120 steps with decay, clipping over live gradients, accumulation and smoothed labels."""
    model = small_classifier().double()
    plain = copy.deepcopy(model).requires_grad_(True)
    live = {"hidden.weight": torch.tensor([[1, 0], [0, 1], [0, 0], [1, 1]]) > 0}
    trains = ["hidden.weight", "out.bias"]
    inputs, labels = data()
    parameters = {name: model.get_parameter(name) for name in trains}
    config = config_of(steps=120, weight_decay=0.1, clip=0.05, grad_accum=2, label_smoothing=0.1)
    records = train(TrainJob(model, parameters, live, inputs.double(), labels, config))

    moments = {name: [torch.zeros_like(plain.get_parameter(name))] * 2 for name in trains}
    order = batch_order(20, 8, 0)
    for step in range(120):
        chosen = next(order)
        rate = learning_rate_at(step, steps=120, peak=0.05, warmup=3, schedule="cosine")
        logits = plain(inputs.double()[chosen])
        loss = F.cross_entropy(logits, labels[chosen], label_smoothing=0.1)
        found = torch.autograd.grad(loss, [plain.get_parameter(name) for name in trains])
        gradients = {n: g * live.get(n, 1.0) for n, g in zip(trains, found, strict=True)}
        norm = sum(float((g**2).sum()) for g in gradients.values()) ** 0.5
        for name, unclipped in gradients.items():
            gradient = unclipped * min(1.0, 0.05 / (norm + 1e-6))
            first, second = moments[name]
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            moments[name] = [first, second]
            size = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
            parameter = plain.get_parameter(name).data
            moved = parameter * (1 - rate * 0.1) - rate * first / (1 - 0.9 ** (step + 1)) / size
            parameter.copy_(torch.where(live[name], moved, parameter) if name in live else moved)
        assert records[step].loss == pytest.approx(loss.item(), rel=1e-9)
    for name, value in plain.named_parameters():
        torch.testing.assert_close(
            model.get_parameter(name).detach(), value.detach(), rtol=1e-9, atol=1e-9
        )


def test_frozen_entries_and_parameters_keep_their_bits(
    small_classifier: Callable[..., nn.Module],
) -> None:
    model = small_classifier()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    live = torch.zeros(4, 2, dtype=torch.bool)
    live[1, 0] = live[3, 1] = True
    train(job_of(model, ["hidden.weight"], {"hidden.weight": live}, steps=50, weight_decay=0.5))
    after = dict(model.named_parameters())
    for name, value in before.items():
        frozen = ~live if name == "hidden.weight" else torch.ones(value.shape, dtype=torch.bool)
        kept = after[name].detach()[frozen].view(torch.int32)
        assert torch.equal(kept, value[frozen].view(torch.int32)), name
    moved = after["hidden.weight"].detach()[live] != before["hidden.weight"][live]
    assert bool(moved.all())


def test_parameters_that_do_not_train_need_no_gradient(
    small_classifier: Callable[..., nn.Module],
) -> None:
    model = small_classifier()
    needed = []
    names = ["out.bias"]
    job = job_of(model, names, steps=1)

    def observe(record: StepRecord) -> None:
        needed.append([name for name, value in model.named_parameters() if value.requires_grad])
        assert model.get_parameter("hidden.weight").grad is None

    train(TrainJob(**{**vars(job), "observe": observe}))
    assert needed == [names]
    assert not any(value.requires_grad for value in model.parameters()), "switched off afterwards"
    assert all(value.grad is None for value in model.parameters()), "memory is given back"


def test_the_loss_falls(small_classifier: Callable[..., nn.Module]) -> None:
    records = train(job_of(small_classifier(), steps=150))
    first, last = (sum(r.loss for r in part) / 10 for part in (records[:10], records[-10:]))
    assert last < 0.5 * first


def test_same_seed_same_bits_other_seed_other_order(
    small_classifier: Callable[..., nn.Module],
) -> None:
    models = []
    for seed in (3, 3, 4):
        model = small_classifier()
        train(job_of(model, seed=seed))
        models.append(torch.cat([value.detach().flatten() for value in model.parameters()]))
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])


def test_no_step_changes_nothing(small_classifier: Callable[..., nn.Module]) -> None:
    model = small_classifier()
    before = copy.deepcopy(model.state_dict())
    assert train(job_of(model, steps=0)) == []
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_non_finite_loss_stops_the_run_before_the_update(
    small_classifier: Callable[..., nn.Module], bad: float
) -> None:
    model = small_classifier()
    job = job_of(model, steps=9, batch_size=20, warmup=0)
    after_first: dict[str, Tensor] = {}

    def spoil(record: StepRecord) -> None:
        job.inputs[5] = bad
        after_first.update(copy.deepcopy(model.state_dict()))

    job = TrainJob(**{**vars(job), "inputs": job.inputs.clone(), "observe": spoil})
    with pytest.raises(TrainingError, match=r"the loss became nan at step 2, learning rate 0\.04"):
        train(job)
    assert all(torch.equal(value, after_first[name]) for name, value in model.state_dict().items())
    assert not any(value.requires_grad for value in model.parameters())


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_non_finite_gradient_of_a_finite_loss_stops_it_too(
    small_classifier: Callable[..., nn.Module], clip: float
) -> None:
    model = small_classifier()
    before = copy.deepcopy(model.state_dict())
    job = job_of(model, clip=clip)
    model.get_parameter("out.bias").register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(TrainingError, match=r"the gradient became (inf|nan) at step 1"):
        train(job)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_progress_and_observer_are_told_every_step(
    small_classifier: Callable[..., nn.Module],
) -> None:
    told: list[tuple[str, int, int]] = []
    seen: list[StepRecord] = []
    job = job_of(small_classifier(), steps=3)
    told_by = {"progress": lambda *report: told.append(report), "observe": seen.append}
    records = train(TrainJob(**{**vars(job), **told_by}))
    assert seen == records
    assert [(done, total) for _, done, total in told] == [(1, 3), (2, 3), (3, 3)]
    assert all(what.startswith("fine-tuning, loss ") for what, _, _ in told)
    for record in records:
        assert 0 <= record.forward_backward_s <= record.total_s
        assert 0 <= record.optimizer_s <= record.total_s


def test_bfloat16_autocast_keeps_parameters_and_loss_in_float32(
    small_classifier: Callable[..., nn.Module],
) -> None:
    model = small_classifier()
    job = job_of(model, steps=60)
    records = train(TrainJob(**{**vars(job), "runtime": Runtime(dtype=torch.bfloat16)}))
    assert all(value.dtype is torch.float32 for value in model.parameters())
    assert records[-1].loss < records[0].loss


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 5))
def test_an_epoch_visits_every_example_at_most_once(count: int, size: int, seed: int) -> None:
    step = min(size, count)
    per_epoch = count // step
    batches = list(itertools.islice(batch_order(count, size, seed), 3 * per_epoch))
    for epoch in range(3):
        seen = torch.cat(batches[epoch * per_epoch : (epoch + 1) * per_epoch]).tolist()
        assert len(seen) == len(set(seen)) == step * per_epoch
        assert set(seen) <= set(range(count))
        if count % step == 0:
            assert sorted(seen) == list(range(count)), "the whole epoch"
    again = list(itertools.islice(batch_order(count, size, seed), 3 * per_epoch))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_epochs_and_seeds_have_their_own_order() -> None:
    orders = []
    for seed in range(3):
        batches = list(itertools.islice(batch_order(50, 50, seed), 3))
        orders += [tuple(batch.tolist()) for batch in batches]
    assert len(set(orders)) == 9


@pytest.mark.parametrize(
    "change",
    [
        {"steps": -1},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"weight_decay": -0.1},
        {"warmup": -1},
        {"schedule": "linear"},
        {"clip": -1.0},
        {"clip": float("nan")},
        {"grad_accum": 0},
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"early_stop": -1},
        {"validate_every": 3},
        {"validate_every": 0, "early_stop": 2},
    ],
    ids=str,
)
def test_hyper_parameters_have_ranges(change: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"--{next(iter(change)).replace('_', '-')}"):
        config_of(**change)


@given(st.integers(1, 7), st.integers(1, 4), st.booleans())
def test_accumulated_batches_are_one_large_batch(size: int, parts: int, smooth: bool) -> None:
    """The mean over all their examples, also where the last batch of a step is smaller."""
    torch.manual_seed(1)
    start = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    large, small = copy.deepcopy(start), copy.deepcopy(start)
    inputs, labels = data()
    results = []
    for model, shape in ((large, (size * parts, 1)), (small, (size, parts))):
        config = config_of(
            batch_size=shape[0], grad_accum=shape[1], label_smoothing=0.1 * smooth, clip=0.01
        )
        parameters = dict(model.named_parameters())
        results.append(train(TrainJob(model, parameters, {}, inputs.double(), labels, config)))
    for one, several in zip(*results, strict=True):
        assert one.examples == several.examples == min(20, size * parts)
        assert one.loss == pytest.approx(several.loss, rel=1e-12)
    for a, b in zip(large.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_label_smoothing_spreads_the_target() -> None:
    """By hand: (1 − s)·(−log p_y) + s · mean over classes of −log p."""
    model = nn.Linear(2, 3)
    inputs, labels = data()
    job = TrainJob(
        model, dict(model.named_parameters()), {}, inputs, labels,
        config_of(steps=1, batch_size=20, label_smoothing=0.3),
    )  # fmt: skip
    log_p = torch.log_softmax(model(inputs).detach().double(), dim=1)
    own = -log_p[torch.arange(20), labels]
    expected = (0.7 * own + 0.3 * -log_p.mean(dim=1)).mean()
    assert train(job)[0].loss == pytest.approx(float(expected), rel=1e-5)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 90))
def test_the_order_can_begin_anywhere(count: int, size: int, first: int) -> None:
    whole = list(itertools.islice(batch_order(count, size, 3), first + 4))
    rest = list(itertools.islice(batch_order(count, size, 3, first), 4))
    assert all(torch.equal(a, b) for a, b in zip(whole[first:], rest, strict=True))
