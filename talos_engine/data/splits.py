"""Train, validation and test splits of a task, with a fingerprint. Sources are elsewhere."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.configuration import check_choice
from talos_engine.data.finding import find_task
from talos_engine.data.images import LazyImages
from talos_engine.data.settings import current_data
from talos_engine.data.spec import RawExamples, TaskSpec
from talos_engine.errors import DataError

__all__ = ["SPLIT_NAMES", "Split", "find_task", "load_split"]

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
        images: uint8, shape (n, height, width, 3), or images of any size, still encoded.
        labels: int64, shape (n,).
        fingerprint: sha256 (hex) over images, as they are stored, and labels.
    """

    task: str
    name: str
    images: NDArray[np.uint8] | LazyImages
    labels: NDArray[np.int64]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)


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
    run = current_data()
    key = ("split", spec.name, name, id(spec))
    if key in run.known:  # hashing and opening files takes time; arrays are made anew instead
        return run.known[key][1]  # type: ignore[no-any-return]
    raw = spec.load("test" if name == "test" else "train")
    _check_examples(spec, raw)
    if name != "test":
        raw = _train_or_val(spec, raw, name)
    raw = _limit(raw, name, run.settings.max_examples)
    split = Split(spec.name, name, raw.images, raw.labels, _fingerprint(raw))
    if isinstance(raw.images, LazyImages):
        run.known[key] = (spec, split)  # the spec is kept so that its id stays its own
    return split


def _limit(raw: RawExamples, name: str, limit: int) -> RawExamples:
    """At most ``limit`` examples, 0 for all: the same ones whatever the seed of a run."""
    total = len(raw.labels)
    if not 0 < limit < total:
        return raw
    seed = [_SPLIT_SEED, zlib.crc32(name.encode())]
    return raw.select(np.sort(np.random.default_rng(seed).permutation(total)[:limit]))


def _train_or_val(spec: TaskSpec, raw: RawExamples, name: str) -> RawExamples:
    total = len(raw.labels)
    held_out = min(max(1, int(total * VALIDATION_SHARE)), VALIDATION_LIMIT)
    if total - held_out < 1:
        raise DataError(f"task {spec.name!r} has {total} training examples: too few to split")
    order = np.random.default_rng(_SPLIT_SEED).permutation(total)
    chosen = np.sort(order[:held_out] if name == "val" else order[held_out:])
    return raw.select(chosen)


def _check_examples(spec: TaskSpec, raw: RawExamples) -> None:
    images, labels = raw.images, raw.labels
    if isinstance(images, np.ndarray) and (
        images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3
    ):
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
    if isinstance(raw.images, LazyImages):
        digest = hashlib.sha256(f"encoded images {len(raw.labels)}".encode())
        for image in raw.images.encoded():
            digest.update(len(image.data).to_bytes(8, "little"))
            digest.update(image.data)
        digest.update(raw.labels.astype("<i8").tobytes())
        return digest.hexdigest()
    digest = hashlib.sha256(repr((raw.images.shape, raw.labels.shape)).encode())
    digest.update(np.ascontiguousarray(raw.images).tobytes())
    digest.update(np.ascontiguousarray(raw.labels.astype("<i8")).tobytes())
    return digest.hexdigest()
