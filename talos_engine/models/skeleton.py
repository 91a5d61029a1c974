"""A model without weights: its structure and what a training step keeps in memory.

Modules live on torch's meta device, so nothing is read, allocated or computed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talos_engine.artifacts import TensorSpec
from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.models.structure import EncoderStructure


@dataclass(frozen=True)
class Skeleton:
    """A model's shape.

    Args:
        structure: The parameters of its encoder.
        specs: Dtype and shape of every tensor of the whole ``state_dict``, tied ones once.
        encoder: The encoder on the meta device.
        input_shape: Shape of one prepared input.
        input_dtype: Its element type.
    """

    structure: EncoderStructure
    specs: Mapping[str, TensorSpec]
    encoder: nn.Module
    input_shape: tuple[int, ...]
    input_dtype: torch.dtype = torch.float32

    @property
    def total_entries(self) -> int:
        """Number of entries of the whole ``state_dict``."""
        return sum(math.prod(spec.shape) for spec in self.specs.values())

    @property
    def total_bytes(self) -> int:
        """Bytes that the whole ``state_dict`` takes."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def encoder_entries(self) -> int:
        """Number of entries of the encoder."""
        return sum(parameter.numel() for parameter in self.encoder.parameters())

    def saved_bytes(self, batch: int, trains: Collection[str], *, linearized: bool = False) -> int:
        """Bytes that autograd keeps between a forward and a backward pass, parameters apart.

        Args:
            batch: Examples in the forward pass.
            trains: Parameters that get a gradient, by ``state_dict`` key.
            linearized: Count for the encoder's first-order expansion instead.
        """
        encoder = self.encoder
        own = {parameter.untyped_storage()._cdata for parameter in encoder.parameters()}
        if linearized:
            theta0 = {name: torch.empty_like(value) for name, value in encoder.named_parameters()}
            own |= {value.untyped_storage()._cdata for value in theta0.values()}
            encoder = LinearizedEncoder(encoder, theta0)
        wanted = set(trains)
        parameters = list(self.encoder.parameters())
        for name, parameter in zip(self.structure.trainable, parameters, strict=True):
            parameter.requires_grad_(name in wanted)
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()._cdata
            if storage not in own:
                kept.setdefault(storage, tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            encoder(torch.empty(batch, *self.input_shape, dtype=self.input_dtype, device="meta"))
        return sum(tensor.numel() * tensor.element_size() for tensor in kept.values())


def specs_of(tensors: Mapping[str, Tensor]) -> dict[str, TensorSpec]:
    """Dtype and shape of tensors, which may live on the meta device, by name."""
    return {name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in tensors.items()}
