"""What ``add`` and ``negate`` share: vectors and base opened and checked, one tensor at a time.

Headers come first: every key, shape, dtype and recorded base is compared before any change is read.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor

from talos_engine.artifacts import (
    BaseInfo,
    Header,
    VectorFile,
    file_hash,
    restore,
)
from talos_engine.errors import OptionError
from talos_engine.merging.ops import apply_combined, listed_names
from talos_engine.merging.spec import Combine, MergeEntry
from talos_engine.models.loading import OpenBase, open_base
from talos_engine.models.spec import BaseWeights
from talos_engine.workflows.bases import (
    check_base,
    check_entries,
    vectors_evaluation,
)
from talos_engine.workflows.checkpoints import stream_model
from talos_engine.workflows.opening import Common
from talos_engine.workflows.vector_options import own_options
from talos_engine.workflows.vector_reading import merge_order, open_vectors

Edit: TypeAlias = Callable[[str, Tensor], Tensor]
"""From the name of a tensor and its θ0 to the edited tensor."""


@dataclasses.dataclass(frozen=True)
class MergeInputs:
    """Open vectors and their base, checked against each other.

    Args:
        vectors: In the fixed order of merging.
        paths: Their files, in the same order.
        order: Position of each of them among the files given.
        model: θ0; a checkpoint's tensors are read when asked for.
        base: Which of the identities of ``model`` the vectors were made from.
        evaluation: How what is made of them must be evaluated: ``plain`` or ``linearized``.
    """

    vectors: tuple[VectorFile, ...]
    paths: tuple[Path, ...]
    order: tuple[int, ...]
    model: OpenBase
    base: BaseInfo
    evaluation: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tensors that any vector lists."""
        return listed_names(self.vectors)

    @property
    def weights(self) -> BaseWeights:
        """θ0 with its identity; whose hash takes a pass over a checkpoint's tensors."""
        return self.model.weights

    @functools.cached_property
    def hashes(self) -> Mapping[Path, str]:
        """SHA-256 of every vector's file, several at a time."""
        with ThreadPoolExecutor(min(len(self.paths), torch.get_num_threads() + 1)) as pool:
            return dict(zip(self.paths, pool.map(file_hash, self.paths), strict=True))

    def resident(self) -> BaseWeights:
        """θ0 in memory, as a model needs it."""
        return dataclasses.replace(self.weights, tensors=dict(self.weights.tensors))

    def describe(self, position: int, coef: float, config: Any) -> dict[str, Any]:
        """What an artifact's header says of one of the vectors.

        Args:
            position: The vector's.
            coef: What it was multiplied with.
            config: The method's configuration, whose options may differ between vectors.
        """
        own = own_options(config, position)
        header = self.vectors[position].header
        return {
            "task": header.task,
            "method": header.method,
            "coef": coef,
            "sha256": self.hashes[self.paths[position]],
            **({"options": own} if own else {}),
        }


@contextmanager
def open_inputs(
    paths: Sequence[Path],
    model: str | None,
    marks: Sequence[tuple[float, ...]] = (),
    pretrained: str | None = None,
) -> Iterator[MergeInputs]:
    """Task vectors and the base they belong to, open and checked.

    Only files of others are read, for numbers that are none.

    Args:
        paths: Vector files, at least one.
        model: The base; ``None`` takes the one that the vectors record.
        marks: What tells vectors of equal content apart, see ``merge_order``.
        pretrained: Where the base's weights are, if the user says.

    Raises:
        MismatchError: bases, names, shapes or dtypes disagree.
        CorruptFileError: a plain file of differences holds NaN or Inf.
    """
    with ExitStack() as stack:
        named = stack.enter_context(open_base(model, pretrained)) if model is not None else None
        vectors = open_vectors(stack, paths, None if named is None else lambda: named.weights.info)
        base = named
        if base is None:
            base = stack.enter_context(open_base(None, pretrained, vectors[0].header.base))
        if base.origin is None:  # in memory already: a foreign base is worth more than its names
            check_base(base.weights, vectors[0].header.base, paths[0])
        for path, vector in zip(paths, vectors, strict=True):
            check_entries(path, vector, base.specs)
        identity = check_base(base, vectors[0].header.base, paths[0])
        for vector in vectors:
            vector.check_foreign()
        order = merge_order(vectors, marks)
        yield MergeInputs(
            vectors=tuple(vectors[position] for position in order),
            paths=tuple(paths[position] for position in order),
            order=tuple(order),
            model=base,
            base=identity,
            evaluation=vectors_evaluation(paths, [vector.header for vector in vectors], base),
        )


def choose_edit(method: MergeEntry, inputs: MergeInputs, combine: Combine, coef: float) -> Edit:
    """The edit ``θ0 + coef · Δ``; for a single vector that must come back exactly, its restoring.

    Args:
        method: The merging method.
        inputs: What was merged, each vector with weight 1.
        combine: Δ.
        coef: α.
    """
    (first, *others) = inputs.vectors
    alone = method.exact_for_one and not others and coef == 1.0
    if alone and inputs.weights.info.hash == first.header.base.hash:
        return lambda name, theta0: restore(theta0, first.entry(name))
    return lambda name, theta0: apply_combined(theta0, combine, name, coef)


def write_edited(
    out: Path,
    inputs: MergeInputs,
    edit: Edit,
    *,
    header: Mapping[str, Any],
    companions: Callable[[], object],
    common: Common,
    shard_bytes: int | None = None,
) -> None:
    """Write θ0 with the tensors edited that a vector lists, one tensor in memory at a time.

    Args:
        out: The checkpoint, which the model's library loads by itself.
        inputs: Where θ0 comes from and which tensors are edited.
        edit: The edit.
        header: Method, config and, where the seed mattered, seed of the checkpoint's header.
        companions: Writes what stands beside the checkpoint, just before that appears.
        common: Overwriting.
        shard_bytes: See ``stream_model``.
    """
    edited = frozenset(inputs.names)
    fields = {"seed": 0, "task": "", **header}
    fields["config"] = {
        **fields["config"],
        "mask": None,
        "evaluation": inputs.evaluation,
    }

    def tensor(name: str) -> Tensor:
        theta0 = inputs.model.tensors[name]
        return edit(name, theta0) if name in edited else theta0

    stream_model(
        out,
        inputs.model.folder,
        Header(kind="checkpoint", base=inputs.base, data="", **fields),
        inputs.model.specs,
        tensor,
        force=common.force,
        companions=companions,
        shard_bytes=shard_bytes,
    )


def materialize(combine: Combine, names: Sequence[str]) -> dict[str, Tensor]:
    """Δ of all tensors in memory, as a search needs it; tensors without any change left out."""
    found = ((name, combine(name)) for name in names)
    return {name: delta for name, delta in found if bool(delta.any())}


class DeferredParts(Mapping[str, Mapping[str, Tensor]]):
    """Processed vectors by task, each computed when it is asked for and not kept.

    Args:
        parts: What gives each of them, by task.
        names: The tensors that they may change.
    """

    def __init__(self, parts: Mapping[str, Combine], names: Sequence[str]) -> None:
        self._parts = parts
        self._names = names

    def __getitem__(self, task: str) -> Mapping[str, Tensor]:
        return materialize(self._parts[task], self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)


def check_distinct_tasks(tasks: Sequence[str], why: str) -> None:
    """Raise unless every vector is of a task of its own.

    Raises:
        OptionError: two are of one task, or one records none.
    """
    if "" in tasks or len(set(tasks)) < len(tasks):
        known = ", ".join(sorted(filter(None, tasks))) or "unknown"
        raise OptionError(
            f"{why} needs vectors of different tasks", f"tasks of the vectors: {known}"
        )
