"""Sensitivity of every parameter entry: the diagonal of the Fisher information.

How scores are computed is the affair of ``sensitivity``.
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
class Scores:
    """Sensitivities of a model's parameters.

    Args:
        header: Of kind ``scores``.
        tensors: Parameter name -> float32 in the parameter's shape, finite and >= 0.
    """

    header: Header
    tensors: dict[str, torch.Tensor]


def write_scores(path: StrPath, scores: Scores, *, force: bool = False) -> None:
    """Write scores.

    Args:
        path: Target file.
        scores: What is written.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: a tensor is not float32, finite and non-negative, or the file cannot be
            written.
    """
    tensors = scores.tensors
    for name, tensor in tensors.items():
        if problem := _problem(tensor):
            raise OutputError(f"cannot write {path}: tensor {name!r} {problem}")
    specs = {
        name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }
    write_artifact(path, scores.header, "scores", specs, tensors.__getitem__, {}, force=force)


def read_scores(path: StrPath) -> Scores:
    """Scores stored at ``path``.

    Raises:
        ArtifactError: there is no such file, it cannot be opened or does not fit into memory.
        CorruptFileError: it is damaged, or a tensor is not float32, finite and non-negative.
        WrongKindError: it holds no scores, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "scores")
    with file:
        refuse_layout(path, layout, set())
        tensors = file.read_all()
    for name, tensor in tensors.items():
        if problem := _problem(tensor):
            raise CorruptFileError(f"{path}: tensor {name!r} {problem}")
    return Scores(header, tensors)


def read_scores_header(path: StrPath) -> Header:
    """Header of the scores stored at ``path``; no score is read.

    Raises:
        ArtifactError: there is no such file, or it cannot be opened.
        CorruptFileError: it is damaged.
        WrongKindError: it holds no scores, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "scores")
    with file:
        refuse_layout(path, layout, set())
    return header


def _problem(tensor: torch.Tensor) -> str:
    if tensor.dtype != torch.float32:
        return f"is {tensor.dtype}, not float32"
    if not is_finite(tensor):
        return "holds NaN or Inf"
    if bool((tensor < 0).any()):
        return "holds negative scores"
    return ""
