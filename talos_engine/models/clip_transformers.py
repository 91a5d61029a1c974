"""Weights of CLIP models between the names and layouts of open_clip and those of transformers.

Both describe one network. transformers keeps query, key and value apart where open_clip has one
fused matrix, and stores both projections transposed. Nothing is computed with the weights, so
there and back gives the same bits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from talos_engine.errors import MismatchError, ModelError, first_line

_NAMES = {  # open_clip: transformers
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "text_projection": "text_projection.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "visual.proj": "visual_projection.weight",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = ("text_projection", "visual.proj")
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.(weight|bias)")
_FUSED = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)")
_MODULES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_MARKS = ("text_model.", "vision_model.")
_IGNORED = re.compile(r".*\.position_ids")  # buffers that older versions saved


@dataclass(frozen=True)
class Place:
    """Where transformers keeps a tensor of open_clip.

    Args:
        names: Its names; several hold the row blocks in this order.
        transposed: Whether it lies there transposed.
    """

    names: tuple[str, ...]
    transposed: bool = False


def find_place(name: str) -> Place:
    """Where transformers keeps the tensor that open_clip calls ``name``.

    Raises:
        ModelError: its CLIPModel has no such tensor.
    """
    name = name.removeprefix("text.")  # of models whose text tower is a module of its own
    if name in _NAMES:
        return Place((_NAMES[name],), name in _TRANSPOSED)
    fused, inner = _FUSED.fullmatch(name), _BLOCK.fullmatch(name)
    if fused:
        block = _block(fused)
        return Place(tuple(f"{block}.self_attn.{role}_proj.{fused.group(3)}" for role in "qkv"))
    if inner and inner.group(3) in _MODULES:
        return Place((f"{_block(inner)}.{_MODULES[inner.group(3)]}.{inner.group(4)}",))
    raise ModelError(f"the CLIPModel of transformers has no place for {name!r}")


def _block(found: re.Match[str]) -> str:
    return f"{'vision' if found.group(1) else 'text'}_model.encoder.layers.{found.group(2)}"


def to_transformers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an open_clip model under the names and in the layouts of transformers.

    Args:
        tensors: An open_clip ``state_dict``.

    Raises:
        ModelError: transformers' CLIPModel has no place for one.
    """
    return {
        there: piece
        for name, value in tensors.items()
        for there, piece in to_layout(name, value).items()
    }


def to_layout(name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor of open_clip as the one or three that transformers has for it.

    Raises:
        ModelError: transformers' CLIPModel has no place for it.
    """
    place = find_place(name)
    turned = value.T if place.transposed else value
    pieces = turned.chunk(len(place.names)) if len(place.names) > 1 else (turned,)
    return {there: piece.contiguous() for there, piece in zip(place.names, pieces, strict=True)}


def is_transformers_state(names: Mapping[str, Tensor]) -> bool:
    """Whether tensors are named as those of transformers' CLIPModel."""
    return all(any(name.startswith(mark) for name in names) for mark in _MARKS)


def from_transformers(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """The tensors of a CLIPModel under the names and in the layouts of open_clip.

    Args:
        tensors: A ``state_dict`` of transformers.
        expected: The model's ``state_dict`` in open_clip; values may live on the meta device.
        where: What is read, for messages.

    Raises:
        MismatchError: a tensor is missing, is left over or has no layout that fits.
    """
    left = {name for name in tensors if not _IGNORED.fullmatch(name)}
    made: dict[str, Tensor] = {}
    for name in expected:
        place = find_place(name)
        missing = [there for there in place.names if there not in tensors]
        if missing:
            raise MismatchError(f"{where} does not fit: {missing[0]!r} is missing")
        pieces = [tensors[there] for there in place.names]
        try:
            whole = torch.cat(pieces) if len(pieces) > 1 else pieces[0]
        except RuntimeError as error:
            raise MismatchError(
                f"{where} does not fit at {place.names[0]!r}: {first_line(error)}"
            ) from error
        made[name] = whole.T.contiguous() if place.transposed and whole.ndim == 2 else whole
        left.difference_update(place.names)
    if left:
        raise MismatchError(f"{where} does not fit: the model has no {sorted(left)[0]!r}")
    return made
