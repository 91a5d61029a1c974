"""CLIP models by the name of their repository on the Hugging Face Hub: ``hf-hub:OWNER/NAME``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talos_engine.errors import ModelError, OptionError
from talos_engine.models.clip_architecture import CONFIG_FILE, folder_config
from talos_engine.models.clip_specs import make_spec
from talos_engine.models.clip_weights import HUB_WEIGHTS, folder_weights
from talos_engine.models.hub_folder import NEWEST, HubFolder
from talos_engine.models.names import HUB_PREFIX
from talos_engine.models.spec import ModelSpec

_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


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
    if not _REPO.fullmatch(repo):
        raise OptionError(f"{name!r} names no repository", f"{HUB_PREFIX}OWNER/NAME")
    if pretrained is not None and Path(pretrained).expanduser().exists():
        raise OptionError(
            f"--pretrained of {name} is a revision of its repository, {pretrained} is a path",
            "pass a folder with open_clip_config.json as --model FOLDER",
        )
    place = HubFolder(
        repo,
        pretrained or NEWEST,
        CONFIG_FILE,
        _has_weights,
        HUB_WEIGHTS,
        f"a folder with {CONFIG_FILE} and weights, with --model FOLDER",
        "tiny-clip",
    )
    config = folder_config(place.locate()) if recorded is None else recorded
    return make_spec(
        name,
        place.revision,
        config,
        locate=lambda: folder_weights(place.locate()),
        require=place.require,
        folder=place.locate,
    )


def _has_weights(folder: Path) -> bool:
    try:
        folder_weights(folder)
    except ModelError:
        return False
    return True
