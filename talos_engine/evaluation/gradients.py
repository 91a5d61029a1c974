"""Gradients of each example's log-likelihood by named parameters, some examples at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from talos_engine.device import Runtime
from talos_engine.models.attention import plain_attention

_ENTRIES_AT_ONCE = 2**25  # of per-example gradients; bounds the memory, not the result


def examples_at_once(entries: int) -> int:
    """How many examples' gradients are in memory together, each of so many entries."""
    return max(1, _ENTRIES_AT_ONCE // max(1, entries))


def example_gradients(
    classifier: nn.Module,
    places: tuple[Mapping[str, Tensor], ...],
    inputs: Tensor,
    labels: Tensor,
    runtime: Runtime,
) -> Iterator[tuple[dict[str, Tensor], ...]]:
    """``∇_θ log p_θ(y|x)`` at one or several θ, for one slice of the examples after another.

    Args:
        classifier: Maps inputs to logits, shape (batch, classes).
        places: Each holds values, on the runtime's device, of the same parameters, by the
            classifier's names; all other parameters stay as they are.
        inputs: Shape (n, ...), n at least 1.
        labels: int64, shape (n,): y.
        runtime: Device; gradients are taken in the parameters' own dtype.

    Yields:
        For each of ``places`` its gradients by name, shape (slice, *shape of the parameter).
    """

    def log_likelihood(values: Mapping[str, Tensor], example: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(classifier, dict(values), (example[None],))[0]  # (classes,)
        return torch.log_softmax(logits, dim=-1).gather(0, label[None])[0]

    per_example = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    entries = sum(value.numel() for value in places[0].values())
    size = examples_at_once(entries)
    for examples, targets in zip(inputs.split(size), labels.split(size), strict=True):
        batch = examples.to(runtime.device), targets.to(runtime.device)
        with torch.no_grad(), plain_attention():  # of other parameters; these are functional
            found = tuple(per_example(values, *batch) for values in places)
        yield found
