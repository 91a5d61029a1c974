"""Weights of CLIP models: files of open_clip's format, and the tags that open_clip publishes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from talos_engine.artifacts import inspect_kind, open_tensors
from talos_engine.artifacts.tensor_folder import read_index
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import ArtifactError, MismatchError, ModelError, first_line
from talos_engine.hub import hub_problem
from talos_engine.models.clip_transformers import from_transformers, is_transformers_state
from talos_engine.models.pickled_weights import read_pickled

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
_INDEX = ".safetensors.index.json"
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
            set(read_index(path).values()) if path.is_file() and name.endswith(_INDEX) else {name}
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
    found = _adapted(_read(path), expected)
    if is_transformers_state(found):
        found = from_transformers(found, expected, str(path))
    for name in sorted(expected.keys() | found.keys()):
        told = f"{path} does not fit the architecture at {name!r}: "
        if name not in found or name not in expected:
            where = "the file" if name not in found else "the model"
            raise MismatchError(f"{told}missing in {where}")
        here, there = found[name], expected[name]
        if here.shape != there.shape or here.is_floating_point() != there.is_floating_point():
            raise MismatchError(
                f"{told}expected {there.dtype} of shape {tuple(there.shape)}, "
                f"found {here.dtype} of shape {tuple(here.shape)}"
            )
        if not is_finite(here):
            raise MismatchError(f"{path}: {name!r} holds NaN or infinity")
    return {name: found[name].to(value.dtype).contiguous() for name, value in expected.items()}


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ArtifactError(f"there is no file {path}")
    if path.name.endswith(_INDEX):
        return _read_shards(path)
    with path.open("rb") as file:
        pickled = file.read(2) in (b"PK", b"\x80\x02")  # a zip of torch.save, or its old format
    if pickled:
        return read_pickled(path)
    if inspect_kind(path) == "checkpoint":
        raise ArtifactError(f"{path} is a checkpoint made by talos", f"pass --model {path}")
    with open_tensors(path) as tensors:
        return tensors.read_all()


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of the files that an index of transformers lists; they lie beside it."""
    files = read_index(index)
    found: dict[str, Tensor] = {}
    for name in sorted(set(files.values())):
        with open_tensors(index.parent / name) as tensors:
            found.update(tensors.read_all())
    if found.keys() != files.keys():
        odd = sorted(found.keys() ^ files.keys())[0]
        raise ArtifactError(f"{index} and the files it lists disagree about {odd!r}")
    return found


def _adapted(found: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Old layouts as open_clip reads them; nothing is resized or made up."""
    if found and all(name.startswith("module.") for name in found):
        found = {name.removeprefix("module."): value for name, value in found.items()}
    for name in _NOT_WEIGHTS:
        if name in found and name not in expected:
            del found[name]
    if "positional_embedding" in found and "positional_embedding" not in expected:
        from open_clip.model import convert_to_custom_text_state_dict

        found = convert_to_custom_text_state_dict(found)
    for name in ("logit_scale", "logit_bias"):
        if name in found and name in expected and found[name].numel() == expected[name].numel():
            found[name] = found[name].reshape(expected[name].shape)
    return found


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
