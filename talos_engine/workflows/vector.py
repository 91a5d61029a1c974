"""``talos vector``: a task vector from a fine-tuned checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from talos_engine.artifacts import (
    Header,
    TaskVector,
    check_distinct,
    check_output,
    make_entry,
    write_vector,
)
from talos_engine.configuration import check_choice
from talos_engine.errors import ArtifactError, CorruptFileError, MismatchError
from talos_engine.workflows.finetuned import read_finetuned
from talos_engine.workflows.opening import Common

SPARSE_CHOICES = ("auto", "always", "never")


@dataclass(frozen=True)
class VectorRequest:
    """What to subtract.

    Args:
        finetuned: θ*, see ``read_finetuned``.
        out: The vector file to write.
        model: The base θ0; ``None`` takes the one that a checkpoint of ours records.
        sparse: ``auto`` stores each tensor the smaller way, ``always`` and ``never`` force one.
        common: Overwriting.
    """

    finetuned: Path
    out: Path
    model: str | None = None
    sparse: str = "auto"
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class VectorResult:
    """What was written.

    Args:
        path: The vector file.
        changed: Number of entries in which θ* and θ0 differ.
        total: Number of entries of the model.
        norm: Euclidean norm of τ.
        file_bytes: Size of the vector file.
        notes: What people should know of how θ* was read, a sentence each.
    """

    path: Path
    changed: int
    total: int
    norm: float
    file_bytes: int
    notes: tuple[str, ...] = ()


def make_vector(request: VectorRequest) -> VectorResult:
    """A vector file holding τ = θ* − θ0, from which θ* comes back bit for bit.

    Raises:
        MismatchError: the checkpoint belongs to another base or architecture.
        OutputError: the result cannot be written.
    """
    check_choice("sparse", request.sparse, SPARSE_CHOICES)
    check_distinct({"--out": request.out}, [request.finetuned])
    check_output(request.out, force=request.common.force)
    found = read_finetuned(request.finetuned, request.model, request.common.pretrained)
    theta0 = found.weights.tensors
    for name in sorted(theta0.keys() | found.tensors.keys()):
        if name not in theta0 or name not in found.tensors:
            where = "the checkpoint" if name not in found.tensors else "the base"
            raise MismatchError(f"{request.finetuned}: {name!r} is missing in {where}")
    entries = {}
    for name, base in theta0.items():
        try:
            entry = make_entry(
                base,
                found.tensors[name],
                sparse=request.sparse,  # type: ignore[arg-type]
                name=name,
            )
        except ArtifactError as error:
            raise type(error)(f"{request.finetuned}: {error.message}", error.hint) from error
        if entry is not None:
            entries[name] = entry
    header = Header(
        kind="vector",
        base=found.weights.info,
        method=found.method,
        task=found.task,
        config=dict(found.config),
        seed=found.seed,
        data=found.data,
    )
    write_vector(request.out, TaskVector(header, entries), force=request.common.force)
    squared = sum(float(entry.values.double().square().sum()) for entry in entries.values())
    return VectorResult(
        path=request.out,
        changed=sum(entry.nnz for entry in entries.values()),
        total=sum(tensor.numel() for tensor in theta0.values()),
        norm=squared**0.5,
        file_bytes=request.out.stat().st_size,
        notes=found.notes,
    )


def header_sparsity(header: Header) -> float:
    """Sparsity k of the mask that a vector was trained under; 0 for a dense one.

    Raises:
        CorruptFileError: the header records no number in [0, 1).
    """
    value = header.config.get("sparsity", 0.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise CorruptFileError(f"a vector of task {header.task!r} records sparsity {value!r}")
    return float(value)
