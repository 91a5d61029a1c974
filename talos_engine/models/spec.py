"""What a model is: where its weights come from and what a backbone offers to the rooms above."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from talos_engine.artifacts import BaseInfo
from talos_engine.errors import OptionError
from talos_engine.kinds import IMAGES, TEXTS
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.structure import EncoderStructure
from talos_engine.registry import Registry

__all__ = [
    "IMAGES",
    "MODELS",
    "TEXTS",
    "Backbone",
    "BaseWeights",
    "ImageTransform",
    "ModelFamily",
    "ModelSpec",
    "MODEL_FAMILIES",
]


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
    """A model whose encoder is edited, and the classifiers that share that encoder.

    Attributes:
        kind: Kind of examples that it takes: ``IMAGES`` or ``TEXTS``.
    """

    kind: str = IMAGES
    weights: BaseWeights
    structure: EncoderStructure

    @abstractmethod
    def classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        *,
        length_normalized: bool = False,
    ) -> nn.Module:
        """A module mapping prepared inputs to logits, shape (batch, classes).

        Names of its parameters are keys of the model's ``state_dict``. All classifiers of one
        backbone share the encoder; the head is frozen and belongs to the pre-trained model.

        Args:
            class_names: The classes, where examples do not bring their own answers.
            templates: Prompts for them.
            length_normalized: Score answers by their log-probability per token, where answers
                have tokens.
        """

    def linearize(self, classifier: nn.Module) -> nn.Module:
        """A classifier of this backbone with its encoder linearized at θ0; the head stays.

        Raises:
            OptionError: this kind of model has no linearization.
        """
        what = f"the {type(classifier).__name__} of {self.weights.info.name}"
        raise OptionError(f"{what} cannot be linearized")

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:  # noqa: ARG002
        """Model inputs, float32 of shape (n, 3, size, size), for uint8 (n, height, width, 3).

        Raises:
            OptionError: this kind of model takes no images.
        """
        raise OptionError(f"{self.weights.info.name} takes no images")

    def encode_texts(
        self,
        texts: Sequence[str],  # noqa: ARG002
        choices: Sequence[Sequence[str]],  # noqa: ARG002
        note_cut: Callable[[int], None] | None = None,  # noqa: ARG002
    ) -> Tensor:
        """Model inputs, int64 of shape (n, ...), for texts with the answers of each.

        Args:
            texts: What the model reads.
            choices: The answers of each.
            note_cut: Told how many of the examples are too long for the model and cut.

        Raises:
            MismatchError: two answers of an example are the same for the model.
            OptionError: this kind of model takes no texts.
        """
        raise OptionError(f"{self.weights.info.name} takes no texts")

    def image_transform(self) -> ImageTransform:
        """What images of any size go through before ``prepare`` would take them.

        The classifiers of this backbone take its results, uint8, as well as what ``prepare`` gives.

        Raises:
            OptionError: this kind of model takes no images.
        """
        raise OptionError(f"{self.weights.info.name} takes no images")

    @torch.no_grad()
    def set_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the encoder's parameters in place; names not given keep their values."""
        for name, parameter in self.encoder_state().items():
            if name in tensors:
                parameter.copy_(tensors[name])

    @abstractmethod
    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's current parameters (not copied), by ``state_dict`` key."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move the model to a device."""


Adopt: TypeAlias = Callable[
    [Path, dict[str, Tensor], Mapping[str, Tensor]], tuple[dict[str, Tensor], tuple[str, ...]]
]
"""See ``ModelSpec.adopt``."""


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
        folder: Returns where the model's other files lie, downloaded if need be; ``None``: nowhere.
        kind: Kind of examples that it takes: ``IMAGES`` or ``TEXTS``.
        adopt: Brings a fine-tuned model that other tools wrote under the names and into the layouts
            of θ0, given its file (for messages), its tensors and θ0; with notes for people. Not
            given: they are the model's own.
        package: Writes what its library wants to find beside the weights, given the model's own
            folder and the new one: then checkpoints are folders. Not given: they are files.
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
    folder: Callable[[], Path | None] = lambda: None
    kind: str = IMAGES
    adopt: Adopt | None = None
    package: Callable[[Path, Path], object] | None = None


@dataclass(frozen=True)
class ModelFamily:
    """A library's models, made into specs on the fly.

    Args:
        name: Name of the family.
        named: The model of a name with weights as ``--pretrained`` names them; ``None`` where the
            family knows none of that name.
        is_folder: Whether a path is a folder with a model of this family.
        from_folder: The model in such a folder.
        recorded: The model that an artifact records, with weights as ``--pretrained`` names them;
            ``None`` where it is not of this family.
        model_type: What ``transformers`` calls such models in ``config.json``.
        from_hub: The model of that type in a repository, by its name and a revision.
    """

    name: str
    named: Callable[[str, str | None], ModelSpec | None]
    is_folder: Callable[[Path], bool]
    from_folder: Callable[[Path], ModelSpec]
    recorded: Callable[[BaseInfo, str | None], ModelSpec | None]
    model_type: str
    from_hub: Callable[[str, str], ModelSpec]


MODEL_FAMILIES: Registry[ModelFamily] = Registry("model family", "talos_engine.models.families")
MODELS: Registry[ModelSpec] = Registry("model", "talos_engine.models.catalog")
