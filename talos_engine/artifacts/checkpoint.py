"""Whole models: tensors keyed and shaped as the library's ``state_dict``, so that it loads them.

Building a model around the tensors is the affair of ``models``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from talos_engine.artifacts.artifact_file import open_artifact, refuse_layout, write_artifact
from talos_engine.artifacts.container import TensorFile, TensorSpec
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
        _refuse_unbounded(path, name, tensor)
    specs = {
        name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }
    stream_checkpoint(path, checkpoint.header, specs, tensors.__getitem__, force=force)


def stream_checkpoint(
    path: StrPath,
    header: Header,
    specs: Mapping[str, TensorSpec],
    tensor: Callable[[str], torch.Tensor],
    *,
    force: bool = False,
    companions: Callable[[], object] | None = None,
) -> None:
    """Write a checkpoint, one tensor in memory at a time.

    Args:
        path: Target file.
        header: Of kind ``checkpoint``.
        specs: Dtype and shape of every tensor.
        tensor: Gives the tensor of a name; called once for each, in file order.
        force: Whether an existing file is replaced.
        companions: Called before the file appears: writes what has to stand beside it.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the file cannot be written.
    """

    def get(name: str) -> torch.Tensor:
        value = tensor(name)
        _refuse_unbounded(path, name, value)
        return value

    write_artifact(path, header, "checkpoint", specs, get, {}, force=force, companions=companions)


def _refuse_unbounded(path: StrPath, name: str, tensor: torch.Tensor) -> None:
    if not is_finite(tensor):
        raise OutputError(f"cannot write {path}: tensor {name!r} holds NaN or Inf")


class CheckpointFile(Mapping[str, torch.Tensor]):
    """An open checkpoint: a mapping that reads a tensor when asked for it; a context manager.

    Args:
        file: The open container.
        header: The checkpoint's header.
    """

    def __init__(self, file: TensorFile, header: Header) -> None:
        """Made by ``open_checkpoint``."""
        self.header = header
        self._file = file

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Dtype and shape of every tensor; none is read."""
        return self._file.specs

    def __getitem__(self, name: str) -> torch.Tensor:
        """Tensor ``name`` in fresh CPU memory.

        Raises:
            KeyError: there is none of that name.
            CorruptFileError: its bytes are damaged, or it holds NaN or Inf.
            ArtifactError: this machine has not enough memory for it.
        """
        tensor = self._file.get(name)
        if not is_finite(tensor):
            raise CorruptFileError(f"{self._file.path}: tensor {name!r} holds NaN or Inf")
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.specs)

    def __len__(self) -> int:
        return len(self._file.specs)

    def close(self) -> None:
        """Close the file; tensors already read stay valid."""
        self._file.close()

    def __enter__(self) -> CheckpointFile:
        """The file itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the file."""
        self.close()


def open_checkpoint(path: StrPath) -> CheckpointFile:
    """Checkpoint at ``path``, its header checked and no tensor read yet.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: its header is damaged.
        WrongKindError: it is not a checkpoint, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "checkpoint")
    try:
        refuse_layout(path, layout, set())
    except BaseException:
        file.close()
        raise
    return CheckpointFile(file, header)


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
