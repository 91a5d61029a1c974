"""Low-rank adapters in the folders that the library ``peft`` writes, merged into their base.

Only what can be merged exactly is: LoRA, with its scalings and patterns, and modules saved whole.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from talos_engine.artifacts import open_tensors
from talos_engine.artifacts.strict_json import read_json
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import ArtifactError, MismatchError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_FACTORS = {  # what a module's two factors are called: the one with r rows, the one with r columns
    "lora_A.weight": "lora_B.weight",
    "lora_embedding_A": "lora_embedding_B",
}
# Options that make the result something else than W + s·B·A.
_REFUSED = (
    "use_dora",
    "use_qalora",
    "lora_bias",
    "layer_replication",
    "target_parameters",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "megatron_config",
)
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")


def is_adapter(path: Path) -> bool:
    """Whether a path is a folder with an adapter of ``peft``."""
    return (path / CONFIG).is_file()


def merge_adapter(folder: Path, theta0: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A base with ``W + s·B·A`` for every adapted matrix (arXiv:2106.09685, Sec. 4.1).

    The product is taken in float64 and the sum rounded once; ``peft`` itself multiplies in the
    adapter's dtype. s is α/r, or α/√r with rank stabilization (arXiv:2312.03732).

    Args:
        folder: With ``adapter_config.json`` and ``adapter_model.safetensors``.
        theta0: The base's tensors by ``state_dict`` key.

    Raises:
        ArtifactError: the folder is none, or its adapter cannot be merged exactly.
        MismatchError: the adapter does not fit the base; the tensor is named.
    """
    config = _read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise ArtifactError(
            f"{folder} has no {WEIGHTS}",
            "save the adapter again with peft's save_pretrained(FOLDER, safe_serialization=True)",
        )
    with open_tensors(weights) as file:
        found = file.read_all()
    for key, value in found.items():
        if not is_finite(value):
            raise ArtifactError(f"{weights}: tensor {key!r} holds NaN or Inf")
    merged = dict(theta0)
    left = set(found)
    for key in sorted(found):
        end = next((end for end in _FACTORS if key.endswith("." + end)), None)
        if end is None:
            continue
        module = _plain_name(key.removesuffix("." + end))
        other = key.removesuffix(end) + _FACTORS[end]
        if other not in found:
            raise MismatchError(f"{weights}: {key!r} has no counterpart {other!r}")
        name = _find_weight(module, theta0, weights)
        down, up = found[key].double(), found[other].double()
        turned = bool(config.get("fan_in_fan_out")) or "embedding" in end
        product = _product(up, down, theta0[name].shape, turned, f"{weights}: {module!r}")
        scale = _scaling(config, module, rank=len(down), where=str(weights))
        merged[name] = (merged[name].double() + scale * product).to(theta0[name].dtype)
        left -= {key, other}
    for key in sorted(left):  # modules saved whole, and trained biases
        merged |= _saved(key, found[key], theta0, weights)
    return merged


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    config = read_json(path)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        kind = config.get("peft_type") if isinstance(config, dict) else None
        raise ArtifactError(f"{path} describes {kind or 'no adapter'}; talos merges LORA only")
    for option in _REFUSED:
        if config.get(option):
            raise ArtifactError(
                f"{path} sets {option}, so the adapter is more than a low-rank product",
                "merge it with peft's merge_and_unload() and give the merged checkpoint",
            )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_STARTS:
        raise ArtifactError(
            f"{path}: an adapter that starts from {start!r} changes its base",
            "convert it with peft's path_initial_model_for_weight_conversion",
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or not _is_number(alpha):
        raise ArtifactError(f"{path}: r and lora_alpha are not numbers")
    for option in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(option) or {}
        if not isinstance(pattern, dict) or not all(map(_is_number, pattern.values())):
            raise ArtifactError(f"{path}: {option} is not a map of numbers")
        config[option] = pattern
    return config


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _plain_name(module: str) -> str:
    """Name of a module before ``peft`` wrapped it."""
    return module.removeprefix(_PREFIX).replace(".base_layer", "")


def _scaling(config: Mapping[str, Any], module: str, *, rank: int, where: str) -> float:
    expected = config["rank_pattern"].get(_pattern(config["rank_pattern"], module), config["r"])
    if rank != expected:
        raise MismatchError(f"{where}: {module!r} has rank {rank}, its configuration {expected}")
    alpha = config["alpha_pattern"].get(
        _pattern(config["alpha_pattern"], module), config["lora_alpha"]
    )
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: Mapping[str, Any], module: str) -> str | None:
    """The first pattern that a module's name ends with, read as ``peft`` reads it."""
    for pattern in patterns:
        try:
            ending = pattern if pattern.startswith("^") else rf"(.*\.)?({pattern})$"
            if re.match(ending, module):
                return pattern
        except re.error as error:
            raise ArtifactError(f"the pattern {pattern[:80]!r} of an adapter is none") from error
    return None


def _find_weight(module: str, theta0: Mapping[str, Tensor], path: Path) -> str:
    """The one tensor that an adapted module stands for.

    The adapter's model may be a part of the base, such as its image encoder.
    """
    for end in (f"{module}.weight", f"{module}.in_proj_weight"):
        if name := _find(end, theta0):
            return name
    raise MismatchError(
        f"{path} adapts {module!r}, which the base has not, or more than once",
        "pass the model that the adapter was made for with --model",
    )


def _find(name: str, theta0: Mapping[str, Tensor]) -> str | None:
    if name in theta0:
        return name
    ends = [key for key in theta0 if key.endswith("." + name)]
    return ends[0] if len(ends) == 1 else None


def _product(up: Tensor, down: Tensor, shape: torch.Size, turned: bool, where: str) -> Tensor:
    """``B·A`` in the shape of the weight, a convolution's kernel being one row per output."""
    if up.ndim >= 2 and down.ndim >= 2 and up[0].numel() == len(down):
        product = up.flatten(1) @ down.flatten(1)
        product = product.T if turned else product
        if product.numel() == math.prod(shape) and len(product) == shape[0]:
            return product.reshape(shape)
    raise MismatchError(
        f"{where} has factors of shapes {tuple(up.shape)} and {tuple(down.shape)}, "
        f"the base's weight is {tuple(shape)}"
    )


def _saved(key: str, value: Tensor, theta0: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    name = _find(_plain_name(key).replace(".modules_to_save", ""), theta0)
    if name is None or "lora_" in key:
        raise MismatchError(f"{path}: {key!r} belongs to no tensor of the base")
    if theta0[name].shape != value.shape:
        raise MismatchError(
            f"{path}: {key!r} has shape {tuple(value.shape)}, in the base it is "
            f"{tuple(theta0[name].shape)}"
        )
    return {name: value.to(theta0[name].dtype)}
