"""What a merging method is: task vectors and weights in, one combined difference out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from talos_engine.artifacts import TaskVector
from talos_engine.configuration import Method
from talos_engine.registry import Registry


class MergeMethod(Protocol):
    """Combines vectors into one difference to θ0, by tensor name, float64.

    The vectors come in a fixed order (by task name) with one weight each; the coefficient that is
    common to all is applied afterwards, by the caller.
    """

    def __call__(
        self, config: Any, vectors: Sequence[TaskVector], weights: Sequence[float], /
    ) -> Mapping[str, Tensor]:
        """The combined difference."""
        ...


@dataclass(frozen=True)
class MergeEntry(Method[MergeMethod]):
    """A merging method.

    Args:
        exact_for_one: A single vector with coefficient 1 must give its fine-tuned model bit for
            bit.
    """

    exact_for_one: bool = False


MERGE_METHODS: Registry[MergeEntry] = Registry("merging method", "talos_engine.merging.methods")
