"""Gradient checkpointing: activations of transformer blocks are recomputed, not kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from talos_engine.errors import OptionError


@contextmanager
def gradient_checkpointing(model: nn.Module) -> Iterator[None]:
    """The model with its blocks checkpointed; as it was at the end.

    Args:
        model: Holds open_clip towers, timm trunks or ``transformers`` models. In evaluation mode
            it stays in it: no dropout is switched on.

    Raises:
        OptionError: nothing in the model can be checkpointed.
    """
    with ExitStack() as stack:
        found = [stack.enter_context(_checkpointing(part)) for part in model.modules()]
        if not any(found):
            raise OptionError(
                "this model has no blocks to checkpoint", "leave out --gradient-checkpointing"
            )
        yield


@contextmanager
def _checkpointing(module: Any) -> Iterator[bool]:
    """A module that checkpoints, where it is one that can; tells whether it is."""
    if hasattr(module, "grad_checkpointing"):  # open_clip's and timm's stacks of blocks
        before = module.grad_checkpointing
        module.grad_checkpointing = True
        try:
            yield True
        finally:
            module.grad_checkpointing = before
    elif type(module).__module__.startswith("transformers.") and _is_checkpointable(module):
        # The library's own switch works in training mode only, where dropout would be on too.
        before = module.__dict__.get("forward")
        module.forward = partial(checkpoint, module.forward, use_reentrant=False)
        try:
            yield True
        finally:
            del module.__dict__["forward"]
            if before is not None:
                module.forward = before
    else:
        yield False


def _is_checkpointable(module: nn.Module) -> bool:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(module, GradientCheckpointingLayer)
