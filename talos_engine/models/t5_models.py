"""T5 models by hub id, short name or folder, as ``ModelSpec`` made on the fly."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import BaseInfo
from talos_engine.errors import OptionError
from talos_engine.models.hub_folder import NEWEST, HubFolder
from talos_engine.models.names import (
    CHECKPOINT,
    FOLDER,
    FOLDER_PREFIX,
    T5_NAMES,
    is_hub_id,
)
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import TEXTS, Backbone, BaseWeights, ModelSpec
from talos_engine.models.t5_architecture import (
    CONFIG_FILE,
    companion_files,
    is_t5_architecture,
    make_architecture,
    make_tokenizer,
    read_config,
)
from talos_engine.models.t5_weights import adopt, read_weights, weight_names, weights_files

TRAINING_DEFAULTS = {  # of the paper and its authors' code
    "": {
        "steps": 75_000,
        "batch_size": 32,
        "grad_accum": 32,
        "lr": 1e-4,
        "weight_decay": 0.0,
        "warmup": 0,
        "schedule": "constant",
        "clip": 0.0,
        "early_stop": 5,
    }
}


def named_spec(name: str, pretrained: str | None) -> ModelSpec | None:
    """The T5 model of a short name, or of a repository that has one; ``None`` for others.

    Args:
        name: ``t5-small``, ``t5-base`` or ``t5-large``, or the name of that repository.
        pretrained: A commit, tag or branch of the repository; ``None`` takes the newest.
    """
    repo = T5_NAMES.get(name, name)
    if repo not in T5_NAMES.values() or Path(name).exists():
        return None
    return hub_spec(repo, pretrained or NEWEST)


def folder_spec(folder: Path) -> ModelSpec:
    """The T5 model in a folder that ``save_pretrained`` has written.

    Raises:
        ModelError: the folder holds none that talos can run.
    """
    read_config(folder)
    return make_spec(f"{FOLDER_PREFIX}{folder.resolve().name}", FOLDER, lambda: folder)


def recorded_spec(base: BaseInfo, pretrained: str | None) -> ModelSpec | None:
    """The T5 model that an artifact records, of exactly the recorded architecture.

    ``None`` if it records another kind of model.

    Args:
        base: What the artifact records.
        pretrained: Where its weights are, if the user says: the model's folder, or a revision of
            its repository. ``None``: where the recorded name says.
    """
    if not is_t5_architecture(base.architecture):
        return None
    architecture = dict(base.architecture)
    if pretrained is not None and Path(pretrained).is_dir():
        folder = Path(pretrained)
        return make_spec(base.name, base.pretrained, lambda: folder, architecture=architecture)
    if is_hub_id(base.name) and base.pretrained != CHECKPOINT:
        return hub_spec(base.name, pretrained or base.pretrained, architecture)

    def locate() -> Path:
        came = "a checkpoint" if base.pretrained == CHECKPOINT else "a folder"
        raise OptionError(
            f"the base is {base.name} with weights that came from {came}",
            "pass that folder with --model FOLDER",
        )

    return make_spec(base.name, base.pretrained, locate, require=locate, architecture=architecture)


def make_spec(
    name: str,
    tag: str,
    locate: Callable[[], Path],
    *,
    description: str = "a T5 model of transformers",
    require: Callable[[], object] = lambda: None,
    architecture: Mapping[str, Any] | None = None,
    training_defaults: Mapping[str, Mapping[str, Any]] = TRAINING_DEFAULTS,
) -> ModelSpec:
    """The T5 model in a folder, under a name of its own.

    Args:
        name: What is recorded as its name.
        tag: What is recorded as the tag of its weights.
        locate: Gives the folder with configuration, tokenizer and weights, downloaded if need be.
        description: One line for ``talos models``.
        require: Raises where the folder cannot be had.
        architecture: Its configuration as recorded; ``None`` reads it from the folder.
        training_defaults: As in ``ModelSpec``.
    """

    @functools.cache
    def configured() -> dict[str, Any]:
        if architecture is not None:
            return dict(architecture)
        folder = locate()
        return make_architecture(read_config(folder), weight_names(folder), str(folder))

    def read() -> dict[str, Tensor]:
        from talos_engine.models.t5_backbone import parameters_of

        return read_weights(locate(), parameters_of(configured(), name))

    def build(weights: BaseWeights) -> Backbone:
        from talos_engine.models.t5_backbone import T5Backbone

        return T5Backbone(weights, lambda: make_tokenizer(weights.folder, name))

    def skeleton() -> Skeleton:
        from talos_engine.models.t5_backbone import outline

        return outline(configured(), name)

    return ModelSpec(
        name=name,
        description=description,
        pretrained=tag,
        architecture=lambda: dict(configured()),
        read=read,
        build=build,
        skeleton=skeleton,
        training_defaults=training_defaults,
        require=require,
        folder=locate,
        kind=TEXTS,
        adopt=adopt,
        package=write_companions,
    )


def write_companions(folder: Path, target: Path) -> None:
    """Write what ``from_pretrained`` needs beside the weights: configuration and tokenizer.

    Args:
        folder: Of the model that the new one was made from.
        target: Of the new one, whose weights are float32.
    """
    config = read_config(folder)
    for key in ("dtype", "torch_dtype"):
        if key in config:
            config[key] = "float32"
    text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False)
    (target / CONFIG_FILE).write_text(f"{text}\n", encoding="utf-8")
    for path in companion_files(folder):
        shutil.copyfile(path, target / path.name)


def hub_spec(repo: str, revision: str, architecture: Mapping[str, Any] | None = None) -> ModelSpec:
    """The T5 model in a repository on the Hugging Face Hub; nothing is read of it yet.

    Args:
        repo: ``OWNER/NAME``.
        revision: A commit, tag or branch.
        architecture: Its configuration as recorded, where it is.
    """
    place = _hub_folder(repo, revision)
    return make_spec(
        repo,
        revision,
        functools.cache(place.locate),
        require=place.require,
        architecture=architecture,
    )


def find_cached(repo: str, revision: str = NEWEST) -> Path | None:
    """The folder of a repository in the hub's cache that has configuration and weights."""
    return _hub_folder(repo, revision).find()


def _hub_folder(repo: str, revision: str) -> HubFolder:
    return HubFolder(
        repo,
        revision,
        CONFIG_FILE,
        weights_files,
        ("model*.safetensors", "pytorch_model*.bin"),  # pickles where there is nothing else
        "a folder that save_pretrained has written, with --model FOLDER",
        "tiny-t5",
        read_config,
    )
