"""``peft``: a LoRA adapter for transformers' CLIPModel of the base, where the change is low-rank.

The factors come from a singular value decomposition of every changed projection in float64, with
the smallest rank that gives the weights back to within their own rounding. So it does not matter
how the change came to be: an l-lora vector, a multiple, or a sum of some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import write_json
from talos_engine.errors import ModelError
from talos_engine.models.clip_transformers import to_layout
from talos_engine.models.clip_transformers_config import make_clip_config
from talos_engine.models.exporting import (
    CLIP,
    EXPORTERS,
    ExporterEntry,
    ExportSource,
    write_weights,
)

ROUNDINGS = 4
"""How far from a weight the sum may be, in units of the spacing at the largest weight."""
_LINEAR = re.compile(r".*\.(?:self_attn\.(?:q|k|v|out)_proj|mlp\.fc[12])\.weight|\w+_projection.*")
_HINT = "--to open_clip or --to transformers takes every change, as a whole model"


def write_adapter(source: ExportSource, folder: Path) -> str:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``; all of one rank.

    Raises:
        ModelError: something changed that LoRA has no place for, or not by a low rank.
    """
    assert source.base is not None
    info = source.weights.info
    make_clip_config(info.architecture, info.name)  # raises where there is no such CLIPModel
    factors = find_factors(source.base.tensors, source.weights.tensors)
    rank = max(a.shape[0] for a, _ in factors.values())
    tensors: dict[str, Tensor] = {}
    for name, (a, b) in factors.items():
        missing = rank - a.shape[0]  # rows and columns of zeros change nothing
        path = f"base_model.model.{name}"
        tensors[f"{path}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, missing))
        tensors[f"{path}.lora_B.weight"] = torch.nn.functional.pad(b, (0, missing))
    settings = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": rank,  # the scale is lora_alpha / r
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "target_modules": sorted(factors),
    }
    write_json(folder / "adapter_config.json", settings, force=False)
    write_weights(folder / "adapter_model.safetensors", tensors)
    return 'peft.PeftModel.from_pretrained(transformers.CLIPModel of the base, "FOLDER")'


def find_factors(
    theta0: Mapping[str, Tensor], theta: Mapping[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of every projection that changed, by its module's name in transformers.

    Args:
        theta0: The base, an open_clip ``state_dict``.
        theta: The edited model.

    Raises:
        ModelError: see ``write_adapter``; the tensor is named.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, start in theta0.items():
        if torch.equal(start, theta[name]):
            continue
        pairs = zip(
            to_layout(name, start).items(), to_layout(name, theta[name]).values(), strict=True
        )
        for (there, before), after in pairs:
            if torch.equal(before, after):
                continue
            if not _LINEAR.fullmatch(there):
                raise ModelError(
                    f"{name!r} changed, and a LoRA adapter only changes projections", _HINT
                )
            found[there.removesuffix(".weight")] = _factor(there, before, after)
    if not found:
        raise ModelError("the model is its base, so there is nothing for an adapter to hold")
    return found


def _factor(name: str, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """A, shape (rank, columns), and B, (rows, rank), of the smallest rank that is exact enough."""
    change = after.double() - before.double()
    allowed = ROUNDINGS * torch.finfo(after.dtype).eps * float(after.abs().max())
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    rows, columns = change.shape
    low, high = 0, len(values)  # the answer lies in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        miss = change - (left[:, :middle] * values[:middle]) @ right[:middle]
        low, high = (low, middle) if float(miss.abs().max()) <= allowed else (middle, high)
    if high * (rows + columns) >= rows * columns:
        raise ModelError(
            f"the change of {name!r} is not low-rank: it takes rank {high} of {len(values)}", _HINT
        )
    root = values[:high].sqrt()
    a, b = (root[:, None] * right[:high]).float(), (left[:, :high] * root).float()
    return a.contiguous(), b.contiguous()


EXPORTERS.register("peft")(ExporterEntry("peft", {CLIP: write_adapter}, needs_base=True))
