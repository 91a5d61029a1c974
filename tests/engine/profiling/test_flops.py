"""Operations counted by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from talos_engine.device import Runtime
from talos_engine.profiling import flops as module
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


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_attention_counts_the_same_by_whichever_kernel(backend: SDPBackend) -> None:
    heads, length, width = 6, 5, 8
    query = torch.randn(2, 3, length, width, requires_grad=True)
    with sdpa_kernel(backend):
        attend = torch.nn.functional.scaled_dot_product_attention
        out, forward = count_flops(lambda: attend(query, query, query).sum())
        _, backward = count_flops(out.backward)
    product = 2 * heads * length * length * width
    assert forward == 2 * product
    again = backend is SDPBackend.FLASH_ATTENTION  # it keeps no scores: backward makes them anew
    assert backward == (4 + again) * product


def test_matrices_grow_until_a_product_can_be_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    sides = []

    def take(matrix: torch.Tensor, runtime: Runtime) -> float:
        sides.append(len(matrix))
        return 1e-9 * len(matrix) ** 2  # 1024: 1 ms, 2048: 4 ms, 4096: 17 ms

    monkeypatch.setattr(module, "_time_product", take)
    assert matmul_speed(Runtime()) == pytest.approx(2 * 4096**3 / (1e-9 * 4096**2))
    assert sorted(set(sides)) == [1024, 2048, 4096]


def test_the_speed_is_what_a_product_of_that_size_takes() -> None:
    speed = matmul_speed(Runtime())
    matrix = torch.ones(1024, 1024)
    began = time.perf_counter()
    matrix @ matrix
    took = time.perf_counter() - began
    assert 2 * 1024**3 / took < 4 * speed, "no single product is much faster than the fastest"
