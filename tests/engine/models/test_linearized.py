"""``f_lin`` in float64: exact at θ0, linear in τ, its gradient and value as naively constructed."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from talos_engine.models.attention import plain_attention
from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.workflows.opening import Session


def theta0_of(encoder: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in encoder.named_parameters()}


def move(encoder: nn.Module, theta0: Mapping[str, Tensor], tau: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in encoder.named_parameters():
            value.copy_(theta0[name] + tau[name])


def direction(theta0: Mapping[str, Tensor], seed: int = 0, size: float = 0.1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: size * torch.randn(value.shape, generator=generator, dtype=value.dtype)
        for name, value in theta0.items()
    }


@pytest.fixture
def encoder(toy_session: Session) -> nn.Module:
    """The toy image encoder in float64."""
    return toy_session.backbone.model.visual.double()  # type: ignore[attr-defined, no-any-return]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()


def jacobian_product(
    encoder: nn.Module, theta0: Mapping[str, Tensor], tau: Mapping[str, Tensor], images: Tensor
) -> Tensor:
    """τᵀ ∇f(x, θ0), one reverse pass per output, without forward mode."""
    values = {name: value.clone().requires_grad_() for name, value in theta0.items()}
    with plain_attention():
        features = functional_call(encoder, values, (images,))
    rows = []
    for output in features.flatten():
        gradients = torch.autograd.grad(output, list(values.values()), retain_graph=True)
        rows.append(sum((g * tau[name]).sum() for name, g in zip(values, gradients, strict=True)))
    return torch.stack([torch.as_tensor(row) for row in rows]).view_as(features)


def test_it_is_exact_at_theta0(encoder: nn.Module, images: Tensor) -> None:
    linear = LinearizedEncoder(encoder, theta0_of(encoder))
    torch.testing.assert_close(linear(images), encoder(images), rtol=1e-12, atol=1e-12)


def test_features_are_linear_in_tau(encoder: nn.Module, images: Tensor) -> None:
    theta0 = theta0_of(encoder)
    linear = LinearizedEncoder(encoder, theta0)
    at_theta0 = linear(images).detach()
    tau, other = direction(theta0, 1), direction(theta0, 2)
    changes = []
    for combined in (
        tau,
        {name: 2 * value for name, value in tau.items()},
        other,
        {name: value + other[name] for name, value in tau.items()},
    ):
        move(encoder, theta0, combined)
        changes.append(linear(images).detach() - at_theta0)
    assert changes[0].abs().max() > 0.01, "the direction matters"
    torch.testing.assert_close(changes[1], 2 * changes[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(changes[3], changes[0] + changes[2], rtol=1e-9, atol=1e-11)


def test_it_is_the_product_with_the_jacobian(encoder: nn.Module, images: Tensor) -> None:
    theta0 = theta0_of(encoder)
    tau = direction(theta0)
    expected = encoder(images).detach() + jacobian_product(encoder, theta0, tau, images)
    move(encoder, theta0, tau)
    linear = LinearizedEncoder(encoder, theta0)
    torch.testing.assert_close(linear(images).detach(), expected, rtol=1e-9, atol=1e-11)


def test_it_is_the_model_to_first_order(encoder: nn.Module, images: Tensor) -> None:
    """A tenth of the step leaves a hundredth of the error."""
    theta0 = theta0_of(encoder)
    linear = LinearizedEncoder(encoder, theta0)
    errors = []
    for size in (1e-2, 1e-3):
        move(encoder, theta0, direction(theta0, size=size))
        errors.append(float((linear(images) - encoder(images)).detach().norm()))
    assert errors[1] == pytest.approx(errors[0] / 100, rel=0.2)


def test_its_gradient_is_that_of_the_naive_construction(encoder: nn.Module, images: Tensor) -> None:
    """∂L/∂τ = J(θ0)ᵀ ∂L/∂features, by a plain backward pass at θ0."""
    theta0 = theta0_of(encoder)
    move(encoder, theta0, direction(theta0))
    linear = LinearizedEncoder(encoder, theta0)
    labels = torch.tensor([0, 2, 1])
    for value in encoder.parameters():
        value.requires_grad_(True)
    features = linear(images)
    F.cross_entropy(F.normalize(features, dim=-1)[:, :4] * 5, labels).backward()
    leaf = features.detach().requires_grad_()
    F.cross_entropy(F.normalize(leaf, dim=-1)[:, :4] * 5, labels).backward()
    values = {name: value.clone().requires_grad_() for name, value in theta0.items()}
    with plain_attention():
        at_theta0 = functional_call(encoder, values, (images,))
    expected = torch.autograd.grad(at_theta0, list(values.values()), leaf.grad)
    for (name, value), gradient in zip(encoder.named_parameters(), expected, strict=True):
        assert value.grad is not None, name
        torch.testing.assert_close(value.grad, gradient, rtol=1e-9, atol=1e-12)


def test_parameters_that_are_not_named_are_constants(encoder: nn.Module, images: Tensor) -> None:
    """Expanded in one matrix only: what the others hold counts as it is, not to first order."""
    theta0 = theta0_of(encoder)
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    tau = direction(theta0)
    moved = {other: value + tau[other] * (other != name) for other, value in theta0.items()}
    move(encoder, moved, {other: tau[other] * (other == name) for other in theta0})
    linear = LinearizedEncoder(encoder, {name: theta0[name]})
    only = {other: value * (other == name) for other, value in tau.items()}
    expected = functional_call(encoder, moved, (images,)) + jacobian_product(
        encoder, moved, only, images
    )
    torch.testing.assert_close(linear(images).detach(), expected.detach(), rtol=1e-9, atol=1e-11)


def test_the_classifier_keeps_its_head(toy_session: Session) -> None:
    task = toy_session.evaluation_task("toy-a", "val")
    linear = toy_session.linearized(task)
    with torch.no_grad():
        plain = task.classifier(task.inputs)
        torch.testing.assert_close(linear.classifier(task.inputs), plain, rtol=1e-4, atol=1e-4)
        state = toy_session.backbone.encoder_state()
        state["visual.proj"].mul_(1.5)
        torch.testing.assert_close(
            linear.classifier(task.inputs), plain, rtol=1e-4, atol=1e-4
        )  # the features scale, and the head normalizes
        state["visual.proj"].add_(0.3)
        assert not torch.allclose(linear.classifier(task.inputs), plain, atol=1e-2)


def test_attention_kernels_are_put_back() -> None:
    before = torch.backends.mha.get_fastpath_enabled()
    with plain_attention():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before
