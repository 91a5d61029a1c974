"""What a task is: its classes, prompts and where its examples come from. No image is made here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.registry import Registry


@dataclass(frozen=True)
class RawExamples:
    """Labelled images as they come from a source.

    Args:
        images: uint8, shape (n, height, width, 3).
        labels: int64, shape (n,), values in [0, number of classes).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class TaskSpec:
    """A classification task.

    Args:
        name: Name on the command line.
        description: One line for ``talos tasks``.
        class_names: Human-readable class names, index = label.
        templates: Prompt templates, each with one ``{}`` for the class name.
        load: ``load("train" | "test")`` gives that split's examples, in a fixed order.
        available: Whether the data can be had on this machine right now.
        control: Whether the task is meant as the control of a negation.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    load: Callable[[str], RawExamples]
    available: Callable[[], bool] = lambda: True
    control: bool = False


EMBEDDED_TASKS: Registry[TaskSpec] = Registry("task", "talos_engine.data.embedded")
