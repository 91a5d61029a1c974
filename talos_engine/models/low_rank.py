"""Low-rank updates of row blocks of weights, such as Q and V in a fused attention projection."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from talos_engine.models.structure import ParameterGroup
from talos_engine.seeding import derive_seed


@dataclass(frozen=True)
class LowRankBlock:
    """Rows of one weight that become ``W0 + scale · B A``.

    Args:
        group: Which parameter, and which of its rows.
        a: Shape (rank, columns), fixed.
        b: Shape (rows, rank), trains; zero at first.
        scale: s, a positive number.
    """

    group: ParameterGroup
    a: Tensor
    b: Tensor
    scale: float

    def update(self) -> Tensor:
        """``scale · B A``, shape (rows, columns), differentiable in B."""
        return self.scale * (self.b @ self.a)

    def exact_update(self) -> Tensor:
        """The same in float64, detached, on the CPU."""
        return self.scale * (self.b.detach().cpu().double() @ self.a.cpu().double())


def make_block(
    group: ParameterGroup, weight: Tensor, rank: int, scale: float, seed: int
) -> LowRankBlock:
    """A block with random A and zero B, on the weight's device and in its dtype.

    A is drawn as ``peft`` does (Kaiming uniform with a = √5): uniform in ±1/√columns.

    Args:
        group: Rows of a matrix.
        weight: That matrix, shape (all rows, columns).
        rank: Inner dimension, in [1, min(rows, columns)].
        scale: s.
        seed: Key of A; every group draws its own.
    """
    columns = weight.shape[1]
    generator = torch.Generator().manual_seed(derive_seed(seed, "low rank", group.label))
    drawn = torch.rand(rank, columns, generator=generator)
    a = (2 * drawn - 1) / math.sqrt(columns)
    b = torch.zeros(group.stop - group.start, rank)
    return LowRankBlock(group, a.to(weight), b.to(weight), scale)  # its device and dtype


class LowRankClassifier(nn.Module):
    """A classifier that computes with ``W0 + scale · B A`` in the rows of its blocks.

    Args:
        classifier: Names of its parameters are those of the blocks' groups; shared, not copied.
        blocks: No two of them share a row.
    """

    def __init__(self, classifier: nn.Module, blocks: Sequence[LowRankBlock]) -> None:
        super().__init__()
        self.classifier = classifier
        self._by_name: dict[str, list[LowRankBlock]] = {}
        for block in sorted(blocks, key=lambda block: block.group.start):
            self._by_name.setdefault(block.group.name, []).append(block)

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits, shape (batch, classes)."""
        weights = {
            name: _with_updates(self.classifier.get_parameter(name), blocks)
            for name, blocks in self._by_name.items()
        }
        logits: Tensor = functional_call(self.classifier, weights, (inputs,))
        return logits


def merge_blocks(theta0: Mapping[str, Tensor], blocks: Sequence[LowRankBlock]) -> dict[str, Tensor]:
    """The weights with their updates, computed in float64 and rounded once, on the CPU.

    Args:
        theta0: The weights before any update, by name.
        blocks: The updates.
    """
    merged: dict[str, Tensor] = {}
    for block in blocks:
        group = block.group
        dtype = theta0[group.name].dtype
        whole = merged.setdefault(group.name, theta0[group.name].detach().cpu().clone())
        rows = whole[group.start : group.stop]
        update = block.exact_update()
        moved = (rows.double() + update).to(dtype)
        rows.copy_(torch.where(update == 0, rows, moved))  # 0.0 added to −0.0 is another zero
    return merged


def _with_updates(weight: Tensor, blocks: Sequence[LowRankBlock]) -> Tensor:
    pieces, done = [], 0
    for block in blocks:
        group = block.group
        pieces.append(weight[done : group.start])
        pieces.append(weight[group.start : group.stop] + block.update())
        done = group.stop
    pieces.append(weight[done:])
    return torch.cat(pieces)  # the weight's shape
