"""Dry runs over vectors: their headers checked against a model's, what merging them takes counted.

What takes a model's bytes is left to the run: hashes that only reading it would tell, and numbers
that are none in plain files of differences.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from talos_engine.artifacts import (
    BaseInfo,
    Header,
    TensorSpec,
    artifact_bytes,
    common_evaluation,
    open_checkpoint,
    read_checkpoint_header,
    read_header,
)
from talos_engine.data.splits import find_task, load_split
from talos_engine.errors import MismatchError
from talos_engine.evaluation.accuracy import BATCH_SIZE
from talos_engine.evaluation.coefficients import coefficient_grid
from talos_engine.models.loading import find_spec, is_checkpoint_path, open_skeleton
from talos_engine.models.names import CHECKPOINT
from talos_engine.models.skeleton import Skeleton
from talos_engine.models.spec import MODELS
from talos_engine.workflows.bases import check_architecture, check_entries
from talos_engine.workflows.vector import header_sparsity
from talos_engine.workflows.vector_reading import open_vectors

_FLOAT = 4  # bytes
_UNREAD = "0" * 64  # instead of a hash that takes a model's bytes
_START_SECONDS = 2.5
_BYTES_PER_SECOND = 5e8
"""What ``add`` reads and writes in a second, once started: measured with four sparse vectors of
ViT-L/14, files in memory, one thread (3.7 GB in 5 to 6 seconds of processor time), rounded down."""


@dataclass(frozen=True)
class VectorFacts:
    """What is known of a vector without its changes.

    Args:
        header: Its header.
        shapes: Shape of every tensor that it may change.
        size: Of the file, in bytes.
    """

    header: Header
    shapes: Mapping[str, tuple[int, ...]]
    size: int


@dataclass(frozen=True)
class PlannedInputs:
    """Vectors and the model they belong to, without weights.

    Args:
        vectors: In the order given.
        skeleton: The model's shape.
        specs: Dtype and shape of each of its tensors; of a checkpoint, of its own.
    """

    vectors: Sequence[VectorFacts]
    skeleton: Skeleton
    specs: Mapping[str, TensorSpec]

    @property
    def model_bytes(self) -> int:
        """Size of the model's tensors, as they are read and written."""
        return sum(spec.nbytes for spec in self.specs.values())

    @property
    def tasks(self) -> list[str]:
        """The task that each vector records."""
        return [vector.header.task for vector in self.vectors]


def plan_inputs(paths: Sequence[Path], model: str | None, pretrained: str | None) -> PlannedInputs:
    """Vectors and their model, checked as ``open_inputs`` does, as far as headers tell.

    Raises:
        MismatchError: bases, names, shapes or dtypes disagree.
    """
    with ExitStack() as stack:
        plain = None if model is None else lambda: _presumed_base(paths, model, pretrained)
        files = open_vectors(stack, paths, plain)
        first = files[0].header.base
        for path, file in zip(paths, files, strict=True):
            check_recorded(model, pretrained, file.header, path)
        skeleton = open_skeleton(model, pretrained, first)
        specs: Mapping[str, TensorSpec] = skeleton.specs
        if model is not None and is_checkpoint_path(model):
            specs = dict(stack.enter_context(open_checkpoint(model)).specs)
        for path, file in zip(paths, files, strict=True):
            check_entries(path, file, specs)
        common_evaluation({path: file.header for path, file in zip(paths, files, strict=True)})
        vectors = [
            VectorFacts(file.header, dict(file.shapes), artifact_bytes(path))
            for path, file in zip(paths, files, strict=True)
        ]
    return PlannedInputs(vectors, skeleton, specs)


def _presumed_base(paths: Sequence[Path], model: str, pretrained: str | None) -> BaseInfo:
    """What files without our header are taken to belong to: what the other vectors record, if any.

    Else the model given, whose hash is not known.
    """
    for path in paths:
        header = read_header(path)
        if header is not None:
            return header.base
    if is_checkpoint_path(model):
        return read_checkpoint_header(model).base
    spec = find_spec(model, pretrained)
    return BaseInfo(spec.name, spec.pretrained, spec.architecture(), _UNREAD)


def check_recorded(model: str | None, pretrained: str | None, header: Header, path: Path) -> None:
    """Raise if a file records another base than the model, as far as no weight has to be read.

    That is another architecture, another model of the catalog, or for a checkpoint another base
    than its own. Whether it was made from an edited checkpoint's own tensors only their bytes tell.

    Raises:
        MismatchError: it does.
    """
    if model is None:
        return
    base = header.base
    if is_checkpoint_path(model):
        own = read_checkpoint_header(model).base
        if base.hash != own.hash and base.pretrained != CHECKPOINT:
            raise MismatchError(
                f"{path} was made for another base: it records {base.name} {base.hash[:12]}, "
                f"{model} was made from {own.name} {own.hash[:12]}",
                "pass the model it was made from with --model",
            )
        check_architecture(own, base, path)
        return
    known = find_spec(model, pretrained)
    same = (base.name, base.pretrained) == (known.name, known.pretrained)
    if not same and (known.name in MODELS or known.architecture() != base.architecture):
        raise MismatchError(
            f"{path} was made for another base: it records {base.name} "
            f"({base.pretrained}), the model given is {known.name} ({known.pretrained})"
        )


def count_edit(
    inputs: PlannedInputs, tasks: Sequence[str], grid: str, passes: int, models: int = 1
) -> dict[str, int | str]:
    """Coefficients to try, memory, disk and a guess of the time of an addition or negation.

    Args:
        inputs: What is merged.
        tasks: Tasks to search on; none where no coefficient is searched.
        grid: The grid to search.
        passes: How often the method reads a vector for one model.
        models: Number of models that are written.
    """
    vectors = inputs.vectors
    largest = max((math.prod(s) for v in vectors for s in v.shapes.values()), default=0)
    memory = inputs.model_bytes + 12 * largest * 2 * _FLOAT
    facts: dict[str, int | str] = {"vectors": len(vectors)}
    if tasks:
        memory += 2 * vector_memory(vectors[:1])
        sparsities = [header_sparsity(vector.header) for vector in vectors]
        facts["coefficients"] = len(coefficient_grid(grid, sparsities))
        facts["validation_examples"] = sum(
            len(load_split(find_task(name), "val")) for name in tasks
        )
        memory += evaluation_memory(inputs.skeleton)
    disk = models * inputs.model_bytes
    time = _merging_time(vectors, disk, models * passes)
    return {**facts, "memory_bytes": memory, "disk_bytes": disk, **time}


def _merging_time(
    vectors: Sequence[VectorFacts], written: int, passes: int
) -> dict[str, int | str]:
    """Bytes read, and a guess of the time without searching and learning.

    The base is read as often as it is written, a vector ``passes`` times and once for its hash.
    """
    read = written + (1 + passes) * sum(vector.size for vector in vectors)
    seconds = _START_SECONDS + (read + written) / _BYTES_PER_SECOND
    return {
        "read_bytes": read,
        "time_guess": f"{seconds:,.0f} s: {_START_SECONDS:g} s to start, then "
        f"{_BYTES_PER_SECOND / 1e6:,.0f} MB read or written a second; a search, learning or a slow "
        "disk takes longer",
    }


def vector_memory(vectors: Sequence[VectorFacts]) -> int:
    """Vectors in float32 at most, and one of them in float64."""
    total = 0
    for vector in vectors:
        for shape in vector.shapes.values():
            total += math.prod(shape) * _FLOAT
    return total + 2 * (total // max(1, len(vectors)))


def evaluation_memory(skeleton: Skeleton) -> int:
    """Parameters twice, and the widest activations of a batch, taken as a tenth of all."""
    saved = skeleton.saved_bytes(BATCH_SIZE, skeleton.structure.trainable)
    return 2 * skeleton.total_entries * _FLOAT + saved // 10
