"""Models of ``transformers`` by their repository's name: the configuration tells which kind."""

from __future__ import annotations

from pathlib import Path

from talos_engine.artifacts import read_json
from talos_engine.errors import ModelError
from talos_engine.models.hub_folder import NEWEST, HubFolder, check_revision
from talos_engine.models.names import HUB_PREFIX
from talos_engine.models.spec import MODEL_FAMILIES, ModelSpec

_CONFIG_FILE = "config.json"


def _no_weights(folder: Path) -> object:
    raise ModelError(f"what weights {folder} should have is not known before its kind is")


def hub_spec(repo: str, pretrained: str | None) -> ModelSpec:
    """The model in a repository; its configuration is fetched where it is not in the cache.

    Args:
        repo: ``OWNER/NAME``.
        pretrained: A commit, tag or branch; ``None`` takes the newest.

    Raises:
        OptionError: ``pretrained`` is a path.
        ModelError: the configuration cannot be had, or is of a model that talos does not run.
        ArtifactError: it is no JSON.
    """
    check_revision(repo, pretrained, "a folder that save_pretrained has written")
    place = HubFolder(
        repo,
        pretrained or NEWEST,
        _CONFIG_FILE,
        _no_weights,
        (),
        "a folder that save_pretrained has written, of T5 or of CLIP, with --model FOLDER",
        "tiny-t5 for texts or tiny-clip for images",
    )
    found = read_json(place.configured() / _CONFIG_FILE)
    kind = found.get("model_type") if isinstance(found, dict) else None
    families = [MODEL_FAMILIES.get(name) for name in MODEL_FAMILIES.names()]
    for family in families:
        if family.model_type == kind:
            return family.from_hub(repo, place.revision)
    known = " or ".join(repr(family.model_type) for family in families)
    raise ModelError(
        f"the repository {repo} of the Hugging Face Hub has a model of type {kind!r}, which talos "
        "does not run",
        f"models of transformers must be of type {known}; a repository of open_clip is named "
        f"{HUB_PREFIX}OWNER/NAME",
    )
