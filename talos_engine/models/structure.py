"""Which parameters an encoder has: trainable, maskable, of which kind, in which layer.

Maskable are weights and biases of Linear, attention, LayerNorm and Conv modules (App. A.2 of
arXiv:2504.02620). Embeddings and the final projection are trainable but never masked or ranked.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from talos_engine.errors import OptionError

KINDS = ("q", "k", "v", "o", "mlp_in", "mlp_out", "linear", "ln", "conv")
_LINEAR_KINDS = {
    "c_fc": "mlp_in",
    "c_proj": "mlp_out",
    "out_proj": "o",
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
}
_POOLING = ".attnpool."  # of ResNets: plain attention, whose last projection is called c_proj
_T5_KINDS = {
    "q": "q",
    "k": "k",
    "v": "v",
    "o": "o",
    "wi": "mlp_in",
    "wi_0": "mlp_in",
    "wi_1": "mlp_in",
    "wo": "mlp_out",
    "layer_norm": "ln",
    "final_layer_norm": "ln",
}


@dataclass(frozen=True)
class ParameterGroup:
    """A block of rows of one parameter that plays one role.

    Args:
        name: Key of the parameter in the model's ``state_dict``.
        kind: One of ``KINDS``.
        layer: Index of the transformer block, -1 outside the blocks.
        is_bias: Whether the parameter is a bias.
        start: First row (index along dimension 0).
        stop: One past the last row.
        shift_invariant: The outputs do not depend on these entries at all, as for key biases.
    """

    name: str
    kind: str
    layer: int
    is_bias: bool
    start: int
    stop: int
    shift_invariant: bool = False

    @property
    def label(self) -> str:
        """``NAME#KIND``, what ``--exclude`` patterns are matched against."""
        return f"{self.name}#{self.kind}"


@dataclass(frozen=True)
class EncoderStructure:
    """The parameters of an encoder.

    Args:
        trainable: Every parameter of the encoder, in module order.
        shapes: Shape of every trainable parameter.
        groups: Groups of the maskable parameters, in module order.
    """

    trainable: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    groups: tuple[ParameterGroup, ...]

    @property
    def maskable(self) -> tuple[str, ...]:
        """Names of the maskable parameters, in module order; the order of ranking."""
        return tuple(dict.fromkeys(group.name for group in self.groups))

    def candidates(self, exclude: Sequence[str] = ()) -> dict[str, Tensor]:
        """Entries that may be selected: bool tensors in the shape of each maskable parameter.

        Args:
            exclude: Glob patterns over parameter names and group labels (``*#k`` is all of the key
                projections, ``*in_proj_bias#k`` the key biases).

        Raises:
            OptionError: a pattern matches nothing, or everything is excluded.
        """
        chosen = {name: torch.ones(self.shapes[name], dtype=torch.bool) for name in self.maskable}
        for pattern in exclude:
            hits = [
                group
                for group in self.groups
                if fnmatch.fnmatchcase(group.name, pattern)
                or fnmatch.fnmatchcase(group.label, pattern)
            ]
            if not hits:
                raise OptionError(
                    f"--exclude {pattern!r} matches no maskable parameter",
                    f"names look like {self.groups[0].label!r}",
                )
            for group in hits:
                chosen[group.name][group.start : group.stop] = False
        if not any(bool(flags.any()) for flags in chosen.values()):
            raise OptionError("--exclude leaves nothing to select")
        return chosen


def image_encoder_structure(visual: nn.Module, prefix: str = "visual.") -> EncoderStructure:
    """The structure of an open_clip image encoder.

    Args:
        visual: The image tower; its attention modules are ``nn.MultiheadAttention``.
        prefix: What precedes the tower's parameter names in the model's ``state_dict``.
    """
    shapes = {prefix + name: tuple(value.shape) for name, value in visual.named_parameters()}
    groups = {
        group.name + group.kind: group
        for module_name, module in visual.named_modules()
        for group in _module_groups(f"{prefix}{module_name}.", module)
    }
    ordered = sorted(groups.values(), key=lambda group: list(shapes).index(group.name))
    return EncoderStructure(tuple(shapes), shapes, tuple(ordered))


def t5_structure(model: nn.Module, prefix: str = "") -> EncoderStructure:
    """The structure of a T5 model: attention, feed-forward and normalization layers are maskable.

    Embeddings, relative attention biases and ``lm_head`` are trainable only. Decoder blocks count
    on from the last encoder block.

    Args:
        model: A ``transformers`` ``T5ForConditionalGeneration``.
        prefix: What precedes its parameter names.
    """
    own = dict(model.named_parameters())
    shapes = {prefix + name: tuple(value.shape) for name, value in own.items()}
    blocks = re.compile(r"encoder\.block\.(\d+)\.")
    depth = 1 + max(int(found.group(1)) for found in map(blocks.match, own) if found)
    groups = []
    for name, value in own.items():
        parts = name.split(".")
        kind = _T5_KINDS.get(parts[-2])
        if kind is None or parts[-1] != "weight":
            continue
        layer = -1
        if parts[1] == "block":
            layer = int(parts[2]) + (depth if parts[0] == "decoder" else 0)
        groups.append(ParameterGroup(prefix + name, kind, layer, False, 0, value.shape[0]))
    return EncoderStructure(tuple(shapes), shapes, tuple(groups))


def _module_groups(path: str, module: nn.Module) -> Iterator[ParameterGroup]:
    found = re.search(r"\.(?:resblocks|blocks|layers?)\.(\d+)\.", path)
    layer = int(found.group(1)) if found else -1
    if isinstance(module, nn.MultiheadAttention):
        width = module.embed_dim
        for row, kind in enumerate(("q", "k", "v")):
            start, stop = row * width, (row + 1) * width
            yield ParameterGroup(f"{path}in_proj_weight", kind, layer, False, start, stop)
            yield ParameterGroup(
                f"{path}in_proj_bias", kind, layer, True, start, stop, shift_invariant=kind == "k"
            )
        return
    leaf = path.rstrip(".").rsplit(".", 1)[-1]
    if isinstance(module, nn.Linear):
        pools = _POOLING in f".{path}" and leaf == "c_proj"
        kind = "o" if pools else _LINEAR_KINDS.get(leaf, "linear")
    elif isinstance(module, nn.LayerNorm):
        kind = "ln"
    elif isinstance(module, nn.Conv2d):
        kind = "conv"
    else:
        return
    for suffix in ("weight", "bias"):
        value = getattr(module, suffix, None)
        if isinstance(value, Tensor):
            rows = value.shape[0]
            unmoved = suffix == "bias" and kind == "k" and _POOLING in f".{path}"
            yield ParameterGroup(
                f"{path}{suffix}", kind, layer, suffix == "bias", 0, rows, shift_invariant=unmoved
            )
