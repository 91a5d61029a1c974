"""SparseAdamW against its plain twin, against torch's AdamW, and the promise of frozen bits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from talos_engine.training.sparse_adamw import (
    AdamWConfig,
    SparseAdamW,
    clip_gradients,
)

SHAPES = {"weight": (7, 5), "bias": (11,), "deep": (2, 3, 4), "whole": (6,)}
STEPS = 120


def reference_step(
    parameter: Tensor,
    gradient: Tensor,
    first: Tensor,
    second: Tensor,
    live: Tensor,
    step_count: int,
    learning_rate: float,
    config: AdamWConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """One masked AdamW step written plainly on dense tensors: (parameter, first, second).

    Nothing is changed in place.
    """
    first = config.beta1 * first + (1 - config.beta1) * gradient
    second = config.beta2 * second + (1 - config.beta2) * gradient**2
    corrected1 = first / (1 - config.beta1**step_count)
    corrected2 = second / (1 - config.beta2**step_count)
    decayed = parameter * (1 - learning_rate * config.weight_decay)
    moved = decayed - learning_rate * corrected1 / (corrected2.sqrt() + config.epsilon)
    return torch.where(live, moved, parameter), first, second


def make_parameters(dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
        for name, shape in SHAPES.items()
    }


def make_live(seed: int = 1) -> dict[str, Tensor]:
    """Some live entries in each tensor but ``whole``, which is not named and so wholly live."""
    generator = torch.Generator().manual_seed(seed)
    live = {
        name: torch.rand(shape, generator=generator) < 0.4
        for name, shape in SHAPES.items()
        if name != "whole"
    }
    for flags in live.values():
        flags.view(-1)[0] = True
    return live


def gradient_stream(steps: int, dtype: torch.dtype = torch.float32) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    for step in range(steps):
        scale = 10.0 ** (step % 5 - 3)
        yield {
            name: (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
            for name, shape in SHAPES.items()
        }


def rate_at(step: int) -> float:
    return 1e-2 * (1 + step % 7)


def run_sparse(
    parameters: dict[str, Tensor], live: dict[str, Tensor], config: AdamWConfig, clip: float
) -> SparseAdamW:
    optimizer = SparseAdamW(parameters, live, config)
    dtype = next(iter(parameters.values())).dtype
    for step, gradients in enumerate(gradient_stream(STEPS, dtype)):
        for name, parameter in parameters.items():
            parameter.grad = gradients[name]
        flat = optimizer.gather_gradients()
        clip_gradients(flat, clip)
        optimizer.step(flat, rate_at(step))
    return optimizer


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-6)], ids=["f64", "f32"]
)
def test_it_equals_the_plain_masked_step(
    clip: float, decay: float, dtype: torch.dtype, tolerance: float
) -> None:
    config = AdamWConfig(weight_decay=decay)
    live = make_live()
    found = make_parameters(dtype)
    run_sparse(found, live, config, clip)

    expected = make_parameters(dtype)
    flags = {
        name: live.get(name, torch.ones(shape, dtype=torch.bool)) for name, shape in SHAPES.items()
    }
    moments = {
        name: (torch.zeros(s, dtype=dtype), torch.zeros(s, dtype=dtype))
        for name, s in SHAPES.items()
    }
    for step, gradients in enumerate(gradient_stream(STEPS, dtype)):
        norm = sum(float((gradients[name][flags[name]].double() ** 2).sum()) for name in SHAPES)
        factor = min(1.0, clip / (norm**0.5 + 1e-6)) if clip else 1.0
        for name in SHAPES:
            expected[name], *moments[name] = reference_step(
                expected[name],
                gradients[name] * factor,
                *moments[name],
                flags[name],
                step + 1,
                rate_at(step),
                config,
            )
    start = make_parameters(dtype)
    for name in SHAPES:
        scale = float(expected[name].abs().max())
        torch.testing.assert_close(found[name], expected[name], rtol=0, atol=tolerance * scale)
        assert torch.equal(found[name][~flags[name]], start[name][~flags[name]])
        assert not bool((found[name] == start[name])[flags[name]].any()), "live entries moved"


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_equals_torchs_adamw_where_all_is_live(clip: float, decay: float) -> None:
    found = make_parameters()
    run_sparse(found, {}, AdamWConfig(weight_decay=decay), clip)
    expected = {name: value.requires_grad_() for name, value in make_parameters().items()}
    optimizer = torch.optim.AdamW(expected.values(), lr=1.0, weight_decay=decay, foreach=False)
    for step, gradients in enumerate(gradient_stream(STEPS)):
        for name, value in expected.items():
            value.grad = gradients[name]
        if clip:
            torch.nn.utils.clip_grad_norm_(expected.values(), clip)
        optimizer.param_groups[0]["lr"] = rate_at(step)
        optimizer.step()
    for name, value in expected.items():
        scale = float(value.detach().abs().max())
        torch.testing.assert_close(found[name], value.detach(), rtol=0, atol=2e-6 * scale)


def test_one_step_by_hand() -> None:
    """The first step of Adam moves by lr · sign(gradient), after the decay of live entries."""
    parameter = torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64)
    optimizer = SparseAdamW(
        {"p": parameter},
        {"p": torch.tensor([True, False, True])},
        AdamWConfig(epsilon=0.0, weight_decay=0.5),
    )
    optimizer.step(torch.tensor([4.0, -0.25], dtype=torch.float64), 0.1)
    assert parameter.tolist() == pytest.approx([0.95 - 0.1, 1.0, 0.95 + 0.1])
    assert parameter[1].item() == 1.0


def test_an_all_true_mask_gives_the_same_bits_as_no_mask() -> None:
    dense, masked = make_parameters(), make_parameters()
    config = AdamWConfig(weight_decay=0.1)
    run_sparse(dense, {}, config, 1.0)
    everything = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    run_sparse(masked, everything, config, 1.0)
    assert all(torch.equal(dense[name], masked[name]) for name in SHAPES)


@settings(max_examples=25)
@given(
    st.integers(0, 10_000),
    st.floats(0, 1),
    st.floats(0, 1e3),
    st.floats(1e-8, 10),
    st.integers(1, 5),
)
def test_frozen_entries_keep_their_bits(
    seed: int, density: float, decay: float, rate: float, steps: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    parameter = torch.randn(40, generator=generator)
    parameter[:4] = torch.tensor([0.0, -0.0, 1e-45, float("nan")])
    live = torch.rand(40, generator=generator) < density
    live[:4] = False
    live[5] = True
    before = parameter.clone()
    optimizer = SparseAdamW({"p": parameter}, {"p": live}, AdamWConfig(weight_decay=decay))
    for _ in range(steps):
        parameter.grad = torch.randn(40, generator=generator)
        optimizer.step(optimizer.gather_gradients(), rate)
    frozen = ~live
    assert torch.equal(parameter[frozen].view(torch.int32), before[frozen].view(torch.int32))


def test_moments_are_kept_for_live_entries_only() -> None:
    live = make_live()
    optimizer = SparseAdamW(make_parameters(), live, AdamWConfig())
    count = sum(int(flags.sum()) for flags in live.values()) + 6
    optimizer.step(torch.ones(count), 0.1)
    moments = [
        tensor
        for tensor in optimizer.optimizer.state[optimizer.values].values()
        if isinstance(tensor, Tensor) and tensor.ndim
    ]
    assert [tensor.shape for tensor in moments] == [(count,), (count,)]


def test_gradients_are_gathered_in_order_and_missing_ones_are_an_error() -> None:
    first, second = torch.zeros(2, 2), torch.zeros(3)
    optimizer = SparseAdamW(
        {"a": first, "b": second},
        {"a": torch.tensor([[False, True], [True, False]])},
        AdamWConfig(),
    )
    first.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    with pytest.raises(ValueError, match="b has no gradient"):
        optimizer.gather_gradients()
    second.grad = torch.tensor([5.0, 6.0, 7.0])
    assert optimizer.gather_gradients().tolist() == [2, 3, 5, 6, 7]


def test_clipping_by_hand() -> None:
    gradients = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert clip_gradients(gradients, 1.0).item() == pytest.approx(5.0)
    assert gradients.tolist() == pytest.approx([0.6, 0.8], rel=1e-6)
    short = torch.tensor([0.3, 0.4])
    clip_gradients(short, 1.0)
    assert short.tolist() == torch.tensor([0.3, 0.4]).tolist(), "short ones keep their bits"
    long = torch.tensor([3.0, 4.0])
    assert clip_gradients(long, 0.0).item() == 5.0
    assert long.tolist() == [3.0, 4.0], "0 switches clipping off"


def test_only_live_gradients_count_for_the_norm() -> None:
    """A huge gradient of a frozen entry must not shrink the live ones."""
    parameter = torch.zeros(2)
    optimizer = SparseAdamW({"p": parameter}, {"p": torch.tensor([True, False])}, AdamWConfig())
    parameter.grad = torch.tensor([0.5, 1e6])
    flat = optimizer.gather_gradients()
    assert clip_gradients(flat, 1.0).item() == 0.5
    assert flat.tolist() == [0.5]
