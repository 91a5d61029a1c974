"""A run that goes on from a kept state ends with the bits of one that was never interrupted."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.errors import MismatchError
from talos_engine.training.early_stopping import EarlyStopping
from talos_engine.training.loop import StepRecord, TrainConfig, TrainJob, train
from talos_engine.training.resuming import Keeping, TrainState, seeded_generators

STEPS = 11


class WithDropout(nn.Module):
    """Draws from torch's generator in every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(2, 6)
        self.out = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(nn.functional.dropout(torch.tanh(self.hidden(inputs)), 0.3, training=True))


def job_of(model: nn.Module, live: dict[str, Tensor], **changes: Any) -> TrainJob:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 2, generator=generator)
    config = TrainConfig(STEPS, 4, 0.05, 0.1, 2, "cosine", 1.0, 0, grad_accum=2)
    scores = [3, 1, 5, 2, 2, 2, 1, 1, 1, 1, 1]
    job = TrainJob(
        model, dict(model.named_parameters()), live, inputs, torch.arange(20) % 3, config,
        stopping=EarlyStopping(lambda step: scores[step - 1], 1, 100),
    )  # fmt: skip
    return TrainJob(**{**vars(job), **changes})


def copied(state: TrainState) -> TrainState:
    return TrainState(
        state.step, dict(state.stopping), {n: t.clone() for n, t in state.tensors.items()}
    )


def bits_of(model: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in model.parameters()])


@given(st.integers(1, STEPS - 1), st.booleans(), st.booleans())
def test_going_on_gives_the_same_bits(every: int, sparse: bool, stops: bool) -> None:
    generator = torch.Generator().manual_seed(7)
    live = {"hidden.weight": torch.rand(6, 2, generator=generator) < 0.4} if sparse else {}
    without: dict[str, Any] = {} if stops else {"stopping": None}
    whole = WithDropout()
    records = train(job_of(whole, live, **without))
    states: list[TrainState] = []
    keeping = Keeping(lambda state: states.append(copied(state)), "told", every)
    kept = WithDropout()
    train(job_of(kept, live, keeping=keeping, **without))
    assert torch.equal(bits_of(whole), bits_of(kept)), "saving changes nothing"
    assert [state.step for state in states] == list(range(every, STEPS, every))
    for state in states:
        again = WithDropout()
        start = Keeping(lambda _: None, "told", 0, copied(state))
        rest = train(job_of(again, live, keeping=start, **without))
        assert torch.equal(bits_of(whole), bits_of(again))
        assert [(r.step, r.loss, r.lr) for r in rest] == [
            (r.step, r.loss, r.lr) for r in records[state.step :]
        ]


def test_a_finished_state_makes_no_more_steps() -> None:
    states: list[TrainState] = []

    def interrupt(record: StepRecord) -> None:
        if record.step == STEPS:
            signal.raise_signal(signal.SIGINT)

    model = WithDropout()
    keeping = Keeping(lambda state: states.append(copied(state)), "told")
    with pytest.raises(KeyboardInterrupt, match="told"):
        train(job_of(model, {}, keeping=keeping, observe=interrupt))
    (state,) = states
    assert state.step == STEPS
    again = WithDropout()
    assert train(job_of(again, {}, keeping=Keeping(lambda _: None, "", 0, state))) == []
    whole = WithDropout()
    train(job_of(whole, {}))
    assert torch.equal(bits_of(again), bits_of(whole)), "the best state, as ever"


@pytest.mark.parametrize("keeps", [True, False])
def test_an_interrupted_step_ends_and_is_saved_where_states_are_kept(keeps: bool) -> None:
    states: list[TrainState] = []
    seen: list[int] = []

    def interrupt(record: StepRecord) -> None:
        seen.append(record.step)
        if record.step == 3:
            signal.raise_signal(signal.SIGINT)
            seen.append(-3)  # it waits

    keeping = Keeping(lambda state: states.append(copied(state)), "how to go on")
    model = WithDropout()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(job_of(model, {}, keeping=keeping if keeps else None, observe=interrupt))
    assert seen == [1, 2, 3, -3]
    assert [state.step for state in states] == ([3] if keeps else [])
    assert str(caught.value) == ("how to go on" if keeps else "")
    assert not any(value.requires_grad for value in model.parameters())


def spoil(name: str) -> Callable[[TrainState], TrainState]:
    def change(state: TrainState) -> TrainState:
        tensors = dict(state.tensors)
        if name == "missing":
            del tensors["exp_avg"]
        elif name == "longer":
            tensors["values"] = torch.cat([tensors["values"], torch.zeros(1)])
        elif name == "rng":
            tensors["rng.cpu"] = tensors["rng.cpu"][:-1]
        elif name == "best":
            del tensors["best_values"]
        else:
            tensors["more"] = torch.zeros(1)
        return TrainState(state.step, state.stopping, tensors)

    return change


@pytest.mark.parametrize("name", ["missing", "longer", "rng", "best", "more"])
def test_a_state_that_does_not_fit_is_refused(name: str) -> None:
    states: list[TrainState] = []
    keeping = Keeping(lambda state: states.append(copied(state)), "told", 4)
    train(job_of(WithDropout(), {}, keeping=keeping))
    start = Keeping(lambda _: None, "told", 0, spoil(name)(states[0]))
    with pytest.raises(MismatchError, match="the state to resume from"):
        train(job_of(WithDropout(), {}, keeping=start))


def test_the_global_generator_is_put_back() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with seeded_generators(torch.device("cpu"), 1):
        first = torch.rand(3)
    with seeded_generators(torch.device("cpu"), 1):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sparse", [True, False])
def test_going_on_on_a_gpu_gives_the_same_bits(sparse: bool) -> None:
    runtime = Runtime(torch.device("cuda"))
    flags = torch.rand(6, 2, generator=torch.Generator().manual_seed(7)) < 0.4
    live = {"hidden.weight": flags} if sparse else {}
    states: list[TrainState] = []
    keeping = Keeping(lambda state: states.append(copied(state)), "told", 4)
    whole, again = WithDropout().cuda(), WithDropout().cuda()
    train(job_of(whole, live, keeping=keeping, runtime=runtime))
    on_cpu = {name: value.cpu() for name, value in states[1].tensors.items()}  # as from a file
    start = TrainState(states[1].step, states[1].stopping, on_cpu)
    train(job_of(again, live, keeping=Keeping(lambda _: None, "", 0, start), runtime=runtime))
    assert torch.equal(bits_of(whole), bits_of(again))
