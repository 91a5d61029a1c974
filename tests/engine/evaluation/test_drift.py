"""Drift of per-example gradients: none at θ0, and what a loop over examples finds elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from talos_engine.device import Runtime
from talos_engine.evaluation import gradients as module
from talos_engine.evaluation.drift import Drift, measure_drift


def gradients(model: nn.Module, inputs: Tensor, labels: Tensor) -> list[Tensor]:
    """∇ log p(y|x) of each example, flat, by a loop."""
    found = []
    for example, label in zip(inputs, labels, strict=True):
        log_p = torch.log_softmax(model(example[None])[0], dim=0)[label]
        pieces = torch.autograd.grad(log_p, list(model.parameters()))
        found.append(torch.cat([piece.flatten() for piece in pieces]))
    return found


@pytest.mark.parametrize("at_once", [1, 60, 10_000])
def test_it_is_what_a_loop_finds(
    small_classifier: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_ENTRIES_AT_ONCE", at_once)
    model = small_classifier().double()
    inputs = torch.randn(7, 2).double()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    theta0 = {name: value.detach().clone() for name, value in model.named_parameters()}
    before = gradients(model, inputs, labels)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.3 * torch.randn_like(value))
    after = gradients(model, inputs, labels)
    found = measure_drift(model, theta0, inputs, labels, Runtime())
    squared = sum(float((a - b).square().sum()) for a, b in zip(after, before, strict=True)) / 7
    reference = sum(float(b.square().sum()) for b in before) / 7
    assert found.squared == pytest.approx(squared, rel=1e-10)
    assert found.reference == pytest.approx(reference, rel=1e-10)
    assert found.relative == pytest.approx(squared / reference, rel=1e-10)


def test_at_theta0_there_is_none(small_classifier: Callable[..., nn.Module]) -> None:
    model = small_classifier()
    theta0 = {name: value.detach().clone() for name, value in model.named_parameters()}
    found = measure_drift(model, theta0, torch.randn(3, 2), torch.tensor([0, 1, 2]), Runtime())
    assert found.squared == found.relative == 0
    assert found.reference > 0


def test_only_named_parameters_count(small_classifier: Callable[..., nn.Module]) -> None:
    """By hand: the gradient by the output bias is onehot(y) − p."""
    model = small_classifier()
    start = model.get_parameter("out.bias").detach().clone()
    inputs, labels = torch.randn(4, 2), torch.tensor([2, 1, 0, 0])
    p0 = torch.softmax(model(inputs).detach(), dim=1)
    with torch.no_grad():
        model.get_parameter("out.bias").add_(torch.tensor([0.5, 0.0, -1.0]))
    p1 = torch.softmax(model(inputs).detach(), dim=1)
    found = measure_drift(model, {"out.bias": start}, inputs, labels, Runtime())
    assert found.squared == pytest.approx(float((p1 - p0).square().sum(1).mean()), rel=1e-5)


def test_relative_to_nothing_is_nothing() -> None:
    assert Drift(0.0, 0.0).relative == 0.0
