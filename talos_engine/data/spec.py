"""What a task is: its classes, prompts and where its examples come from. No image is made here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from talos_engine.registry import Registry

if TYPE_CHECKING:
    from talos_engine.data.images import LazyImages


@dataclass(frozen=True)
class RawExamples:
    """Labelled images as they come from a source.

    Args:
        images: uint8, shape (n, height, width, 3), or images of any size that are decoded when
            they are needed.
        labels: int64, shape (n,), values in [0, number of classes).
    """

    images: NDArray[np.uint8] | LazyImages
    labels: NDArray[np.int64]

    def select(self, rows: NDArray[np.int64]) -> RawExamples:
        """The examples at these positions, in this order."""
        return RawExamples(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class TaskSpec:
    """A classification task.

    Args:
        name: Name on the command line.
        description: One line for ``talos tasks``.
        class_names: Human-readable class names, index = label.
        templates: Prompt templates, each with one ``{}`` for the class name.
        load: ``load("train" | "test")`` gives that split's examples, in a fixed order.
        available: Whether the data is on this machine right now.
        control: Whether the task is meant as the control of a negation.
        source: Where the data comes from, in a few words.
        sizes: Number of examples by split of the source, where known without reading it.
        require: Raises ``DataError``, saying what can be done, where the data can be had neither
            here nor from the network. Not given: it must be available.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    load: Callable[[str], RawExamples]
    available: Callable[[], bool] = lambda: True
    control: bool = False
    source: str = "embedded"
    sizes: Mapping[str, int] = field(default_factory=dict)
    require: Callable[[], None] | None = None


EMBEDDED_TASKS: Registry[TaskSpec] = Registry("task", "talos_engine.data.embedded")
