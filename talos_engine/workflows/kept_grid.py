"""Grids of coefficients of which a part is measured: kept beside the result, and read again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from talos_engine.artifacts import Header, ResumeState, write_resume
from talos_engine.errors import CorruptFileError
from talos_engine.evaluation.disentanglement import GridState
from talos_engine.workflows.unfinished import find_state, resume_path

_ALONE = ("alone.0", "alone.1")
_DIFFERING = "differing"


def keep_grid(out: Path, own: Header, state: GridState) -> None:
    """Write what is measured beside the result that it is for.

    Args:
        out: The result.
        own: Tells the run, as ``state_header`` does.
        state: The grid.

    Raises:
        OutputError: it cannot be written.
    """
    tensors = {**dict(zip(_ALONE, state.alone, strict=True)), _DIFFERING: state.differing}
    write_resume(resume_path(out), ResumeState(own, {"step": state.done}, tensors))


def find_grid(out: Path, own: Header, empty: GridState) -> GridState | None:
    """The grid that an interrupted run has left, if it has left one.

    Args:
        out: The result that it was for.
        own: Tells the run.
        empty: A grid of the same sizes.

    Raises:
        ArtifactError: it cannot be read.
        CorruptFileError: it is no such grid.
        MismatchError: it is of another run; says in what they differ.
    """
    found = find_state(out, own)
    if found is None:
        return None
    expected = dict(zip((*_ALONE, _DIFFERING), (*empty.alone, empty.differing), strict=True))
    if _forms(found.tensors) != _forms(expected):
        raise CorruptFileError(f"{resume_path(out)}: its tensors are not those of such a grid")
    first, second, differing = (found.tensors[name] for name in expected)
    sizes = torch.tensor([len(first[0]), len(second[0])])[:, None, None]
    state = GridState((first, second), differing)
    possible = all(int(tensor.min()) >= -1 for tensor in found.tensors.values())
    if not possible or bool((differing > sizes).any()) or state.done != found.counts["step"]:
        raise CorruptFileError(f"{resume_path(out)}: its numbers are not those of such a grid")
    return state


def _forms(tensors: dict[str, Tensor]) -> dict[str, tuple[torch.dtype, Sequence[int]]]:
    return {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()}
