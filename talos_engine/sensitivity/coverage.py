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
# Rounding in float32 stays far below, a wrong rule far above. Small scores are what masks are made
# of, so every entry is compared; the scale is the largest of its row, of all entries in a bias.
_RELATIVE = 1e-2
_OF_ROW = 1e-5
# Gradients that are zero but for rounding, as of key biases, differ by their own size.
_NOISE = 1e-14
# What a layer of another kind than a tap expects may run into.
_FAILURES = (RuntimeError, TypeError, ValueError, IndexError, AttributeError)


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

    Raises:
        ValueError: a name is not a parameter of the classifier, or has another shape there.
    """
    check_names(classifier, values)
    probes = inputs[:PROBES]
    recorder = make_recorder(classifier, values, names, "square")
    reference = SquaredSums(values, names, "square")
    with holding(classifier, values):
        with torch.no_grad():
            classes = classifier(probes).shape[1]
        labels = torch.arange(len(probes), device=probes.device) % classes
        try:
            _run_tapped(classifier, recorder, probes, labels)
        except torch.OutOfMemoryError:
            raise
        except _FAILURES:
            recorder.failed.update(names)
        add_one_by_one(classifier, probes, labels, torch.ones(len(probes)), reference)
    expected, found = reference.results(), recorder.sums.results()
    largest = max((float(value.max()) for value in expected.values() if value.numel()), default=0.0)
    covered = frozenset(
        name
        for name in names
        if name not in recorder.failed and _agree(found[name], expected[name], largest)
    )
    return Coverage(covered, frozenset(names) - covered)


def check_names(classifier: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Raise unless every name is a parameter of the classifier, of the same shape.

    Raises:
        ValueError: one is not.
    """
    own = dict(classifier.named_parameters())
    for name, value in values.items():
        if name not in own or own[name].shape != value.shape:
            found = tuple(own[name].shape) if name in own else "nothing"
            raise ValueError(f"{name!r} has shape {tuple(value.shape)}, in the model: {found}")


def _run_tapped(classifier: nn.Module, recorder: Recorder, inputs: Tensor, labels: Tensor) -> None:
    with torch.enable_grad(), tapped(classifier, recorder, TAP_MAKERS):
        recorder.examples = len(inputs)
        log_p = torch.log_softmax(classifier(inputs), dim=-1)
        if log_p.requires_grad:
            log_p.gather(1, labels[:, None]).sum().backward()


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
    scale = expected.flatten(1).amax(dim=1) if expected.ndim > 1 else expected.max()
    scale = scale.view(-1, *[1] * (expected.ndim - 1)) if expected.ndim > 1 else scale
    allowed = _RELATIVE * expected + _OF_ROW * scale + _NOISE * largest
    return bool(((found - expected).abs() <= allowed).all())
