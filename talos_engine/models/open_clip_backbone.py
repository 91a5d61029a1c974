"""CLIP models of open_clip: the image encoder is edited, the text tower only makes the head."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from talos_engine.errors import MismatchError
from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import Backbone, BaseWeights
from talos_engine.models.structure import image_encoder_structure


class ImageClassifier(nn.Module):
    """An image encoder with a frozen zero-shot head.

    Args:
        visual: The image tower, shared with its backbone.
        head: Normalized class embeddings, shape (classes, embed_dim).
        scale: ``logit_scale.exp()``, a 0-d tensor.
    """

    def __init__(self, visual: nn.Module, head: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.visual = visual
        self.head: Tensor
        self.scale: Tensor
        self.register_buffer("head", head)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), for images of shape (batch, 3, height, width)."""
        features = F.normalize(self.visual(images), dim=-1)  # (batch, embed_dim)
        return self.scale * features @ self.head.T


class OpenClipBackbone(Backbone):
    """A CLIP model made by open_clip's factory, holding given weights.

    Args:
        weights: All tensors of the model's ``state_dict``.
        model: The module, as ``open_clip.create_model`` returns it.
        make_tokenizer: Returns the tokenizer; called when a head is first needed.

    Raises:
        MismatchError: the weights' names, shapes or dtypes are not the model's.
    """

    def __init__(
        self, weights: BaseWeights, model: nn.Module, make_tokenizer: Callable[[], Any]
    ) -> None:
        _check_state(model, weights.tensors)
        model.load_state_dict(dict(weights.tensors), strict=True)
        self.weights = weights
        model.eval().requires_grad_(False)
        self.model: Any = model
        visual: Any = model.visual
        self.structure = image_encoder_structure(visual)
        self._make_tokenizer = make_tokenizer

    @torch.no_grad()
    def classifier(self, class_names: Sequence[str], templates: Sequence[str]) -> ImageClassifier:
        """Zero-shot classifier: per class the normalized mean over its prompts' embeddings."""
        tokenizer = self._make_tokenizer()
        device = next(self.model.parameters()).device
        prompts = [template.format(name) for name in class_names for template in templates]
        tokens = tokenizer(prompts).to(device)  # (classes * templates, context)
        encoded = [self.model.encode_text(chunk, normalize=True) for chunk in tokens.split(256)]
        per_class = torch.cat(encoded).unflatten(0, (len(class_names), len(templates)))
        head = F.normalize(per_class.mean(dim=1), dim=-1)  # (classes, embed_dim)
        scale = self.model.logit_scale.exp()
        return ImageClassifier(self.model.visual, head, scale).eval()

    def linearize(self, classifier: nn.Module) -> ImageClassifier:
        """The same head over the image encoder's features linearized at θ0.

        The features are linear in τ; the logits are not, since the head normalizes.
        """
        assert isinstance(classifier, ImageClassifier)
        prefix = "visual."
        theta0 = {
            name.removeprefix(prefix): value
            for name, value in self.weights.tensors.items()
            if name in self.structure.shapes
        }
        encoder = LinearizedEncoder(classifier.visual, theta0)
        return ImageClassifier(encoder, classifier.head, classifier.scale).eval()

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        """Normalized images, float32 of shape (n, 3, size, size)."""
        config = self.model.visual.preprocess_cfg
        height, width = _pair(config["size"])
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255
        if pixels.shape[2:] != (height, width):
            pixels = F.interpolate(
                pixels, (height, width), mode="bicubic", antialias=True, align_corners=False
            ).clamp_(0, 1)
        mean = torch.tensor(config["mean"]).view(3, 1, 1)
        std = torch.tensor(config["std"]).view(3, 1, 1)
        return (pixels - mean) / std

    @torch.no_grad()
    def set_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Overwrite the encoder's parameters in place."""
        for name, parameter in self.encoder_state().items():
            if name in tensors:
                parameter.copy_(tensors[name])

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's parameters by ``state_dict`` key, not copied."""
        return {f"visual.{name}": value for name, value in self.model.visual.named_parameters()}

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self.model.to(device)


def outline(config: Mapping[str, Any]) -> Skeleton:
    """The shape of the CLIP model that this open_clip configuration describes."""
    import open_clip

    with torch.device("meta"):
        model = open_clip.CLIP(**config)
    visual: Any = model.visual.eval()
    height, width = _pair(visual.image_size)
    total = sum(tensor.numel() for tensor in model.state_dict().values())
    return Skeleton(image_encoder_structure(visual), total, visual, (3, height, width))


def _check_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    expected = {
        name: (tuple(value.shape), value.dtype) for name, value in model.state_dict().items()
    }
    found = {name: (tuple(value.shape), value.dtype) for name, value in tensors.items()}
    if expected == found:
        return
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise MismatchError(
                f"weights do not fit the architecture at {name!r}: "
                f"expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
            )


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
