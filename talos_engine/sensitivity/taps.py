"""Taps: modules whose calls also hand over what per-example gradients are made of.

For the time of a ``tapped`` block the covered modules of a model run their own forward pass, and
the backward pass through each call adds the squares of its parameters' per-example gradients to a
``SquaredSums``. No parameter needs a gradient of its own, so a whole batch takes one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from talos_engine.sensitivity.squared_sums import SquaredSums

Rule = Callable[[Tensor, Tensor], None]
"""What to do with a call's inputs and the gradients at its outputs, as they come."""


@dataclass
class Recorder:
    """Where taps put what they see.

    Args:
        sums: The running sums.
        names: Name of each parameter by its identity.
        examples: Number of examples in the batch at hand.
        failed: Names whose gradients could not be told from what their layers' calls saw.
    """

    sums: SquaredSums
    names: Mapping[int, str]
    examples: int = 0
    failed: set[str] = field(default_factory=set)

    def name_of(self, parameter: Any) -> str | None:
        """The parameter's name, where it is summed."""
        name = self.names.get(id(parameter))
        return name if name in self.sums else None

    def by_example(self, tensor: Tensor, *names: str | None) -> Tensor | None:
        """Shape (examples, positions, width): rows of one example are next to each other.

        ``None``, and the names noted as failed, where the rows cannot be dealt out to examples.
        """
        if not self.examples or len(tensor) % self.examples:
            self.failed.update(name for name in names if name is not None)
            return None
        return tensor.reshape(self.examples, -1, tensor.shape[-1])


class _Tap(torch.autograd.Function):
    """The identity on outputs; its backward pass calls a rule."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, inputs: Tensor, rule: Rule) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.rule = rule
        return outputs.detach()  # no view: what comes next may change it in place

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Any:
        (inputs,) = ctx.saved_tensors  # type: ignore[attr-defined]
        with torch.no_grad():
            ctx.rule(inputs, gradients[0])  # type: ignore[attr-defined]
        return gradients[0], None, None


def guarded(rule: Rule, recorder: Recorder, *names: str | None) -> Rule:
    """A rule whose failure is noted for the parameters of these names, and stops nothing."""

    def attempt(inputs: Tensor, gradients: Tensor) -> None:
        try:
            rule(inputs, gradients)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # shapes that the rule's layer does not have
            recorder.failed.update(name for name in names if name is not None)

    return attempt


def tap(outputs: Tensor, inputs: Tensor, rule: Rule) -> Tensor:
    """``outputs``, with ``rule(inputs, gradients)`` run when gradients come back through them."""
    if not torch.is_grad_enabled():
        return outputs
    if not outputs.requires_grad:  # nothing below needs gradients: the graph starts here
        outputs = outputs.detach().requires_grad_()
    result: Tensor = _Tap.apply(outputs, inputs.detach(), rule)
    return result


Forward = Callable[..., Any]


def tap_calls(forward: Forward, rule: Rule) -> Forward:
    """A forward pass whose calls with one tensor are tapped; any other call stays as it is."""

    def call(*inputs: Any, **options: Any) -> Any:
        outputs = forward(*inputs, **options)
        if options or len(inputs) != 1 or not isinstance(inputs[0], Tensor):
            return outputs
        return tap(outputs, inputs[0], rule)

    return call


TapMaker = Callable[[nn.Module, Forward, Recorder], Forward | None]
"""Makes the tapped forward of a module from its own, or ``None`` where it does not cover it."""


@contextmanager
def tapped(model: nn.Module, recorder: Recorder, makers: tuple[TapMaker, ...]) -> Iterator[None]:
    """Tap the modules of a model that hold summed parameters; all is put back at the end."""
    with ExitStack() as stack:
        for module in model.modules():
            if not any(recorder.name_of(value) for value in module.parameters(recurse=False)):
                continue
            for make in makers:
                forward = make(module, module.forward, recorder)
                if forward is not None:
                    stack.enter_context(_replaced_forward(module, forward))
                    break
        yield


@contextmanager
def _replaced_forward(module: nn.Module, forward: Forward) -> Iterator[None]:
    missing = object()
    before = module.__dict__.get("forward", missing)
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if before is missing:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = before
