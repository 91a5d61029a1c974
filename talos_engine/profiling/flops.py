"""Floating-point operations of matrix products, counted, and the speed of a machine at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from talos_engine.device import Runtime

T = TypeVar("T")
Shape = Sequence[int]

FIRST_SIDE, LARGEST_SIDE = 1024, 16384  # of the square matrices whose product is timed
ENOUGH_S = 0.01  # a product that takes less measures the launch
REPEATS = 7


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    slope: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(slope, query, key, value))


FUSED_ON_CPU = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def count_flops(work: Callable[[], T]) -> tuple[T, int]:
    """What ``work`` returns, and the operations of its matrix products and convolutions.

    torch's own counter: 2 · m · n · k for a product of (m, k) and (k, n); what is done entry by
    entry counts as nothing. It depends on shapes only, so it is the same on every machine; torch
    leaves out attention's fused kernel for CPUs, which is counted here as its kernel for GPUs is.
    """
    with FlopCounterMode(display=False, custom_mapping=FUSED_ON_CPU) as counter:
        result = work()
    return result, int(counter.get_total_flops())


def matmul_speed(runtime: Runtime) -> float:
    """Operations per second in a product of two large square matrices: the fastest of several.

    In the precision that steps run in; the matrices grow until a product takes long enough to be
    timed. ``flops / speed`` is about the least time that a step's products could take.
    """
    side = FIRST_SIDE
    while True:
        matrix = torch.ones(side, side, device=runtime.device, dtype=runtime.dtype)
        seconds = min(_time_product(matrix, runtime) for _ in range(REPEATS))
        if seconds >= ENOUGH_S or side >= LARGEST_SIDE:
            return 2 * side**3 / seconds
        side *= 2


def _time_product(matrix: Tensor, runtime: Runtime) -> float:
    runtime.synchronize()
    began = time.perf_counter()
    matrix @ matrix
    runtime.synchronize()
    return time.perf_counter() - began
