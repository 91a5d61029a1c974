"""What a model is: where its weights come from and what a backbone offers to the rooms above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from talos_engine.artifacts import BaseInfo
from talos_engine.errors import OptionError
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.structure import EncoderStructure
from talos_engine.registry import Registry


@dataclass(frozen=True)
class BaseWeights:
    """The parameters θ0 that a command starts from.

    Args:
        info: Identity of exactly these tensors.
        origin: Identity of the base that these tensors were made from; equal to ``info`` unless
            they come from a checkpoint of ours.
        tensors: Every tensor of the model's ``state_dict``, on the CPU.
        folder: Where the model's other files lie, such as those of its tokenizer, if they do.
    """

    info: BaseInfo
    origin: BaseInfo
    tensors: Mapping[str, Tensor]
    folder: Path | None = None

    def matching(self, base_hash: str) -> BaseInfo | None:
        """Whichever of ``info`` and ``origin`` has this hash."""
        return next((base for base in (self.info, self.origin) if base.hash == base_hash), None)


@dataclass(frozen=True)
class ImageTransform:
    """How one image becomes what a classifier takes, up to division and normalization.

    Args:
        config: Everything that changes the result, JSON-able.
        shape: Channels, height and width of the result.
        apply: From an image of any mode and size to uint8 of that shape; safe in several threads.
    """

    config: Mapping[str, Any]
    shape: tuple[int, int, int]
    apply: Callable[[Image.Image], NDArray[np.uint8]]


class Backbone(ABC):
    """A model whose encoder is edited, and the classifiers that share that encoder."""

    weights: BaseWeights
    structure: EncoderStructure

    @abstractmethod
    def classifier(self, class_names: Sequence[str], templates: Sequence[str]) -> nn.Module:
        """A module mapping prepared inputs to logits, shape (batch, classes).

        Names of its parameters are keys of the model's ``state_dict``. All classifiers of one
        backbone share the encoder; the head is frozen and belongs to the pre-trained model.
        """

    def linearize(self, classifier: nn.Module) -> nn.Module:
        """A classifier of this backbone with its encoder linearized at θ0; the head stays.

        Raises:
            OptionError: this kind of model has no linearization.
        """
        what = f"the {type(classifier).__name__} of {self.weights.info.name}"
        raise OptionError(f"{what} cannot be linearized")

    @abstractmethod
    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Model inputs, float32 of shape (n, 3, size, size), for uint8 (n, height, width, 3)."""

    def image_transform(self) -> ImageTransform:
        """What images of any size go through before ``prepare`` would take them.

        The classifiers of this backbone take its results, uint8, as well as what ``prepare`` gives.

        Raises:
            OptionError: this kind of model takes no images.
        """
        raise OptionError(f"{self.weights.info.name} takes no images")

    @abstractmethod
    def set_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the encoder's parameters in place; names not given keep their values."""

    @abstractmethod
    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's current parameters (not copied), by ``state_dict`` key."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move the model to a device."""


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be loaded.

    Args:
        name: Name on the command line.
        description: One line for ``talos models``.
        pretrained: Tag of its weights.
        architecture: Returns the architecture's configuration, JSON-able.
        read: Returns the pre-trained tensors by ``state_dict`` key, on the CPU.
        build: Returns a backbone holding the given weights.
        skeleton: Returns the model's shape without reading any weight.
        training_defaults: Hyper-parameters of fine-tuning that suit this model: all of them under
            "", and by method those that differ.
        require: Raises ``ModelError``, saying what can be done, where the weights can be had
            neither here nor from the network; reads none. Not given: they are here.
        folder: Where the model's other files lie, if they do.
    """

    name: str
    description: str
    pretrained: str
    architecture: Callable[[], dict[str, Any]]
    read: Callable[[], dict[str, Tensor]]
    build: Callable[[BaseWeights], Backbone]
    skeleton: Callable[[], Skeleton]
    training_defaults: Mapping[str, Mapping[str, Any]]
    require: Callable[[], object] = lambda: None
    folder: Path | None = None


MODELS: Registry[ModelSpec] = Registry("model", "talos_engine.models.catalog")
