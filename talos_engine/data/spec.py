"""What a task is: its classes, prompts and where its examples come from. No image is made here.

Examples are of a kind, images or texts. Each kind is a dataclass with labels that can be checked,
selected from and fingerprinted; a model says which kind it takes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from talos_engine.errors import DataError
from talos_engine.kinds import IMAGES, TEXTS
from talos_engine.registry import Registry

if TYPE_CHECKING:
    from talos_engine.data.images import LazyImages

__all__ = [
    "EMBEDDED_TASKS",
    "IMAGES",
    "OWN_SPLIT",
    "TEST_SPLIT",
    "TEXTS",
    "TRAIN_SPLIT",
    "Examples",
    "Labels",
    "RawExamples",
    "TaskSpec",
    "TextExamples",
    "text_problem",
]

TRAIN_SPLIT, OWN_SPLIT, TEST_SPLIT = "train", "own", "test"
"""Where the validation examples of a task come from, see ``TaskSpec``."""
Labels: TypeAlias = NDArray[np.int64]


class Examples(Protocol):
    """Labelled examples of some kind, in a fixed order."""

    kind: ClassVar[str]

    @property
    def labels(self) -> Labels:
        """int64, shape (n,)."""
        ...

    def select(self, rows: Labels) -> Examples:
        """The examples at these positions, in this order."""
        ...

    def check(self, task: str, classes: int) -> None:
        """Raise unless there are examples, each with a label that it may have.

        Args:
            task: Name of the task, for messages.
            classes: Number of classes of the task; 0 where texts have answers of their own.

        Raises:
            DataError: there are none, or a label is outside its range.
        """
        ...

    def fingerprint(self) -> str:
        """sha256 (hex) over the examples, as they are stored, and their labels."""
        ...


@dataclass(frozen=True)
class RawExamples:
    """Labelled images as they come from a source.

    Args:
        images: uint8, shape (n, height, width, 3), or images of any size that are decoded when
            they are needed.
        labels: int64, shape (n,), values in [0, number of classes).
    """

    kind: ClassVar[str] = IMAGES
    images: NDArray[np.uint8] | LazyImages
    labels: Labels

    def select(self, rows: Labels) -> RawExamples:
        """The examples at these positions, in this order."""
        return RawExamples(self.images[rows], self.labels[rows])

    def check(self, task: str, classes: int) -> None:
        """Raise unless images and labels are what they should be; nothing is decoded."""
        images, labels = self.images, self.labels
        if isinstance(images, np.ndarray) and (
            images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3
        ):
            raise DataError(
                f"task {task!r}: images must be uint8 of shape (n, height, width, 3), "
                f"not {images.dtype} of shape {images.shape}"
            )
        if len(labels) == 0 or len(labels) != len(images):
            raise DataError(f"task {task!r}: {len(images)} images with {len(labels)} labels")
        outside = np.flatnonzero((labels < 0) | (labels >= classes))
        if len(outside):
            row = int(outside[0])
            raise DataError(
                f"task {task!r}: row {row} has label {int(labels[row])}, "
                f"outside the {classes} classes"
            )

    def fingerprint(self) -> str:
        """sha256 (hex) over images, as they are stored, and labels."""
        if not isinstance(self.images, np.ndarray):
            digest = hashlib.sha256(f"encoded images {len(self.labels)}".encode())
            for image in self.images.encoded():
                digest.update(len(image.data).to_bytes(8, "little"))
                digest.update(image.data)
            digest.update(self.labels.astype("<i8").tobytes())
            return digest.hexdigest()
        digest = hashlib.sha256(repr((self.images.shape, self.labels.shape)).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        digest.update(np.ascontiguousarray(self.labels.astype("<i8")).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class TextExamples:
    """Labelled texts, each with the answers that it may have.

    Args:
        texts: What the model reads, one per example.
        choices: The answers of each example, at least two; of a task with fixed answers the same
            tuple for every example, all different, see ``with_answers``.
        labels: int64, shape (n,): position of the right answer among the example's own.
    """

    kind: ClassVar[str] = TEXTS
    texts: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]
    labels: Labels

    @classmethod
    def with_answers(
        cls, texts: Sequence[str], answers: Sequence[str], labels: Labels
    ) -> TextExamples:
        """Examples that all have the same answers."""
        return cls(tuple(texts), (tuple(answers),) * len(texts), labels)

    def select(self, rows: Labels) -> TextExamples:
        """The examples at these positions, in this order."""
        return TextExamples(
            tuple(self.texts[row] for row in rows),
            tuple(self.choices[row] for row in rows),
            self.labels[rows],
        )

    def check(self, task: str, classes: int) -> None:
        """Raise unless every example has a text, different answers and the label of one."""
        counts = (len(self.texts), len(self.choices), len(self.labels))
        if len(set(counts)) > 1 or not counts[0]:
            raise DataError(
                f"task {task!r}: {counts[0]} texts with {counts[1]} choices and {counts[2]} labels"
            )
        for row, (text, choices, label) in enumerate(
            zip(self.texts, self.choices, self.labels.tolist(), strict=True)
        ):
            problem = text_problem(text, choices)
            if not problem and classes not in (0, len(choices)):
                problem = f"has {len(choices)} answers, the task has {classes}"
            if not problem and not 0 <= label < len(choices):
                problem = f"has label {label}, outside its {len(choices)} answers"
            if problem:
                raise DataError(f"task {task!r}: row {row} {problem}")

    def fingerprint(self) -> str:
        """sha256 (hex) over texts, answers and labels."""
        digest = hashlib.sha256(f"texts {len(self.labels)}".encode())
        for text, choices in zip(self.texts, self.choices, strict=True):
            for part in (str(len(choices)), text, *choices):
                data = part.encode("utf-8", "surrogatepass")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
        digest.update(np.ascontiguousarray(self.labels.astype("<i8")).tobytes())
        return digest.hexdigest()


def text_problem(text: str, choices: Sequence[str]) -> str:
    """Why a text with these answers cannot be used; empty if it can."""
    if not text.strip():
        return "has an empty text"
    if len(choices) < 2:
        return f"has {len(choices)} answer, two are needed"
    if any(not choice.strip() for choice in choices):
        return "has an empty answer"
    if len({choice.strip() for choice in choices}) < len(choices):
        return f"has the same answer twice: {', '.join(choices)}"
    return ""


@dataclass(frozen=True)
class TaskSpec:
    """A classification task.

    Args:
        name: Name on the command line.
        description: One line for ``talos tasks``.
        class_names: Human-readable class names, index = label; of texts, the answers that all
            examples share, empty where each has its own.
        templates: Prompt templates, each with one ``{}`` for the class name; none for texts.
        load: ``load("train" | "test")`` gives that split's examples, in a fixed order; also
            ``load("val")`` where ``validation`` is ``"own"``.
        available: Whether the data is on this machine right now.
        control: Whether the task is meant as the control of a negation.
        source: Where the data comes from, in a few words.
        sizes: Number of examples by split of the source, where known without reading it.
        require: Raises ``DataError``, saying what can be done, where the data can be had neither
            here nor from the network. Not given: it must be available.
        kind: Kind of its examples: ``IMAGES`` or ``TEXTS``.
        length_normalized: Whether an answer's score is its log-probability per token.
        validation: Where validation examples come from: a tenth of ``"train"``, a split of the
            task's ``"own"``, or the first 32 of a fixed shuffle of ``"test"``, which is the rest.
    """

    name: str
    description: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    load: Callable[[str], Examples]
    available: Callable[[], bool] = lambda: True
    control: bool = False
    source: str = "embedded"
    sizes: Mapping[str, int] = field(default_factory=dict)
    require: Callable[[], None] | None = None
    kind: str = IMAGES
    length_normalized: bool = False
    validation: str = TRAIN_SPLIT


EMBEDDED_TASKS: Registry[TaskSpec] = Registry("task", "talos_engine.data.embedded")
