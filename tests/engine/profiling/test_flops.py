"""Operations counted by hand."""

from __future__ import annotations

import torch
from torch import nn

from talos_engine.device import Runtime
from talos_engine.profiling.flops import count_flops, matmul_speed


def test_products_are_counted_by_hand() -> None:
    model = nn.Linear(5, 3, bias=False)
    inputs = torch.randn(4, 5)
    out, forward = count_flops(lambda: model(inputs).sum())
    assert torch.equal(out, model(inputs).sum())
    assert forward == 2 * 4 * 5 * 3
    _, backward = count_flops(out.backward)
    assert backward == 2 * 3 * 4 * 5, "the weight's gradient; the inputs need none"


def test_what_is_done_entry_by_entry_counts_as_nothing() -> None:
    assert count_flops(lambda: torch.randn(10).add(1).sum())[1] == 0


def test_the_speed_is_a_speed() -> None:
    assert matmul_speed(Runtime()) > 1e6
    assert matmul_speed(Runtime(dtype=torch.bfloat16)) > 1e5
