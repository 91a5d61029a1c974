"""Texts composed from templates and vocabularies: splits that share no text, balanced labels.

The tasks live in ``embedded``, one file each; vocabularies that several use in ``words``.
"""

from __future__ import annotations

import enum
import random
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from talos_engine.data.spec import EMBEDDED_TASKS, TEXTS, TaskSpec, TextExamples
from talos_engine.errors import DataError
from talos_engine.seeding import derive_seed

TEXT_SIZES = MappingProxyType({"train": 3000, "test": 1000})
YES_NO = ("yes", "no")
_PARTS = ("test", "pre-training", "train", "train")  # texts fall into these by their hash
_TAUGHT = 0.6  # share of facts that pre-training shows
_PATIENCE = 1000  # compositions per example


@dataclass(frozen=True)
class Composed:
    """One text with its answers.

    Args:
        text: What the model reads.
        choices: Its answers.
        label: Position of the right one.
    """

    text: str
    choices: tuple[str, ...]
    label: int


class View(enum.Enum):
    """How an example is put.

    Pre-training sees ``PLAIN`` (short, in templates of its own) and ``BRIDGE`` (in the first of the
    task's templates), both with only a part of what has to be known by heart. ``TASK`` is the task.
    """

    PLAIN = "plain"
    BRIDGE = "bridge"
    TASK = "task"


Compose = Callable[[random.Random, View], Composed]
"""``compose(rng, view)``: one example."""


def part_of(text: str) -> str:
    """Where a text in the task's templates may be shown: a matter of the text alone.

    Returns:
        ``"test"``, ``"train"`` or ``"pre-training"``.
    """
    return _PARTS[zlib.crc32(text.encode()) % len(_PARTS)]


def is_taught(*fact: str) -> bool:
    """Whether pre-training shows a fact, named by its words: a matter of the fact alone."""
    return zlib.crc32("|".join(fact).encode()) % 1000 < 1000 * _TAUGHT


def pick(rng: random.Random, view: View, plain: Sequence[Any], own: Sequence[Any]) -> Any:
    """A template of a view, out of the plain ones and the task's own."""
    return rng.choice({View.PLAIN: plain, View.BRIDGE: own[:1], View.TASK: own}[view])


def shuffled(rng: random.Random, right: str, wrong: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """The answers in random order, and the position of the right one."""
    choices = [right, *wrong]
    rng.shuffle(choices)
    return tuple(choices), choices.index(right)


def yes_no(text: str, truth: bool) -> Composed:
    """A text that is answered with yes or no."""
    return Composed(text, YES_NO, 0 if truth else 1)


def compose_split(name: str, split: str, compose: Compose) -> TextExamples:
    """The examples of one split, all texts different, every label equally often.

    Args:
        name: The task, part of the random stream's key.
        split: ``"train"`` or ``"test"``.
        compose: Makes one example.

    Raises:
        DataError: there is no such split.
    """
    if split not in TEXT_SIZES:
        raise DataError(f"task {name!r} has no split {split!r}")
    rng = random.Random(derive_seed("text task", name, split))
    found: dict[str, Composed] = {}
    tally: Counter[int] = Counter()
    size = TEXT_SIZES[split]
    for _ in range(size * _PATIENCE):
        made = compose(rng, View.TASK)
        quota = -(-size // len(made.choices))
        fits = part_of(made.text) == split
        if not fits or made.text in found or tally[made.label] >= quota:
            continue
        found[made.text] = made
        tally[made.label] += 1
        if len(found) == size:
            break
    else:
        raise DataError(f"task {name!r} has fewer than {size} different texts")
    rows = list(found.values())
    rng.shuffle(rows)
    return TextExamples(
        tuple(row.text for row in rows),
        tuple(row.choices for row in rows),
        np.array([row.label for row in rows], dtype=np.int64),
    )


def register_texts(
    name: str,
    description: str,
    compose: Compose,
    *,
    answers: tuple[str, ...] = (),
    control: bool = False,
) -> None:
    """Make a composed task known.

    Args:
        name: Its name, that of its file.
        description: One line for ``talos tasks``.
        compose: Makes one example.
        answers: Those that all examples share; none where each has its own.
        control: Whether the task is meant as the control of a negation.
    """
    spec = TaskSpec(
        name=name,
        description=description,
        class_names=answers,
        templates=(),
        load=lambda split: compose_split(name, split, compose),
        sizes=TEXT_SIZES,
        control=control,
        kind=TEXTS,
    )
    EMBEDDED_TASKS.register(name)(spec)
