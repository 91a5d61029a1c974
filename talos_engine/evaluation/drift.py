"""Sensitivity drift: how far the gradients of a model have moved from those at θ0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.evaluation.gradients import example_gradients


@dataclass(frozen=True)
class Drift:
    """How far per-example gradients have moved.

    Args:
        squared: Mean over examples of the squared distance to the gradient at θ0.
        reference: Mean squared norm of the gradient at θ0.
    """

    squared: float
    reference: float

    @property
    def relative(self) -> float:
        """Drift in units of the reference; 0 where there is no gradient at all."""
        return self.squared / self.reference if self.reference else 0.0


def measure_drift(
    classifier: nn.Module,
    theta0: Mapping[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    runtime: Runtime,
) -> Drift:
    """``E_x ‖∇_θ f(x, θ) − ∇_θ f(x, θ0)‖²`` with ``f = log p_θ(y|x)`` and y the example's label.

    Fig. 7 of arXiv:2504.02620; deviation: none known (the paper does not say which y).

    Args:
        classifier: Holds θ; maps inputs to logits, shape (batch, classes).
        theta0: Parameters to differentiate by, at θ0, by the classifier's names.
        inputs: Shape (n, ...), n at least 1.
        labels: int64, shape (n,).
        runtime: Device; gradients are taken in the parameters' own dtype.
    """
    at_start = {name: value.detach().to(runtime.device) for name, value in theta0.items()}
    now = {name: classifier.get_parameter(name).detach() for name in theta0}

    squared, reference = 0.0, 0.0
    for before, after in example_gradients(classifier, (at_start, now), inputs, labels, runtime):
        for name, gradient in before.items():  # (examples, *shape)
            reference += float(gradient.square().sum())
            squared += float((after[name] - gradient).square().sum())
    return Drift(squared / len(labels), reference / len(labels))
