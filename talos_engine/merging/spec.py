"""What a merging method is: task vectors in, differences to θ0 out, one tensor at a time.

A method is called once and may then read every vector from end to end, as often as its thresholds
take; what it keeps of them is small. It answers with functions that combine a single tensor, so
that no more than one tensor has to be in memory: of one vector, or where that takes less than the
whole difference, of all of them as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from talos_engine.artifacts import Header, VectorEntry, VectorPiece
from talos_engine.configuration import Method
from talos_engine.progress import Progress, silent
from talos_engine.registry import Registry

DIALECTS = ("official", "mergekit")

Combine: TypeAlias = Callable[[str], Tensor]
"""From the name of a tensor to its difference to θ0: float64, in the tensor's shape, on the CPU."""


@runtime_checkable
class RangeCombine(Protocol):
    """A ``Combine`` that can also go range by range, without the whole difference in memory."""

    def __call__(self, name: str, /) -> Tensor:
        """The whole difference."""
        ...

    def ranges(self, name: str) -> Iterator[Tensor]:
        """The difference in flat order, ``RANGE_ENTRIES`` at a time, each of one dimension."""
        ...


class VectorSource(Protocol):
    """A task vector in a file or in memory, whose changes are asked for one tensor at a time."""

    @property
    def header(self) -> Header:
        """What the vector says about itself."""
        ...

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every tensor that may be changed, by name in sorted order."""
        ...

    @property
    def dtypes(self) -> Mapping[str, torch.dtype]:
        """Dtype of every tensor that may be changed."""
        ...

    def entry(self, name: str) -> VectorEntry:
        """The change of one tensor."""
        ...

    def pieces(self, name: str) -> Iterator[VectorPiece]:
        """The change of one tensor, range by range in flat order, for what takes no more."""
        ...

    def values(self, name: str) -> Iterator[Tensor]:
        """The changes of one tensor that are stored, some at a time, without their places."""
        ...

    def stored_bytes(self, name: str) -> int:
        """How much memory ``pieces`` hold while they are taken."""
        ...


@dataclass(frozen=True)
class Merge:
    """A merging whose thresholds are known.

    Args:
        models: The combined difference; of methods that make one model per task, one for each
            vector, in their order.
        parts: What the method makes of each vector alone, in their order: the task vector after
            processing, which is what ``negate`` subtracts.
        notes: What else there is to record, as plain JSON.
    """

    models: tuple[Combine, ...]
    parts: tuple[Combine, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


Slope: TypeAlias = Callable[[int, Mapping[str, Tensor]], tuple[float, Mapping[str, Tensor]]]
"""From the number of a step and Δ to the loss of θ0 + Δ on that step's data and its gradient."""


@dataclass(frozen=True)
class MergeContext:
    """What a method may use beside the vectors.

    Args:
        seed: Keys everything random.
        slope: Of methods that learn, what they descend.
        stretch: 1 / (1 − k) for vectors of sparsity k, at least 1.
        progress: Told how far a method that learns is.
    """

    seed: int = 0
    slope: Slope | None = None
    stretch: float = 1.0
    progress: Progress = silent


class MergeMethod(Protocol):
    """Finds what has to be known of whole vectors and returns the functions that combine tensors.

    The vectors come in a fixed order (by task name, then content) with one weight each, which
    multiplies a vector before it meets the others; the coefficient that is common to all is applied
    afterwards, by the caller.
    """

    def __call__(
        self,
        config: Any,
        vectors: Sequence[VectorSource],
        weights: Sequence[float],
        context: MergeContext,
        /,
    ) -> Merge:
        """The merging."""
        ...


@dataclass(frozen=True)
class MergeEntry(Method[MergeMethod]):
    """A merging method.

    Args:
        exact_for_one: A single vector with coefficient 1 must give its fine-tuned model bit for
            bit.
        one_model_per_task: It makes one model for each vector instead of one for all.
        uses_others: What it makes of one vector depends on the others.
        draws: Whether the seed matters.
        passes: How often the changes of every vector are read for one model, for a guess of the
            time.
        learns: It learns its coefficients: its context needs a slope, its configuration has
            ``split``, the data to learn on, and ``batch_size``. No coefficient has to be given.
        check_count: Raises ``OptionError`` where the configuration asks for more vectors than there
            are; called before any file is opened.
        tuned: Values of options from which a search chooses for every task, before its
            coefficient; for methods that make one model per task.
    """

    exact_for_one: bool = False
    one_model_per_task: bool = False
    uses_others: bool = False
    draws: bool = False
    passes: int = 1
    learns: bool = False
    check_count: Callable[[Any, int], object] = lambda config, count: None
    tuned: Mapping[str, Sequence[Any]] = field(default_factory=dict)


MERGE_METHODS: Registry[MergeEntry] = Registry("merging method", "talos_engine.merging.methods")
"""Merging methods, one file each; every file registers one ``MergeMethod``."""
