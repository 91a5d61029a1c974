"""Weights of CLIP models: files of open_clip's format, and the tags that open_clip publishes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts.tensor_folder import read_index
from talos_engine.errors import ModelError, first_line
from talos_engine.hub import hub_problem
from talos_engine.models.clip_transformers import from_transformers, is_transformers_state
from talos_engine.models.weight_files import INDEX, fit_state, read_state, unwrap

_PREFERRED = (  # open_clip's own order
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "model.safetensors.index.json",  # of transformers: which of several files has which tensor
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
_SAVED = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
HUB_WEIGHTS = tuple(name for name in _PREFERRED if not name.endswith(".json"))
"""What may be fetched from a repository, the first that is there."""
SAVED_WEIGHTS = ("model*.safetensors", "pytorch_model.bin")
"""The same of a repository of transformers' format."""
_ENDINGS = (".safetensors", ".bin", ".pth", ".pt")
_NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size"}  # in OpenAI's own files


def folder_weights(folder: Path) -> Path:
    """The file of a folder that holds its model's weights, as open_clip would choose.

    Raises:
        ModelError: there is none, or there are several of unknown names.
    """
    for name in _PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in _ENDINGS)
    if len(found) == 1:
        return found[0]
    what = f"several weights files, none named {_PREFERRED[0]}" if found else "no weights"
    raise ModelError(f"the folder {folder} has {what}")


def saved_weights(folder: Path) -> Path:
    """The file with the weights that ``CLIPModel.save_pretrained`` wrote, or the index of several.

    Raises:
        ModelError: there is none, or not all that it lists.
        ArtifactError: the index is none.
    """
    for name in _SAVED:
        path = folder / name
        files = (
            set(read_index(path).values()) if path.is_file() and name.endswith(INDEX) else {name}
        )
        if path.is_file() and all((folder / file).is_file() for file in files):
            return path
    raise ModelError(f"the folder {folder} has no weights")


def read_weights(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a weights file, exactly those of a model.

    Args:
        path: Safetensors, or a ``torch.save`` file of tensors; code in it never runs.
        expected: The model's ``state_dict``; values may live on the meta device.

    Returns:
        By ``state_dict`` key, on the CPU, floating-point tensors in the model's dtype.

    Raises:
        ArtifactError: the file cannot be read as weights.
        MismatchError: names, shapes or kinds are not the model's, or a value is not finite.
    """
    return fit_state(path, _adapted(path, unwrap(read_state(path), expected), expected), expected)


def adopt(
    path: Path, found: dict[str, Tensor], theta0: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A fine-tuned model's tensors under the names and in the layouts of its base, with notes.

    Tools that train the image encoder alone often save no text tower, or not its transformer: those
    parts are then the base's.

    Args:
        path: The file, for messages.
        found: Its tensors.
        theta0: The base.
    """
    found = _adapted(path, found, theta0)
    missing = [name for name in theta0 if name not in found]
    parts = {_part(name) for name in missing}
    whole = parts.isdisjoint(_part(name) for name in found)
    if not whole or "visual" in parts or "transformer" not in parts:
        return found, ()
    told = f"{path} has no text tower: {len(missing)} tensors are taken from the base"
    return {**found, **{name: theta0[name] for name in missing}}, (told,)


def _part(name: str) -> str:
    """The module or tensor of a CLIP model, or of its text tower, that a tensor belongs to."""
    return name.removeprefix("text.").partition(".")[0]


def _adapted(
    path: Path, found: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Old layouts as open_clip reads them, and transformers'; nothing is resized or made up."""
    for name in _NOT_WEIGHTS:
        if name in found and name not in expected:
            del found[name]
    if "positional_embedding" in found and "positional_embedding" not in expected:
        from open_clip.model import convert_to_custom_text_state_dict

        found = convert_to_custom_text_state_dict(found)
    for name in ("logit_scale", "logit_bias"):
        if name in found and name in expected and found[name].numel() == expected[name].numel():
            found[name] = found[name].reshape(expected[name].shape)
    return from_transformers(found, expected, str(path)) if is_transformers_state(found) else found


def find_cached(tag: Mapping[str, Any]) -> Path | None:
    """The weights that a tag's entry of open_clip names, where they are on this machine."""
    from huggingface_hub import try_to_load_from_cache

    repo, files = _hub_files(tag)
    for name in files:
        with suppress(ValueError):  # a name that is none
            cached = try_to_load_from_cache(repo, name)
            if isinstance(cached, str):
                return Path(cached)
    return None


def check_available(tag: Mapping[str, Any], missing: ModelError) -> None:
    """Raise unless the weights that a tag's entry names are here or the hub answers.

    Args:
        tag: The entry.
        missing: What to raise, with the reason added.

    Raises:
        ModelError: they cannot be had.
    """
    problem = "" if find_cached(tag) is not None else hub_problem()
    if problem:
        raise ModelError(f"{missing.message}, and {problem}", missing.hint)


def fetch(tag: Mapping[str, Any], missing: ModelError) -> Path:
    """The weights that a tag's entry names, downloaded where they are not cached.

    Raises:
        ModelError: they cannot be had; made from ``missing``.
    """
    cached = find_cached(tag)
    if cached is not None:
        return cached
    check_available(tag, missing)
    from open_clip.pretrained import download_pretrained

    try:
        return Path(download_pretrained(dict(tag)))
    except Exception as error:  # of open_clip, huggingface_hub or the network below
        problem = f"downloading failed: {first_line(error)}"
        raise ModelError(f"{missing.message}, and {problem}", missing.hint) from error


def source_name(tag: Mapping[str, Any]) -> str:
    """Where a tag's weights come from, for people."""
    repo, _ = _hub_files(tag)
    return f"{repo} on the Hugging Face Hub" if repo else str(tag.get("url", ""))


def _hub_files(tag: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Repository and the files that open_clip would take, the first first."""
    repo, _, name = str(tag.get("hf_hub", "")).rpartition("/")
    if not repo:
        return "", ()
    name = name or "open_clip_pytorch_model.bin"
    if name == "open_clip_pytorch_model.bin":
        return repo, ("open_clip_model.safetensors", name)
    stem = Path(name)
    safe = (f"{stem.with_suffix('')}.safetensors",) if stem.suffix in (".bin", ".pth") else ()
    return repo, (*safe, name)
