"""The state of an unfinished fine-tuning run, so that another process can go on with it.

What the state means is the affair of ``training``. Its header holds everything that changes the
run's tensors, so that a run with other options can be told apart.
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

_STEP = "step"


@dataclass(frozen=True, eq=False)
class ResumeState:
    """A run between two steps.

    Args:
        header: Of kind ``resume``; its config tells the whole run.
        counts: Non-negative counters by name, ``step`` among them; -1 for none yet.
        tensors: By name, any shape and dtype, finite.
    """

    header: Header
    counts: dict[str, int]
    tensors: dict[str, torch.Tensor]


def write_resume(path: StrPath, state: ResumeState) -> None:
    """Write a state; an older one at ``path`` is replaced at once or not at all.

    Raises:
        OutputError: a tensor holds NaN or Inf, or the file cannot be written.
    """
    tensors = state.tensors
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise OutputError(f"cannot write {path}: tensor {name!r} holds NaN or Inf")
    specs = {
        name: TensorSpec(tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()
    }
    layout = {"counts": dict(state.counts)}
    write_artifact(path, state.header, "resume", specs, tensors.__getitem__, layout, force=True)


def read_resume(path: StrPath) -> ResumeState:
    """State stored at ``path``, its tensors on the CPU.

    Raises:
        ArtifactError: there is no such file, it cannot be opened or does not fit into memory.
        CorruptFileError: it is damaged, or a tensor holds NaN or Inf.
        WrongKindError: it is something else, or has a newer schema.
    """
    file, header, layout = open_artifact(path, "resume")
    with file:
        refuse_layout(path, layout, {"counts"})
        counts = layout["counts"]
        if not isinstance(counts, dict) or _STEP not in counts:
            raise CorruptFileError(f"{path}: field counts does not say the step")
        for name, count in counts.items():
            if type(count) is not int or not -1 <= count < 2**63:
                raise CorruptFileError(f"{path}: count {name[:80]!r} is not a count")
        tensors = file.read_all()
    for name, tensor in tensors.items():
        if not is_finite(tensor):
            raise CorruptFileError(f"{path}: tensor {name!r} holds NaN or Inf")
    return ResumeState(header, counts, tensors)
