"""How local a task vector acts: the bound of Eq. 9, and what it bounds, example by example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.errors import DataError
from talos_engine.evaluation.gradients import example_gradients


@dataclass(frozen=True)
class LocalizationBound:
    """Eq. 9 of arXiv:2504.02620 over a sample: ``|τᵀ∇f| ≤ ‖τ‖ · max ‖c⊙∇f‖ ≤ k² · μ · η``.

    c are the entries that τ changes, k their number, f = log p_θ0(y|x), y the example's label.

    Args:
        count: k, number of entries that τ changes.
        change_norm: ‖c⊙τ‖.
        largest_change: μ, the largest |τ_j|.
        gradient_norm: Largest ‖c⊙∇_θ f(x, θ0)‖ over the sample.
        mean_gradient_norm: Its mean over the sample.
        largest_gradient: η, the largest |∂f/∂θ_j| among the entries of c over the sample.
        slope: Largest |τᵀ∇_θ f(x, θ0)| over the sample: what the bound bounds.
        mean_slope: Its mean over the sample.
        n: Examples in the sample.
    """

    count: int
    change_norm: float
    largest_change: float
    gradient_norm: float
    mean_gradient_norm: float
    largest_gradient: float
    slope: float
    mean_slope: float
    n: int

    @property
    def bound(self) -> float:
        """‖c⊙τ‖ · max_x ‖c⊙∇_θ f(x, θ0)‖."""
        return self.change_norm * self.gradient_norm


def measure_localization(
    classifier: nn.Module,
    change: Mapping[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    runtime: Runtime,
) -> LocalizationBound:
    """The bound of Eq. 9 and its factors over a sample; deviation: none known.

    The paper does not say which y; the label is taken, as for the drift.

    Args:
        classifier: Holds θ0; maps inputs to logits, shape (batch, classes).
        change: τ by the classifier's names; entries that are 0 are not in c.
        inputs: Shape (n, ...), n at least 1.
        labels: int64, shape (n,).
        runtime: Device; gradients are taken in the parameters' own dtype.

    Raises:
        DataError: τ changes nothing.
    """
    moved = {name: value.to(runtime.device) for name, value in change.items()}
    moved = {name: value for name, value in moved.items() if bool((value != 0).any())}
    if not moved:
        raise DataError("the vector changes nothing, so nothing bounds its effect")
    theta0 = {name: classifier.get_parameter(name).detach() for name in moved}

    norms, slopes, largest = [], [], 0.0
    for (found,) in example_gradients(classifier, (theta0,), inputs, labels, runtime):
        examples = len(next(iter(found.values())))
        squared, slope = torch.zeros(2, examples, dtype=torch.float64)
        for name, gradient in found.items():
            live = moved[name] != 0
            rows = gradient[:, live]  # (examples, live entries)
            squared += rows.square().sum(dim=1).double().cpu()
            slope += (rows @ moved[name][live]).double().cpu()
            largest = max(largest, float(rows.abs().max()))
        norms.append(squared.sqrt())
        slopes.append(slope.abs())
    all_norms, all_slopes = torch.cat(norms), torch.cat(slopes)
    flat = torch.cat([value[value != 0].flatten() for value in moved.values()])
    return LocalizationBound(
        count=flat.numel(),
        change_norm=float(flat.double().norm()),
        largest_change=float(flat.abs().max()),
        gradient_norm=float(all_norms.max()),
        mean_gradient_norm=float(all_norms.mean()),
        largest_gradient=largest,
        slope=float(all_slopes.max()),
        mean_slope=float(all_slopes.mean()),
        n=len(labels),
    )
