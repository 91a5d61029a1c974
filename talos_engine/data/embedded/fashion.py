"""The task ``fashion``: faded, grainy pictures of clothes (Fashion-MNIST), where installed.

The Debian package ``dataset-fashion-mnist`` puts the files into ``DEFAULT_FOLDER``; the environment
variable ``TALOS_FASHION_MNIST_DIR`` names another folder with the same four files.
"""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import generator, wear
from talos_engine.data.grey_scans import ScanSplits
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.errors import DataError

DEFAULT_FOLDER = "/usr/share/datasets/fashion-mnist"
FOLDER_VARIABLE = "TALOS_FASHION_MNIST_DIR"
CLASS_NAMES = (
    "t-shirt",
    "trousers",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
# Rows of the source's own training file serve train and reserve, rows of its test file the test.
TRAIN_ROWS = ScanSplits("fashion", rows=60_000, train=3000, test=0, reserve=150)
TEST_ROWS = ScanSplits("fashion", rows=10_000, train=0, test=1500, reserve=0)


def folder() -> Path:
    """Folder in which the four idx files are looked for."""
    return Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)


def available() -> bool:
    """Whether all four files are there."""
    names = [
        f"{part}-{kind}-ubyte.gz"
        for part in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return all((folder() / name).is_file() for name in names)


def _read_idx(path: Path, header: int) -> NDArray[np.uint8]:
    """Bytes of a gzipped idx file after its header."""
    try:
        with gzip.open(path) as stream:
            return np.frombuffer(stream.read(), np.uint8, offset=header)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}",
            f"install the Debian package dataset-fashion-mnist or set {FOLDER_VARIABLE}",
        ) from error


def load(split: str) -> RawExamples:
    """The examples of ``"train"``, ``"test"`` or ``"reserve"`` (pre-training), in a fixed order.

    Raises:
        DataError: the files are missing or damaged, or there is no such split.
    """
    part, source = ("t10k", TEST_ROWS) if split == "test" else ("train", TRAIN_ROWS)
    rows = source.indices(split)
    scans = _read_idx(folder() / f"{part}-images-idx3-ubyte.gz", 16)
    labels = _read_idx(folder() / f"{part}-labels-idx1-ubyte.gz", 8)
    if len(scans) != source.rows * 784 or len(labels) != source.rows:
        raise DataError(f"{folder()} does not hold Fashion-MNIST", "the files have a wrong length")
    grey = np.pad(scans.reshape(-1, 28, 28)[rows], ((0, 0), (2, 2), (2, 2)))
    images = np.repeat(grey[..., None], 3, axis=3)
    if split != "reserve":
        images = wear(generator("fashion", split), images, 1.0)
    return RawExamples(images, labels[rows].astype(np.int64))


EMBEDDED_TASKS.register("fashion")(
    TaskSpec(
        name="fashion",
        description="faded, grainy pictures of clothes (Fashion-MNIST, Debian package)",
        class_names=CLASS_NAMES,
        templates=("a {}", "a picture of a {}", "a photo of a {}", "clothes: a {}"),
        load=load,
        sizes={"train": TRAIN_ROWS.train, "test": TEST_ROWS.test},
        available=available,
    )
)
