"""Task vectors read with their base, applied to it, and the order in which they are merged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import Tensor

from talos_engine.artifacts import (
    BaseInfo,
    TaskVector,
    TensorSpec,
    VectorFile,
    hash_tensors,
    inspect_kind,
    open_vector,
    read_vector,
    restore,
)
from talos_engine.merging.ops import apply_deltas, dense_changes
from talos_engine.merging.spec import VectorSource
from talos_engine.models.loading import load_weights
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.bases import check_base, check_entries, check_same_base


def read_vectors(
    paths: Sequence[Path], model: str | None, pretrained: str | None = None
) -> tuple[list[TaskVector], BaseWeights]:
    """Task vectors and the base they belong to, everything checked against each other.

    Raises:
        MismatchError: bases, names, shapes or dtypes disagree.
    """
    named = load_weights(model, pretrained) if model is not None else None
    plain_base = named.info if named is not None else None
    vectors = [read_vector(path, allow_plain_base=plain_base) for path in paths]
    check_same_base(paths, [vector.header.base for vector in vectors])
    weights = named or load_weights(None, pretrained, vectors[0].header.base)
    specs = {
        name: TensorSpec(value.dtype, tuple(value.shape)) for name, value in weights.tensors.items()
    }
    for path, vector in zip(paths, vectors, strict=True):
        check_base(weights, vector.header.base, path)
        check_entries(path, vector, specs)
    return vectors, weights


def open_vectors(
    stack: ExitStack, paths: Sequence[Path], plain_base: Callable[[], BaseInfo] | None
) -> list[VectorFile]:
    """Vector files, open until the stack closes, all of one base; no tensor is read.

    Args:
        stack: Closes them.
        paths: The files, at least one.
        plain_base: Returns the base of files without our header, asked where there are any;
            ``None`` refuses them.

    Raises:
        ArtifactError: a file is no sound vector.
        MismatchError: they record different bases.
    """
    plain = None
    if plain_base is not None and any(inspect_kind(path) == "tensors" for path in paths):
        plain = plain_base()
    vectors = [stack.enter_context(open_vector(path, allow_plain_base=plain)) for path in paths]
    check_same_base(paths, [vector.header.base for vector in vectors])
    return vectors


def apply_vector(weights: BaseWeights, vector: TaskVector) -> dict[str, Tensor]:
    """``θ0 + τ`` for every tensor that the vector changes.

    Bit for bit the fine-tuned model where the vector was made from exactly these weights.
    """
    if weights.info.hash == vector.header.base.hash:
        return {
            name: restore(weights.tensors[name], entry) for name, entry in vector.entries.items()
        }
    return apply_deltas(weights.tensors, dense_changes(vector), 1.0)


def merge_order(
    vectors: Sequence[VectorSource], marks: Sequence[tuple[float, ...]] = ()
) -> list[int]:
    """Positions of the vectors in the fixed order of merging: by task, then by content.

    The content is read only where several vectors are of one task, and tensor by tensor.

    Args:
        vectors: The vectors.
        marks: What tells vectors of equal content apart, for each the same count of numbers; may
            be empty.
    """
    tasks = [vector.header.task for vector in vectors]

    def key(position: int) -> tuple[str, str, tuple[float, ...]]:
        alone = tasks.count(tasks[position]) == 1
        content = "" if alone else _content_hash(vectors[position])
        return tasks[position], content, marks[position] if marks else ()

    return sorted(range(len(vectors)), key=key)


def _content_hash(vector: VectorSource) -> str:
    """A hash over the changes of a vector, whatever their storage."""
    digest = hashlib.sha256()
    for name in vector.shapes:
        entry = vector.entry(name)
        if entry.nnz:
            digest.update(hash_tensors({name: entry.dense()}).encode())
    return digest.hexdigest()
