"""Which parameters of a model the taps get right, found by trying them on a few examples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talos_engine.sensitivity.layers import TAP_MAKERS
from talos_engine.sensitivity.squared_sums import SquaredSums
from talos_engine.sensitivity.taps import Recorder, tapped

PROBES = 3
# Rounding in float32 stays far below, a wrong rule far above.
_RELATIVE = 1e-3
# Gradients that are zero but for rounding, as of key biases, differ by their own size.
_NOISE = 1e-14


@dataclass(frozen=True)
class Coverage:
    """How the parameters of one model are differentiated.

    Args:
        covered: Names whose per-example gradients come from one backward pass per batch.
        fallback: Names that take a backward pass per example.
    """

    covered: frozenset[str]
    fallback: frozenset[str]


def find_coverage(
    classifier: nn.Module, values: Mapping[str, Tensor], names: Collection[str], inputs: Tensor
) -> Coverage:
    """The coverage of a classifier: taps against one plain backward pass per example.

    Weight sharing, projections hidden inside functions and unusual layouts all show as a
    difference, whatever the reason; a parameter that differs takes the slower path.

    Args:
        classifier: Maps inputs to logits, shape (batch, classes).
        values: Parameters by name at which to differentiate.
        names: Those of them to be scored.
        inputs: Some examples, shape (n, ...), on the parameters' device; the first few are used.
    """
    probes = inputs[:PROBES]
    recorder = make_recorder(classifier, values, names, "square")
    reference = SquaredSums(values, names, "square")
    with holding(classifier, values):
        with tapped(classifier, recorder, TAP_MAKERS):
            recorder.examples = len(probes)
            log_p = torch.log_softmax(classifier(probes), dim=-1)
            labels = torch.arange(len(probes), device=log_p.device) % log_p.shape[1]
            if log_p.requires_grad:
                log_p.gather(1, labels[:, None]).sum().backward()
        add_one_by_one(classifier, probes, labels, torch.ones(len(probes)), reference)
    expected, found = reference.results(), recorder.sums.results()
    largest = max((float(value.max()) for value in expected.values() if value.numel()), default=0.0)
    covered = frozenset(
        name
        for name in names
        if name not in recorder.failed and _agree(found[name], expected[name], largest)
    )
    return Coverage(covered, frozenset(names) - covered)


def make_recorder(
    classifier: nn.Module, values: Mapping[str, Tensor], names: Collection[str], score: str
) -> Recorder:
    """A recorder of the parameters with these names."""
    known = {id(parameter): name for name, parameter in classifier.named_parameters()}
    return Recorder(SquaredSums(values, names, score), known)


def add_one_by_one(
    classifier: nn.Module, inputs: Tensor, labels: Tensor, weights: Tensor, sums: SquaredSums
) -> None:
    """Add scores by one forward and one backward pass per example.

    Args:
        classifier: Maps inputs to logits; holds the values at which to differentiate.
        inputs: Shape (n, ...).
        labels: int64, shape (n,).
        weights: What each example's log-likelihood is multiplied with, shape (n,).
        sums: Which parameters, and where to.
    """
    parameters = {name: p for name, p in classifier.named_parameters() if name in sums}
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            for row in range(len(labels)):
                log_p = torch.log_softmax(classifier(inputs[row : row + 1]), dim=-1)[0]
                gradients = torch.autograd.grad(
                    weights[row] * log_p[labels[row]],
                    list(parameters.values()),
                    allow_unused=True,
                )
                for name, gradient in zip(parameters, gradients, strict=True):
                    if gradient is not None:
                        sums.add_gradients(name, gradient[None])
    finally:
        for parameter in parameters.values():
            parameter.requires_grad_(False)


@contextmanager
def holding(model: nn.Module, values: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with other parameter values and nothing that requires a gradient; put back after.

    Not ``functional_call``: recomputation under gradient checkpointing runs in the backward pass,
    where swapped tensors would be gone.
    """
    before = {name: (p, p.data, p.requires_grad) for name, p in model.named_parameters()}
    try:
        for name, (parameter, _, _) in before.items():
            parameter.requires_grad_(False)
            if name in values:
                parameter.data = values[name]
        yield
    finally:
        for parameter, data, needed in before.values():
            parameter.data = data
            parameter.requires_grad_(needed)


def _agree(found: Tensor, expected: Tensor, largest: float) -> bool:
    if not found.numel():
        return True
    worst = float((found - expected).abs().max())
    return worst <= _RELATIVE * float(expected.max()) + _NOISE * largest
