"""Checkpoint and vector files alike as edits of a base: header, layout, tensors that differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import (
    Header,
    inspect_kind,
    open_tensors,
    open_vector,
    read_checkpoint,
    read_checkpoint_header,
    read_vector,
)
from talos_engine.errors import MismatchError
from talos_engine.merging.ops import touched_names
from talos_engine.models.spec import BaseWeights
from talos_engine.models.structure import EncoderStructure
from talos_engine.workflows.bases import check_encoder_only
from talos_engine.workflows.vector_reading import apply_vector


def read_edit_header(path: Path) -> Header:
    """The header of a checkpoint or vector file."""
    if inspect_kind(path) == "vector":
        with open_vector(path) as file:
            return file.header
    return read_checkpoint_header(path)


def check_layout(path: Path, theta0: Mapping[str, Tensor]) -> None:
    """Raise unless names, shapes and dtypes are the base's; reads the header only."""
    if inspect_kind(path) == "vector":
        with open_vector(path) as file:
            found = {name: _describe(file.dtypes[name], file.shapes[name]) for name in file.shapes}
        names = sorted(found)
    else:
        with open_tensors(path) as tensors:
            found = {
                name: _describe(spec.dtype, spec.shape) for name, spec in tensors.specs.items()
            }
        names = sorted(found.keys() | theta0.keys())
    for name in names:
        base = theta0.get(name)
        expected = "nothing" if base is None else _describe(base.dtype, tuple(base.shape))
        if found.get(name, "nothing") != expected:
            raise MismatchError(
                f"{path} does not fit the model at {name!r}: "
                f"expected {expected}, found {found.get(name, 'nothing')}"
            )


def _describe(dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"{dtype} of shape {tuple(shape)}"


def read_edited_tensors(
    path: Path, weights: BaseWeights, structure: EncoderStructure
) -> Mapping[str, Tensor]:
    """The tensors in which a file differs from the base, all of them in the encoder."""
    if inspect_kind(path) == "vector":
        vector = read_vector(path)
        check_encoder_only(touched_names([vector]), structure, str(path))
        return apply_vector(weights, vector)
    changed = {
        name: tensor
        for name, tensor in read_checkpoint(path).tensors.items()
        if not torch.equal(tensor, weights.tensors[name])
    }
    check_encoder_only(changed, structure, str(path))
    return changed
