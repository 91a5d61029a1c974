"""Train, validation and test splits of a task, with a fingerprint. Sources are elsewhere."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.configuration import check_choice
from talos_engine.data.finding import find_task
from talos_engine.data.images import LazyImages
from talos_engine.data.settings import current_data
from talos_engine.data.spec import (
    OWN_SPLIT,
    TEST_SPLIT,
    TRAIN_SPLIT,
    Examples,
    Labels,
    RawExamples,
    TaskSpec,
)
from talos_engine.errors import DataError

__all__ = ["SPLIT_NAMES", "Split", "find_task", "load_split"]

SPLIT_NAMES = ("train", "val", "test")
VALIDATION_SHARE = 0.1
VALIDATION_LIMIT = 5_000
VALIDATION_OF_TEST = 32
"""Validation examples where they come out of the test split, as in the authors' code."""
_SPLIT_SEED = 20_250_402


@dataclass(frozen=True)
class Split:
    """The examples of one split of one task.

    Args:
        task: Name of the task.
        name: ``train``, ``val`` or ``test``.
        examples: Images or texts, with their labels.
        fingerprint: sha256 (hex) over the examples, as they are stored, and their labels.
    """

    task: str
    name: str
    examples: Examples
    fingerprint: str

    @property
    def labels(self) -> Labels:
        """int64, shape (n,)."""
        return self.examples.labels

    @property
    def images(self) -> NDArray[np.uint8] | LazyImages:
        """uint8 of shape (n, height, width, 3), or images of any size, still encoded.

        Raises:
            DataError: the examples are no images.
        """
        if not isinstance(self.examples, RawExamples):
            raise DataError(f"the examples of task {self.task!r} are {self.examples.kind}")
        return self.examples.images

    def __len__(self) -> int:
        return len(self.labels)


def load_split(spec: TaskSpec, name: str) -> Split:
    """One split of a task.

    The validation split is a fixed tenth (at most 5,000) of the source's training examples, and
    ``train`` is the rest, unless the task says otherwise. It is the same for calibration,
    coefficient search and hyper-parameters whatever the seed of a run.

    Args:
        spec: The task.
        name: ``train``, ``val`` or ``test``.

    Raises:
        OptionError: no such split.
        DataError: the examples are malformed or too few.
    """
    check_choice("split", name, SPLIT_NAMES)
    run = current_data()
    key = ("split", spec.name, name, id(spec))
    if key in run.known:  # hashing and opening files takes time; arrays are made anew instead
        return run.known[key][1]  # type: ignore[no-any-return]
    raw = _SOURCES[spec.validation](spec, name)
    raw = _limit(raw, name, run.settings.max_examples)
    split = Split(spec.name, name, raw, raw.fingerprint())
    if not isinstance(raw, RawExamples) or isinstance(raw.images, LazyImages):
        run.known[key] = (spec, split)  # the spec is kept so that its id stays its own
    return split


def _limit(raw: Examples, name: str, limit: int) -> Examples:
    """At most ``limit`` examples, 0 for all: the same ones whatever the seed of a run."""
    total = len(raw.labels)
    if not 0 < limit < total:
        return raw
    seed = [_SPLIT_SEED, zlib.crc32(name.encode())]
    return raw.select(np.sort(np.random.default_rng(seed).permutation(total)[:limit]))


def _load(spec: TaskSpec, name: str) -> Examples:
    raw = spec.load(name)
    raw.check(spec.name, len(spec.class_names))
    return raw


def _from_train(spec: TaskSpec, name: str) -> Examples:
    """Validation is a tenth of the training examples."""
    raw = _load(spec, "test" if name == "test" else "train")
    if name == "test":
        return raw
    held_out = min(max(1, int(len(raw.labels) * VALIDATION_SHARE)), VALIDATION_LIMIT)
    return _divide(spec, raw, held_out, "training", first=name == "val")


def _from_test(spec: TaskSpec, name: str) -> Examples:
    """Validation is a few examples of the test split, which is the rest."""
    if name == "train":
        return _load(spec, name)
    raw = _load(spec, "test")
    return _divide(spec, raw, VALIDATION_OF_TEST, "test", first=name == "val")


def _divide(spec: TaskSpec, raw: Examples, count: int, what: str, *, first: bool) -> Examples:
    """The first ``count`` of a fixed shuffle, or the rest, in the source's order."""
    total = len(raw.labels)
    if total - count < 1:
        raise DataError(f"task {spec.name!r} has {total} {what} examples: too few to split")
    order = np.random.default_rng(_SPLIT_SEED).permutation(total)
    return raw.select(np.sort(order[:count] if first else order[count:]))


_SOURCES = {TRAIN_SPLIT: _from_train, OWN_SPLIT: _load, TEST_SPLIT: _from_test}
