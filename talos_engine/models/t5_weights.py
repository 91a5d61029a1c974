"""Weights of T5 models: the files that ``save_pretrained`` writes, and state dicts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import open_tensors
from talos_engine.artifacts.tensor_folder import read_index
from talos_engine.errors import MismatchError, ModelError
from talos_engine.models.pickled_weights import read_pickled
from talos_engine.models.weight_files import fit_state

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_SHARED = "shared.weight"
_HEAD = "lm_head.weight"
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
# Written by old versions of the library, which never used it.
_NOT_WEIGHTS = ("decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",)


def weights_files(folder: Path) -> list[Path]:
    """The files of a folder that hold its model's weights; safetensors where there are any.

    Raises:
        ModelError: there are none, or a shard is missing.
        CorruptFileError: the index of the shards is none.
    """
    for name in (SAFE, PICKLED):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}{_INDEX}"
        if not index.is_file():
            continue
        shards = sorted(set(read_index(index).values()))
        for shard in shards:
            if not (folder / shard).is_file():
                raise ModelError(f"{index} names {shard!r}, which is not there")
        return [folder / shard for shard in shards]
    raise ModelError(
        f"the folder {folder} has no weights",
        f"save_pretrained writes {SAFE}, or shards of it with {SAFE}{_INDEX}",
    )


def weight_names(folder: Path) -> set[str] | None:
    """Names of the tensors in a folder's weights files; ``None`` where only reading would tell."""
    names: set[str] = set()
    for path in weights_files(folder):
        if path.suffix != ".safetensors":
            return None
        with open_tensors(path) as file:
            names |= set(file.specs)
    return names


def read_weights(folder: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a folder, exactly those of a model, tied ones once.

    Args:
        folder: Holds the weights files. Code in a pickle never runs.
        expected: The model's parameters by name; values may live on the meta device.

    Returns:
        By name, on the CPU, in the model's dtype.

    Raises:
        ArtifactError: a file cannot be read as weights.
        MismatchError: names, shapes or kinds are not the model's, copies of tied weights differ,
            or a value is not finite in the model's dtype.
        ModelError: a file is missing.
    """
    found: dict[str, Tensor] = {}
    for path in weights_files(folder):
        for name, value in _read(path).items():
            if name in found:
                raise MismatchError(f"{path} holds {name!r}, which another shard has too")
            found[name] = value
    found = _untie(folder, found, has_head=_HEAD in expected)
    return fit_state(folder, found, expected)


def adopt(
    path: Path, found: dict[str, Tensor], theta0: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """A fine-tuned model's tensors with tied ones once; no notes.

    Args:
        path: The file, for messages.
        found: Its tensors, as ``state_dict`` gives them.
        theta0: The base.

    Raises:
        MismatchError: copies of tied weights differ.
    """
    return _untie(path, found, has_head=_HEAD in theta0), ()


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_pickled(path)
    with open_tensors(path) as tensors:
        return tensors.read_all()


def _untie(place: Path, found: dict[str, Tensor], *, has_head: bool) -> dict[str, Tensor]:
    """The same with tied weights once, under the name ``shared.weight``."""
    copies = [
        name for name in (_SHARED, *_COPIES, *(() if has_head else (_HEAD,))) if name in found
    ]
    for name in copies[1:]:
        if not found[name].equal(found[copies[0]]):
            raise MismatchError(
                f"the weights in {place}: {copies[0]!r} and {name!r} differ, the configuration "
                "says that they are tied"
            )
    left = {name: value for name, value in found.items() if name not in (*copies, *_NOT_WEIGHTS)}
    return {**({_SHARED: found[copies[0]]} if copies else {}), **left}
