"""``tiny-clip``: the embedded CLIP whose weights ship with this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.models.clip_weights import adopt
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import MODELS, Backbone, BaseWeights, ModelSpec

FOLDER = Path(__file__).parent.parent / "tiny_clip"


_SHARED = {
    "steps": 120,
    "batch_size": 64,
    "weight_decay": 0.0,
    "warmup": 12,
    "schedule": "cosine",
    "clip": 1.0,
}


def _architecture() -> dict[str, Any]:
    config: dict[str, Any] = json.loads((FOLDER / "open_clip_config.json").read_text("utf-8"))
    return config


def _read() -> dict[str, Tensor]:
    from safetensors.torch import load_file

    stored = load_file(FOLDER / "open_clip_model.safetensors")
    return {name: tensor.float() for name, tensor in stored.items()}


def _build(weights: BaseWeights) -> Backbone:
    import open_clip

    from talos_engine.models.open_clip_backbone import OpenClipBackbone

    source = f"local-dir:{FOLDER}"
    model = open_clip.create_model(source)
    return OpenClipBackbone(weights, model, lambda: open_clip.get_tokenizer(source))


def _skeleton() -> Skeleton:
    from talos_engine.models.open_clip_backbone import outline

    config = _architecture()
    return outline(config["model_cfg"])


MODELS.register("tiny-clip")(
    ModelSpec(
        name="tiny-clip",
        description="small CLIP pre-trained by this project on procedural and scanned images",
        pretrained="embedded",
        architecture=_architecture,
        read=_read,
        build=_build,
        skeleton=_skeleton,
        adopt=adopt,
        training_defaults={
            "": {**_SHARED, "lr": 1e-3},
            "talos": {"lr": 1e-2},
            "lota": {"lr": 3e-3},
            "linearized": {"lr": 1e-3},
            "l-lora": {"lr": 1e-2},
        },
    )
)
