"""A model without weights: its structure and what a training step keeps in memory.

Modules live on torch's meta device, so nothing is read, allocated or computed.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talos_engine.models.structure import EncoderStructure


@dataclass(frozen=True)
class Skeleton:
    """A model's shape.

    Args:
        structure: The parameters of its encoder.
        total_entries: Number of entries of the whole ``state_dict``.
        encoder: The encoder on the meta device.
        input_shape: Shape of one prepared input.
    """

    structure: EncoderStructure
    total_entries: int
    encoder: nn.Module
    input_shape: tuple[int, ...]

    @property
    def encoder_entries(self) -> int:
        """Number of entries of the encoder."""
        return sum(parameter.numel() for parameter in self.encoder.parameters())

    def saved_bytes(self, batch: int, trains: Collection[str]) -> int:
        """Bytes that autograd keeps between a forward and a backward pass, parameters apart.

        Args:
            batch: Examples in the forward pass.
            trains: Parameters that get a gradient, by ``state_dict`` key.
        """
        own = {id(parameter) for parameter in self.encoder.parameters()}
        wanted = set(trains)
        parameters = list(self.encoder.parameters())
        for name, parameter in zip(self.structure.trainable, parameters, strict=True):
            parameter.requires_grad_(name in wanted)
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            if id(tensor) not in own and id(tensor._base) not in own:
                kept.setdefault(tensor.untyped_storage()._cdata, tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            self.encoder(torch.empty(batch, *self.input_shape, device="meta"))
        return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
