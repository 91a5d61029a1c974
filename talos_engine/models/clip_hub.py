"""CLIP models by the name of their repository on the Hugging Face Hub.

``hf-hub:OWNER/NAME`` has open_clip's files, ``OWNER/NAME`` those of transformers' CLIPModel.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talos_engine.errors import OptionError
from talos_engine.models.clip_architecture import (
    CONFIG_FILE,
    check_config,
    folder_config,
    make_config,
)
from talos_engine.models.clip_specs import make_spec
from talos_engine.models.clip_transformers_config import CONFIG_FILE as SAVED_CONFIG
from talos_engine.models.clip_transformers_config import PREPROCESSING_FILE, read_clip_config
from talos_engine.models.clip_weights import (
    HUB_WEIGHTS,
    SAVED_WEIGHTS,
    folder_weights,
    saved_weights,
)
from talos_engine.models.hub_folder import NEWEST, HubFolder, check_revision
from talos_engine.models.names import HUB_PREFIX, is_hub_id
from talos_engine.models.spec import ModelSpec


def hub_spec(
    name: str, pretrained: str | None, recorded: Mapping[str, Any] | None = None
) -> ModelSpec:
    """The model of open_clip in a repository.

    Its configuration is read at once: without it nothing of the model is known.

    Args:
        name: ``hf-hub:OWNER/NAME``.
        pretrained: A commit, tag or branch of the repository; ``None`` takes the newest.
        recorded: The configuration, where an artifact has it.

    Raises:
        OptionError: the name is none, or ``pretrained`` is a path.
        ModelError: the configuration cannot be had, or talos cannot run the model.
    """
    repo = name.removeprefix(HUB_PREFIX)
    if not is_hub_id(repo):
        raise OptionError(f"{name!r} names no repository", f"{HUB_PREFIX}OWNER/NAME")
    check_revision(name, pretrained, f"a folder with {CONFIG_FILE}")
    place = HubFolder(
        repo,
        pretrained or NEWEST,
        CONFIG_FILE,
        folder_weights,
        HUB_WEIGHTS,
        f"a folder with {CONFIG_FILE} and weights, with --model FOLDER",
        "tiny-clip",
        lambda folder: check_config(folder_config(folder), name),
    )
    config = folder_config(place.configured()) if recorded is None else recorded
    return make_spec(
        name,
        place.revision,
        config,
        locate=lambda: folder_weights(place.locate()),
        require=place.require,
        folder=place.locate,
    )


def saved_spec(repo: str, revision: str, recorded: Mapping[str, Any] | None = None) -> ModelSpec:
    """The model in a repository with what ``CLIPModel.save_pretrained`` writes.

    Args:
        repo: ``OWNER/NAME``.
        revision: A commit, tag or branch.
        recorded: The configuration in open_clip's form, where an artifact has it.

    Raises:
        ModelError: the configuration cannot be had, or talos cannot run the model.
    """

    def read(folder: Path) -> dict[str, Any]:
        return make_config(*read_clip_config(folder, repo))

    place = HubFolder(
        repo,
        revision,
        SAVED_CONFIG,
        saved_weights,
        SAVED_WEIGHTS,
        "a folder that save_pretrained has written, with --model FOLDER",
        "tiny-clip",
        lambda folder: check_config(read(folder), repo),
        {PREPROCESSING_FILE: "images are prepared with the mean and std of OpenAI's CLIP"},
    )
    return make_spec(
        repo,
        revision,
        read(place.configured()) if recorded is None else recorded,
        locate=lambda: saved_weights(place.locate()),
        require=place.require,
        folder=place.locate,
    )
