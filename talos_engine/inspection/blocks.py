"""Tensors cut into blocks that play one role: the query rows of a fused projection, a bias, a conv.

Every statistic of this room is taken per block and added up. Where the model is not known, each
tensor is one block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from talos_engine.models.structure import KINDS, EncoderStructure, ParameterGroup

OUTSIDE = -1  # layer of what belongs to no transformer block
OTHER = "other"  # kind of what is in no group: embeddings, the final projection, other towers

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Block:
    """A contiguous piece of one tensor.

    Args:
        name: The tensor.
        kind: ``q``, ``q bias``, …, ``ln`` (weights and biases), ``other``, or the tensor's name.
        layer: Index of the transformer block, ``OUTSIDE`` outside the blocks.
        start: First flat position.
        stop: One past the last flat position.
    """

    name: str
    kind: str
    layer: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.stop - self.start


def kind_label(group: ParameterGroup) -> str:
    """Kind of a group's entries, biases apart as ``KIND bias``; those of layer norms are ``ln``."""
    return f"{group.kind} bias" if group.is_bias and group.kind != "ln" else group.kind


def kind_order(kind: str) -> tuple[int, int, str]:
    """Sort key of kinds: weights as in ``KINDS``, then biases in the same order, then the rest."""
    plain = kind.removesuffix(" bias")
    if plain not in KINDS:
        return 2, 0, kind
    return int(plain != kind), KINDS.index(plain), kind


def structure_blocks(structure: EncoderStructure, shapes: Shapes) -> tuple[Block, ...]:
    """Blocks that cover every entry of some tensors of a known model exactly once.

    Args:
        structure: The model's.
        shapes: The tensors, in the model's shapes; those in no group are ``OTHER``.
    """
    blocks = []
    grouped = set()
    for group in structure.groups:
        if group.name in shapes:
            grouped.add(group.name)
            stride = math.prod(shapes[group.name][1:])
            start, stop = group.start * stride, group.stop * stride
            blocks.append(Block(group.name, kind_label(group), group.layer, start, stop))
    for name, shape in shapes.items():
        if name not in grouped:
            blocks.append(Block(name, OTHER, OUTSIDE, 0, math.prod(shape)))
    return tuple(blocks)


def tensor_blocks(shapes: Shapes) -> tuple[Block, ...]:
    """One block per tensor, its kind being the tensor's name: for models that are not known."""
    return tuple(Block(name, name, OUTSIDE, 0, math.prod(shapes[name])) for name in sorted(shapes))


def structure_problem(structure: EncoderStructure, shapes: Shapes) -> str:
    """Why these tensors cannot be cut along a structure; empty if they can."""
    for name, shape in shapes.items():
        if structure.shapes.get(name, tuple(shape)) != tuple(shape):
            return f"{name!r} has shape {tuple(shape)}, in the model {structure.shapes[name]}"
    if shapes and not set(shapes) & set(structure.shapes):
        return f"the model has no tensor {next(iter(shapes))!r}"
    return ""
