"""A CLIP model of a configuration and a way to its weights, as ``ModelSpec``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.models import clip_weights
from talos_engine.models.clip_architecture import (
    check_config,
    make_module,
    make_outline,
    make_tokenizer,
)
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import Backbone, BaseWeights, ModelSpec

TRAINING_DEFAULTS = {  # of the paper and its authors' code, for ViTs
    "": {
        "steps": 2000,
        "batch_size": 128,
        "lr": 1e-5,
        "weight_decay": 0.1,
        "warmup": 200,
        "schedule": "cosine",
        "clip": 1.0,
    }
}


def make_spec(
    name: str,
    tag_name: str,
    config: Mapping[str, Any],
    *,
    locate: Callable[[], Path],
    require: Callable[[], object] = lambda: None,
    folder: Callable[[], Path | None] = lambda: None,
) -> ModelSpec:
    """A spec of this configuration.

    Args:
        name: The model's name.
        tag_name: What is recorded as its tag.
        config: Its configuration.
        locate: Gives the weights file, downloaded if need be.
        require: Raises where it cannot be had.
        folder: Where the model's other files lie.

    Raises:
        ModelError: talos cannot build what the configuration describes.
    """
    check_config(config, name)

    def read() -> dict[str, Tensor]:
        return clip_weights.read_weights(locate(), make_outline(config, name).state_dict())

    def build(weights: BaseWeights) -> Backbone:
        from talos_engine.models.open_clip_backbone import OpenClipBackbone, check_state

        # Nothing is allocated for a configuration that is larger than the weights at hand.
        check_state(make_outline(config, name), weights.tensors)
        return OpenClipBackbone(
            weights,
            make_module(config, name),
            lambda: make_tokenizer(config, name, weights.folder),
        )

    def skeleton() -> Skeleton:
        from talos_engine.models.open_clip_backbone import outline

        return outline(config["model_cfg"], name)

    return ModelSpec(
        name=name,
        description="a CLIP model of open_clip",
        pretrained=tag_name,
        architecture=lambda: copy.deepcopy(dict(config)),
        read=read,
        build=build,
        skeleton=skeleton,
        training_defaults=TRAINING_DEFAULTS,
        require=require,
        folder=folder,
        adopt=clip_weights.adopt,
    )
