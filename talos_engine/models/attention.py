"""Attention through kernels that function transforms (``jvp``, ``vmap``) support."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel


@contextmanager
def plain_attention() -> Iterator[None]:
    """Only the MATH backend and no fast path within; restored afterwards."""
    was_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was_fast)


@contextmanager
def sequence_first_memory(module: nn.Module) -> Iterator[None]:
    """``nn.MultiheadAttention`` below sees inputs whose rows of one position are neighbours.

    It swaps batch and sequence before its in-projection. A function transform cannot fold what that
    leaves into one matrix product: it multiplies position by position and, going backward, sums one
    weight gradient per position. Values are the same; only where they lie in memory changes.
    """
    handles = [
        found.register_forward_pre_hook(_put_sequence_first)
        for found in module.modules()
        if isinstance(found, nn.MultiheadAttention) and found.batch_first
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _put_sequence_first(_module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same arguments; those of shape (batch, sequence, dim) lie as (sequence, batch, dim)."""
    moved: dict[int, Tensor] = {}  # query, key and value stay one object where they were one
    for value in given:
        if isinstance(value, Tensor) and value.dim() == 3 and id(value) not in moved:
            moved[id(value)] = value.transpose(0, 1).contiguous().transpose(0, 1)
    return tuple(moved.get(id(value), value) for value in given)
