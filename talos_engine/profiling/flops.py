"""Floating-point operations of matrix products, counted, and the speed of a machine at them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

from talos_engine.device import Runtime

T = TypeVar("T")

SIDE = 1024  # of the square matrices whose product is timed
REPEATS = 7


def count_flops(work: Callable[[], T]) -> tuple[T, int]:
    """What ``work`` returns, and the operations of its matrix products and convolutions.

    torch's own counter: 2 · m · n · k for a product of (m, k) and (k, n); what is done entry by
    entry counts as nothing. It depends on shapes only, so it is the same on every machine.
    """
    with FlopCounterMode(display=False) as counter:
        result = work()
    return result, int(counter.get_total_flops())


def matmul_speed(runtime: Runtime) -> float:
    """Operations per second in a product of two large square matrices: the fastest of several.

    In the precision that steps run in. No step can do its products faster, so ``flops / speed`` is
    the least time that it could take.
    """
    left = torch.ones(SIDE, SIDE, device=runtime.device, dtype=runtime.dtype)
    seconds = []
    for _ in range(REPEATS):
        runtime.synchronize()
        began = time.perf_counter()
        left @ left
        runtime.synchronize()
        seconds.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(seconds)
