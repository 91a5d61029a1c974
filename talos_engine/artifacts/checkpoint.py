"""Whole models: tensors keyed and shaped as the library's ``state_dict``, so that it loads them.

Building a model around the tensors is the affair of ``models``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from talos_engine.artifacts.artifact_file import open_artifact, refuse_layout, write_artifact
from talos_engine.artifacts.container import TensorSpec
from talos_engine.artifacts.files import StrPath
from talos_engine.artifacts.header import Header
from talos_engine.artifacts.tensors import is_finite
from talos_engine.errors import CorruptFileError, OutputError


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A fine-tuned, merged or edited model.

    Args:
        header: Of kind ``checkpoint``.
        tensors: State-dict key -> tensor, any shape and dtype, finite.
    """

    header: Header
    tensors: dict[str, torch.Tensor]


def write_checkpoint(path: StrPath, checkpoint: Checkpoint, *, force: bool = False) -> None:
    """Write a checkpoint; tensors that share storage are each written whole.

    Args:
        path: Target file.
        checkpoint: What is written; strides and devices do not matter.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the file cannot be written.
    """
    tensors = checkpoint.tensors
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise OutputError(f"cannot write {path}: tensor {name!r} holds NaN or Inf")
    specs = {
        name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }
    write_artifact(
        path, checkpoint.header, "checkpoint", specs, tensors.__getitem__, {}, force=force
    )


def read_checkpoint(path: StrPath) -> Checkpoint:
    """Checkpoint stored at ``path``, its tensors on the CPU in memory of their own.

    Raises:
        ArtifactError: there is no such file, it cannot be opened or does not fit into memory.
        CorruptFileError: it is damaged, or a tensor holds NaN or Inf.
        WrongKindError: it is not a checkpoint, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "checkpoint")
    with file:
        refuse_layout(path, layout, set())
        tensors = file.read_all()
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CorruptFileError(f"{path}: tensor {name!r} holds NaN or Inf")
    return Checkpoint(header, tensors)


def read_checkpoint_header(path: StrPath) -> Header:
    """Header of the checkpoint at ``path``; no tensor is read.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: its header is damaged.
        WrongKindError: it is not a checkpoint, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "checkpoint")
    with file:
        refuse_layout(path, layout, set())
    return header
