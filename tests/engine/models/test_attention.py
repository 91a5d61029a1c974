"""Attention's kernels and memory, checked on ``nn.MultiheadAttention`` itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from talos_engine.models.attention import plain_attention, sequence_first_memory


def given_to(attention: nn.Module, arguments: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor]:
    """What the module was called with, after all other hooks, and its output."""
    seen: list[tuple[Any, ...]] = []
    handle = attention.register_forward_pre_hook(lambda module, given: seen.append(given))
    try:
        out = attention(*arguments, need_weights=False)[0]
    finally:
        handle.remove()
    return seen[0], out


def test_only_the_place_in_memory_changes() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.randn(3, 5, 8)
    before, expected = given_to(attention, (x, x, x))
    assert before[0] is x
    with sequence_first_memory(nn.Sequential(attention)):
        (query, key, value), found = given_to(attention, (x, x, x))
    assert query is key is value  # self-attention stays self-attention
    assert torch.equal(query, x)
    assert query.transpose(0, 1).is_contiguous()
    torch.testing.assert_close(found, expected)
    assert given_to(attention, (x, x, x))[0][0] is x


def test_what_is_not_batch_first_or_not_batched_is_left_alone() -> None:
    x = torch.randn(3, 5, 8)
    for attention, given in (
        (nn.MultiheadAttention(8, 2), x),
        (nn.MultiheadAttention(8, 2, batch_first=True), x[0]),
    ):
        with sequence_first_memory(attention):
            assert given_to(attention, (given, given, given))[0][0] is given


def test_hooks_go_away_after_an_error() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    with pytest.raises(ValueError, match="mine"), sequence_first_memory(attention):
        raise ValueError("mine")
    assert not attention._forward_pre_hooks


def test_the_fast_path_comes_back_after_an_error() -> None:
    with pytest.raises(ValueError, match="mine"), plain_attention():
        raise ValueError("mine")
    assert torch.backends.mha.get_fastpath_enabled()


def test_in_forward_mode_a_projection_gets_one_weight_gradient() -> None:
    """Not one per position, which are then summed: the largest gradient has the weight's size."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    names = {name: value.detach() for name, value in attention.named_parameters()}
    change = {name: torch.zeros_like(value).requires_grad_() for name, value in names.items()}
    x = torch.randn(3, 5, 8)

    def features(parameters: dict[str, Tensor]) -> Tensor:
        out: tuple[Tensor, Any] = torch.func.functional_call(attention, parameters, (x, x, x))
        return out[0]

    with plain_attention(), sequence_first_memory(attention):
        slope = torch.func.jvp(features, (names,), (change,))[1]  # type: ignore[misc]
    with torch.profiler.profile(record_shapes=True) as profile:
        slope.sum().backward()
    shapes = [list(shape) for event in profile.events() for shape in event.input_shapes if shape]
    assert [15, 24] in shapes  # gradients of the 5 · 3 rows, in one product
    assert [5, 8, 24] not in shapes  # a weight gradient for each position
