"""Train, validation and test splits of a task, with a fingerprint. Sources are elsewhere."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.configuration import check_choice
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.errors import DataError

SPLIT_NAMES = ("train", "val", "test")
VALIDATION_SHARE = 0.1
VALIDATION_LIMIT = 5_000
_SPLIT_SEED = 20_250_402


@dataclass(frozen=True)
class Split:
    """The examples of one split of one task.

    Args:
        task: Name of the task.
        name: ``train``, ``val`` or ``test``.
        images: uint8, shape (n, height, width, 3).
        labels: int64, shape (n,).
        fingerprint: sha256 (hex) over shapes, images and labels.
    """

    task: str
    name: str
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)


def find_task(name: str) -> TaskSpec:
    """The task called ``name``, its data being available here.

    Raises:
        UnknownNameError: there is no such task.
        DataError: its data cannot be had on this machine.
    """
    spec = EMBEDDED_TASKS.get(name)
    if not spec.available():
        raise DataError(
            f"the data of task {name!r} is not on this machine", f"needed: {spec.description}"
        )
    return spec


def load_split(spec: TaskSpec, name: str) -> Split:
    """One split of a task.

    The validation split is a fixed tenth (at most 5,000) of the source's training examples, the
    same for calibration, coefficient search and hyper-parameters whatever the seed of a run;
    ``train`` is the rest.

    Args:
        spec: The task.
        name: ``train``, ``val`` or ``test``.

    Raises:
        OptionError: no such split.
        DataError: the examples are malformed or too few.
    """
    check_choice("split", name, SPLIT_NAMES)
    raw = spec.load("test" if name == "test" else "train")
    _check_examples(spec, raw)
    if name != "test":
        raw = _train_or_val(spec, raw, name)
    return Split(spec.name, name, raw.images, raw.labels, _fingerprint(raw))


def _train_or_val(spec: TaskSpec, raw: RawExamples, name: str) -> RawExamples:
    total = len(raw.labels)
    held_out = min(max(1, int(total * VALIDATION_SHARE)), VALIDATION_LIMIT)
    if total - held_out < 1:
        raise DataError(f"task {spec.name!r} has {total} training examples: too few to split")
    order = np.random.default_rng(_SPLIT_SEED).permutation(total)
    chosen = np.sort(order[:held_out] if name == "val" else order[held_out:])
    return RawExamples(raw.images[chosen], raw.labels[chosen])


def _check_examples(spec: TaskSpec, raw: RawExamples) -> None:
    images, labels = raw.images, raw.labels
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise DataError(
            f"task {spec.name!r}: images must be uint8 of shape (n, height, width, 3), "
            f"not {images.dtype} of shape {images.shape}"
        )
    if len(labels) == 0 or len(labels) != len(images):
        raise DataError(f"task {spec.name!r}: {len(images)} images with {len(labels)} labels")
    outside = np.flatnonzero((labels < 0) | (labels >= len(spec.class_names)))
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"task {spec.name!r}: row {row} has label {int(labels[row])}, "
            f"outside the {len(spec.class_names)} classes"
        )


def _fingerprint(raw: RawExamples) -> str:
    digest = hashlib.sha256(repr((raw.images.shape, raw.labels.shape)).encode())
    digest.update(np.ascontiguousarray(raw.images).tobytes())
    digest.update(np.ascontiguousarray(raw.labels.astype("<i8")).tobytes())
    return digest.hexdigest()
