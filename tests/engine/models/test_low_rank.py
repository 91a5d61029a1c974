"""Row blocks with low-rank updates: by hand, their gradients, and the weights they leave."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from talos_engine.models.low_rank import (
    LowRankBlock,
    LowRankClassifier,
    make_block,
    merge_blocks,
)
from talos_engine.models.structure import ParameterGroup


def group_of(start: int, stop: int, kind: str = "q") -> ParameterGroup:
    return ParameterGroup("weight", kind, 0, False, start, stop)


@pytest.fixture
def linear() -> nn.Linear:
    """Six rows, two columns, float64."""
    layer = nn.Linear(2, 6, bias=False).double()
    layer.weight.data.copy_(torch.arange(12.0).view(6, 2))
    return layer


def test_by_hand(linear: nn.Linear) -> None:
    """Rows 1 and 2 get 0.5·B A with B = [1, −1]ᵀ and A = [2, 4]: ±[1, 2]."""
    block = LowRankBlock(
        group_of(1, 3),
        torch.tensor([[2.0, 4.0]]).double(),
        torch.tensor([[1.0], [-1.0]]).double(),
        0.5,
    )
    inputs = torch.eye(2).double()
    expected = torch.tensor([[0, 1], [3, 5], [3, 3], [6, 7], [8, 9], [10, 11.0]]).double()
    torch.testing.assert_close(LowRankClassifier(linear, [block])(inputs), expected.T)
    merged = merge_blocks({"weight": linear.weight}, [block])
    torch.testing.assert_close(merged["weight"], expected)
    assert torch.equal(linear.weight.detach(), torch.arange(12.0).view(6, 2).double())


def test_several_blocks_of_one_weight_and_rows_between_them(linear: nn.Linear) -> None:
    blocks = [
        LowRankBlock(group_of(*rows), torch.randn(3, 2).double(), torch.randn(2, 3).double(), 2.0)
        for rows in ((4, 6), (0, 2))
    ]
    inputs = torch.randn(5, 2).double()
    expected = linear.weight.detach().clone()
    for block in blocks:
        expected[block.group.start : block.group.stop] += 2.0 * block.b @ block.a
    model = LowRankClassifier(linear, blocks)
    torch.testing.assert_close(model(inputs), inputs @ expected.T)
    merged = merge_blocks({"weight": linear.weight}, blocks)["weight"]
    torch.testing.assert_close(merged, expected)
    assert torch.equal(merged[2:4], linear.weight.detach()[2:4]), "rows between keep their bits"


def test_the_gradient_reaches_b_alone(linear: nn.Linear) -> None:
    """∂L/∂B = s · (∂L/∂W) Aᵀ."""
    block = make_block(group_of(0, 2), linear.weight, 2, 3.0, seed=1)
    block.b.requires_grad_(True)
    linear.requires_grad_(False)
    inputs = torch.randn(4, 2).double()
    LowRankClassifier(linear, [block])(inputs).square().sum().backward()
    upstream = 2 * (inputs @ linear.weight.T)[:, :2]  # B is 0, so the outputs are the base's
    assert block.b.grad is not None
    torch.testing.assert_close(block.b.grad, 3.0 * (upstream.T @ inputs) @ block.a.T)
    assert block.a.grad is None
    assert linear.weight.grad is None


def test_a_is_kaiming_uniform_keyed_by_seed_and_group() -> None:
    weight = torch.zeros(64, 400)
    block = make_block(group_of(0, 64), weight, 32, 1.0, seed=5)
    bound = 1 / math.sqrt(400)
    assert block.a.shape == (32, 400)
    assert block.b.shape == (64, 32)
    assert float(block.a.abs().max()) <= bound
    assert float(block.a.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)
    # what torch's own initialization of a Linear's weight draws from: the same interval
    own: Tensor = torch.empty(32, 400)
    nn.init.kaiming_uniform_(own, a=math.sqrt(5))
    assert float(own.std()) == pytest.approx(float(block.a.std()), rel=0.02)
    assert torch.equal(make_block(group_of(0, 64), weight, 32, 1.0, seed=5).a, block.a)
    for other in (
        make_block(group_of(0, 64), weight, 32, 1.0, seed=6),
        make_block(group_of(0, 64, "v"), weight, 32, 1.0, seed=5),
    ):
        assert not torch.equal(other.a, block.a)
    assert not block.b.any()


def test_merging_rounds_once() -> None:
    """Float32 weights: the float64 sum, rounded; not a float32 product added in float32."""
    torch.manual_seed(0)
    weight = torch.randn(8, 50)
    block = LowRankBlock(group_of(0, 8), torch.randn(40, 50), torch.randn(8, 40), 0.3)
    exact = weight.double() + 0.3 * (block.b.double() @ block.a.double())
    assert torch.equal(merge_blocks({"weight": weight}, [block])["weight"], exact.float())
