"""``talos export``: a folder that another library loads alone, with no code of ours."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch

from talos_engine.artifacts import (
    LINEARIZED,
    atomic_folder,
    check_folder,
    inspect_kind,
    read_checkpoint,
)
from talos_engine.errors import MismatchError, OptionError, OutputError, WrongKindError
from talos_engine.models.exporting import EXPORTERS, ExporterEntry, ExportSource, find_writer
from talos_engine.models.loading import build_backbone, load_weights
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.bases import check_base, vectors_evaluation
from talos_engine.workflows.opening import Common, resolve_model
from talos_engine.workflows.vector_reading import apply_vector, read_vectors


@dataclass(frozen=True)
class ExportRequest:
    """What to export.

    Args:
        target: Name of the library.
        out: The folder to write.
        path: Checkpoint or vector; ``None`` exports the model itself.
        model: The model, or the base of the file; ``None`` takes the one that it records.
        common: Overwriting, and the model's weights.
    """

    target: str
    out: Path
    path: Path | None = None
    model: str | None = None
    common: Common = field(default_factory=Common)


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Args:
        path: The folder.
        files: Size in bytes of each file, by name.
        loads: The Python expression that loads it.
    """

    path: Path
    files: dict[str, int]
    loads: str


def export(request: ExportRequest) -> ExportResult:
    """A folder of the target's format.

    Raises:
        UnknownNameError: there is no such target.
        WrongKindError: the file is neither a checkpoint nor a vector.
        ModelError: the target has no such model, or the change is not what it can hold.
        MismatchError: base and file do not belong together, or no library can evaluate it.
        OutputError: the folder exists, or cannot be written.
    """
    entry = EXPORTERS.get(request.target.replace("_", "-"))
    check_folder(request.out, force=request.common.force)
    weights, base = _read(request, entry)
    write = find_writer(entry, weights)
    needed = sum(value.nbytes for value in weights.tensors.values()) if base is None else 0
    free = shutil.disk_usage(request.out.parent).free
    if free < needed:
        raise OutputError(
            f"cannot write {request.out}: it needs {needed / 1e6:.1f} MB and its disk has "
            f"{free / 1e6:.1f} MB free",
            "free some space or choose another folder",
        )
    source = ExportSource(weights, build_backbone(weights), base)
    with torch.no_grad(), atomic_folder(request.out, force=request.common.force) as folder:
        loads = write(source, folder)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return ExportResult(request.out, files, loads.replace("FOLDER", str(request.out)))


def _read(request: ExportRequest, entry: ExporterEntry) -> tuple[BaseWeights, BaseWeights | None]:
    """The whole model, and its base where the target needs it."""
    path, model, pretrained = request.path, request.model, request.common.pretrained
    if path is None:
        if entry.needs_base:
            raise OptionError(f"--to {request.target} needs a checkpoint or a vector")
        return load_weights(model, pretrained), None
    kind = inspect_kind(path)
    if kind == "vector" or (kind == "tensors" and model is not None):
        return _read_vector(path, model, pretrained, entry)
    if kind == "tensors":
        raise OptionError(f"{path} records no base", "name it with --model")
    if kind != "checkpoint":
        raise WrongKindError(
            f"{path} is a {kind} file; checkpoints and vectors can be exported",
        )
    if model is None and not entry.needs_base:
        return load_weights(str(path), pretrained), None
    checkpoint = read_checkpoint(path)
    base = resolve_model(model, [checkpoint.header.base], pretrained)
    check_base(base, checkpoint.header.base, path)
    edited = load_weights(str(path))
    if edited.tensors.keys() != base.tensors.keys():
        raise MismatchError(f"{path} has other tensors than {base.info.name}")
    whole = dataclasses.replace(edited, folder=base.folder)
    return whole, base if entry.needs_base else None


def _read_vector(
    path: Path, model: str | None, pretrained: str | None, entry: ExporterEntry
) -> tuple[BaseWeights, BaseWeights | None]:
    (vector,), base = read_vectors([path], model, pretrained)
    if vectors_evaluation([path], [vector.header], base) == LINEARIZED:
        raise MismatchError(
            f"{path} is evaluated linearized, which no other library does",
            "only vectors and checkpoints of ordinary networks can be exported",
        )
    tensors = {**base.tensors, **apply_vector(base, vector)}
    return dataclasses.replace(base, tensors=tensors), base if entry.needs_base else None
