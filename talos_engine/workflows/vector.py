"""``talos vector``: a task vector from a fine-tuned checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from talos_engine.artifacts import (
    LINEARIZED,
    Header,
    TaskVector,
    artifact_hash,
    check_distinct,
    check_output,
    make_entry,
    read_checkpoint,
    recorded_evaluation,
    write_vector,
)
from talos_engine.configuration import check_choice
from talos_engine.errors import ArtifactError, CorruptFileError, MismatchError
from talos_engine.workflows.bases import check_base, check_expansion_point
from talos_engine.workflows.opening import Common, resolve_model

SPARSE_CHOICES = ("auto", "always", "never")


@dataclass(frozen=True)
class VectorRequest:
    """What to subtract.

    Args:
        finetuned: Checkpoint file of θ*.
        out: The vector file to write.
        model: The base θ0; ``None`` takes the one that the checkpoint records.
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
    """

    path: Path
    changed: int
    total: int
    norm: float
    file_bytes: int


def make_vector(request: VectorRequest) -> VectorResult:
    """A vector file holding τ = θ* − θ0, from which θ* comes back bit for bit.

    Raises:
        MismatchError: the checkpoint belongs to another base or architecture.
        OutputError: the result cannot be written.
    """
    check_choice("sparse", request.sparse, SPARSE_CHOICES)
    check_distinct({"--out": request.out}, [request.finetuned])
    check_output(request.out, force=request.common.force)
    checkpoint = read_checkpoint(request.finetuned)
    weights = resolve_model(request.model, [checkpoint.header.base], request.common.pretrained)
    check_base(weights, checkpoint.header.base, request.finetuned)
    evaluation = recorded_evaluation(checkpoint.header, request.finetuned)
    if evaluation == LINEARIZED:
        check_expansion_point(weights, checkpoint.header.base, request.finetuned)
    theta0 = weights.tensors
    for name in sorted(theta0.keys() | checkpoint.tensors.keys()):
        if name not in theta0 or name not in checkpoint.tensors:
            where = "the checkpoint" if name not in checkpoint.tensors else "the base"
            raise MismatchError(f"{request.finetuned}: {name!r} is missing in {where}")
    entries = {}
    for name, base in theta0.items():
        try:
            entry = make_entry(
                base,
                checkpoint.tensors[name],
                sparse=request.sparse,  # type: ignore[arg-type]
                name=name,
            )
        except ArtifactError as error:
            raise type(error)(f"{request.finetuned}: {error.message}", error.hint) from error
        if entry is not None:
            entries[name] = entry
    mask = checkpoint.header.config.get("mask")
    header = Header(
        kind="vector",
        base=weights.info,
        method=checkpoint.header.method,
        task=checkpoint.header.task,
        config={
            "sparsity": mask["sparsity"] if isinstance(mask, dict) else 0.0,
            "finetuned": checkpoint.header.config,
            "finetuned_hash": artifact_hash(request.finetuned),
            "evaluation": evaluation,
        },
        seed=checkpoint.header.seed,
        data=checkpoint.header.data,
    )
    write_vector(request.out, TaskVector(header, entries), force=request.common.force)
    squared = sum(float(entry.values.double().square().sum()) for entry in entries.values())
    return VectorResult(
        path=request.out,
        changed=sum(entry.nnz for entry in entries.values()),
        total=sum(tensor.numel() for tensor in theta0.values()),
        norm=squared**0.5,
        file_bytes=request.out.stat().st_size,
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
