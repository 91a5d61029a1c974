"""Eq. 9's bound and what it bounds, against a loop over examples and by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from talos_engine.device import Runtime
from talos_engine.errors import DataError
from talos_engine.evaluation import gradients as module
from talos_engine.evaluation.localization import measure_localization


@pytest.mark.parametrize("at_once", [1, 40, 10_000])
def test_it_is_what_a_loop_finds(
    small_classifier: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(module, "_ENTRIES_AT_ONCE", at_once)
    model = small_classifier().double()
    inputs, labels = torch.randn(7, 2).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    weight = torch.randn(4, 2).double()
    weight[1] = 0.0  # not in c
    change = {"hidden.weight": weight, "out.bias": torch.zeros(3).double()}
    found = measure_localization(model, change, inputs, labels, Runtime())
    norms, slopes, largest = [], [], []
    for example, label in zip(inputs, labels, strict=True):
        log_p = torch.log_softmax(model(example[None])[0], dim=0)[label]
        (gradient,) = torch.autograd.grad(log_p, [model.get_parameter("hidden.weight")])
        live = gradient * (weight != 0)
        norms.append(float(live.norm()))
        slopes.append(abs(float((gradient * weight).sum())))
        largest.append(float(live.abs().max()))
    assert found.count == 6
    assert found.n == 7
    assert found.change_norm == pytest.approx(float(weight.norm()))
    assert found.largest_change == pytest.approx(float(weight.abs().max()))
    assert found.gradient_norm == pytest.approx(max(norms))
    assert found.mean_gradient_norm == pytest.approx(sum(norms) / 7)
    assert found.largest_gradient == pytest.approx(max(largest))
    assert found.slope == pytest.approx(max(slopes))
    assert found.mean_slope == pytest.approx(sum(slopes) / 7)
    assert found.bound == pytest.approx(float(weight.norm()) * max(norms))
    coarse = found.count**2 * found.largest_change * found.largest_gradient
    assert found.slope <= found.bound <= coarse


def test_by_hand(small_classifier: Callable[..., nn.Module]) -> None:
    """The gradient by the output bias is onehot(y) − p."""
    model = small_classifier()
    example = torch.randn(1, 2)
    p = torch.softmax(model(example)[0], dim=0).detach()
    change = {"out.bias": torch.tensor([0.0, 2.0, 0.0])}
    found = measure_localization(model, change, example, torch.tensor([1]), Runtime())
    expected = float(1 - p[1])
    assert found.gradient_norm == pytest.approx(expected)
    assert found.largest_gradient == pytest.approx(expected)
    assert found.slope == pytest.approx(2 * expected)
    assert found.bound == pytest.approx(2 * expected)


def test_a_change_of_nothing_is_refused(small_classifier: Callable[..., nn.Module]) -> None:
    with pytest.raises(DataError, match="changes nothing"):
        measure_localization(
            small_classifier(),
            {"out.bias": torch.zeros(3)},
            torch.randn(1, 2),
            torch.tensor([0]),
            Runtime(),
        )
