"""Weights files of any library: read as tensors, named plainly, fitted to a model's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import inspect_kind, open_tensors
from talos_engine.artifacts.tensor_folder import read_index
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import ArtifactError, MismatchError
from talos_engine.models.pickled_weights import read_pickled

INDEX = ".safetensors.index.json"
_WRAPPERS = ("module.", "model.")  # of DataParallel, and of classes that hold a model


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, of the shards of an index, or of a ``torch.save`` file.

    Raises:
        ArtifactError: the file cannot be read as tensors; code in it never runs.
    """
    if not path.is_file():
        raise ArtifactError(f"there is no file {path}")
    if path.name.endswith(INDEX):
        return _read_shards(path)
    with path.open("rb") as file:
        start = file.read(9)  # of safetensors: the header's length, of any bytes, then its brace
    # a zip of torch.save, or its old format
    pickled = start[:2] in (b"PK", b"\x80\x02") and start[8:] != b"{"
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


def unwrap(found: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same without prefixes that all names share because the model was part of another.

    Args:
        found: Tensors as read.
        expected: The model's ``state_dict``.
    """
    while found:
        prefix = next((it for it in _WRAPPERS if all(name.startswith(it) for name in found)), None)
        if prefix is None or any(name.startswith(prefix) for name in expected):
            return found
        found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def fit_state(
    path: Path, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a file, exactly those of a model, floating-point ones in its dtype.

    Args:
        path: The file or folder, for messages.
        found: Its tensors.
        expected: The model's ``state_dict``; values may live on the meta device.

    Raises:
        MismatchError: names, shapes or kinds are not the model's, or a value is not finite in the
            model's dtype.
    """
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
    cast = {name: found[name].to(value.dtype).contiguous() for name, value in expected.items()}
    for name, value in cast.items():
        if value.dtype != found[name].dtype and not is_finite(value):
            raise MismatchError(f"{path}: {name!r} holds numbers too large for {value.dtype}")
    return cast
