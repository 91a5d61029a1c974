"""CLIP models of open_clip: the image encoder is edited, the text tower only makes the head."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from talos_engine.artifacts.tensors import hash_tensors
from talos_engine.errors import MismatchError
from talos_engine.models.clip_architecture import make_outline
from talos_engine.models.head_cache import MAKE_ANEW, cached_head
from talos_engine.models.linearized import LinearizedEncoder
from talos_engine.models.skeleton import Skeleton, specs_of
from talos_engine.models.spec import Backbone, BaseWeights, ImageTransform
from talos_engine.models.structure import image_encoder_structure

_NARROWEST = 500  # longer by shorter side of an image; resizing makes the shorter one the model's


class PixelScale(nn.Module):
    """Division by 255 and normalization, in the order and precision of torchvision's transforms.

    Args:
        mean: Mean of each channel, in [0, 1].
        std: Standard deviation of each channel.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Float32 images of the same shape, for uint8 ones (..., 3, height, width)."""
        return (images.float() / 255 - self.mean) / self.std


class ImageClassifier(nn.Module):
    """An image encoder with a frozen zero-shot head.

    Args:
        visual: The image tower, shared with its backbone.
        head: Normalized class embeddings, shape (classes, embed_dim).
        scale: ``logit_scale.exp()``, a 0-d tensor.
        pixels: Normalizes images that come as uint8; not given: they must not.
    """

    def __init__(
        self, visual: nn.Module, head: Tensor, scale: Tensor, pixels: PixelScale | None = None
    ) -> None:
        super().__init__()
        self.visual = visual
        self.head: Tensor
        self.scale: Tensor
        self.pixels = pixels
        self.register_buffer("head", head)
        self.register_buffer("scale", scale)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), for images of shape (batch, 3, height, width).

        Images are normalized floats, or uint8, which are normalized here: on their way to a device
        they take a quarter of the room.
        """
        if images.dtype == torch.uint8 and self.pixels is not None:
            images = self.pixels(images)
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
        check_state(model, weights.tensors)
        model.load_state_dict(dict(weights.tensors), strict=True)
        self.weights = weights
        model.eval().requires_grad_(False)
        self.model: Any = model
        visual: Any = model.visual
        self.structure = image_encoder_structure(visual)
        self.make_tokenizer = make_tokenizer

    @torch.no_grad()
    def classifier(
        self,
        class_names: Sequence[str],
        templates: Sequence[str],
        *,
        length_normalized: bool = False,  # noqa: ARG002 - classes have one score each
    ) -> ImageClassifier:
        """Zero-shot classifier: per class the normalized mean over its prompts' embeddings."""
        tokenizer = self.make_tokenizer()
        device = next(self.model.parameters()).device
        prompts = [template.format(name) for name in class_names for template in templates]
        tokens = tokenizer(prompts).view(len(class_names), len(templates), -1)
        text_tower = self._text_tower()
        if tokens.numel() * sum(value.numel() for value in text_tower.values()) < MAKE_ANEW:
            head = self._encode_classes(tokens)
        else:
            made_from = {
                "tokens": hash_tensors({"tokens": tokens}),
                "text_tower": self._text_hash,
                "architecture": self.weights.info.architecture,
            }
            head = cached_head(
                made_from, len(class_names), device, lambda: self._encode_classes(tokens)
            )
        scale = self.model.logit_scale.exp()
        config = self.model.visual.preprocess_cfg
        pixels = PixelScale(config["mean"], config["std"]).to(device)
        return ImageClassifier(self.model.visual, head, scale, pixels).eval()

    def _encode_classes(self, tokens: Tensor) -> Tensor:
        """Normalized embeddings, shape (classes, embed_dim), of (classes, templates, context)."""
        device = next(self.model.parameters()).device
        chunks = tokens.flatten(0, 1).to(device).split(256)
        encoded = [self.model.encode_text(chunk, normalize=True) for chunk in chunks]
        per_class = torch.cat(encoded).unflatten(0, tokens.shape[:2])
        return F.normalize(per_class.mean(dim=1), dim=-1)

    def _text_tower(self) -> dict[str, Tensor]:
        """Weights that a head depends on; nothing edits them."""
        apart = ("visual.", "logit_")
        return {
            name: value
            for name, value in self.weights.tensors.items()
            if not name.startswith(apart)
        }

    @functools.cached_property
    def _text_hash(self) -> str:
        return hash_tensors(self._text_tower())

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
        return ImageClassifier(encoder, classifier.head, classifier.scale, classifier.pixels).eval()

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

    def image_transform(self) -> ImageTransform:
        """Open_clip's own preprocessing for evaluation, without its last two steps.

        Resizing of the shorter side (bicubic, antialiased), centre crop and RGB, unless the model's
        ``preprocess_cfg`` says otherwise; bit for bit what open_clip feeds to the last two steps.
        """
        from open_clip.transform import PreprocessCfg, image_transform_v2

        config = dict(self.model.visual.preprocess_cfg)
        height, width = _pair(config["size"])
        *steps, _to_tensor, _normalize = image_transform_v2(
            PreprocessCfg(**config), is_train=False
        ).transforms

        def apply(image: Image.Image) -> NDArray[np.uint8]:
            if max(image.size) > _NARROWEST * min(image.size):
                raise ValueError("it is too narrow: resized it would need gigabytes")
            for step in steps:
                image = step(image)
            pixels: NDArray[np.uint8] = np.asarray(image, dtype=np.uint8)  # (height, width, 3)
            return np.ascontiguousarray(pixels.transpose(2, 0, 1))

        kept = {name: value for name, value in config.items() if name not in ("mean", "std")}
        return ImageTransform({"open_clip": kept}, (3, height, width), apply)

    def encoder_state(self) -> dict[str, Tensor]:
        """The encoder's parameters by ``state_dict`` key, not copied."""
        return {f"visual.{name}": value for name, value in self.model.visual.named_parameters()}

    def to(self, device: torch.device) -> None:
        """Move the model to a device."""
        self.model.to(device)


def outline(config: Mapping[str, Any], name: str = "the model") -> Skeleton:
    """The shape of the CLIP model that this ``model_cfg`` of open_clip describes.

    Raises:
        ModelError: it describes none.
    """
    model: Any = make_outline({"model_cfg": config}, name)
    visual: Any = model.visual.eval()
    height, width = _pair(visual.image_size)
    specs = specs_of(model.state_dict())
    return Skeleton(image_encoder_structure(visual), specs, visual, (3, height, width))


def check_state(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless tensors are exactly a model's, which may live on the meta device.

    Raises:
        MismatchError: a name, shape or dtype differs; it is named.
    """
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
