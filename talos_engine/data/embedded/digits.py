"""The task ``digits``: scikit-learn's 8x8 scans of handwritten digits, enlarged and coloured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from talos_engine.data.drawing import SIZE
from talos_engine.data.grey_scans import ScanSplits, present_digits
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec

CLASS_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SPLITS = ScanSplits("digits", rows=1797, train=1097, test=600, reserve=100)


def _ink(split: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Enlarged scans, float32 in [0, 1], shape (n, 32, 32), and their labels."""
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    rows = SPLITS.indices(split)
    enlarged = [
        Image.fromarray(scan.reshape(8, 8).astype(np.float32) / 16).resize(
            (SIZE, SIZE), Image.Resampling.BICUBIC
        )
        for scan in scans[rows]
    ]
    return np.stack([np.asarray(scan) for scan in enlarged]).clip(0, 1), labels[rows].astype(
        np.int64
    )


def load(split: str) -> RawExamples:
    """The examples of ``"train"``, ``"test"`` or ``"reserve"`` (pre-training), in a fixed order."""
    ink, labels = _ink(split)
    return RawExamples(present_digits("digits", split, ink, -30), labels)


EMBEDDED_TASKS.register("digits")(
    TaskSpec(
        name="digits",
        description="handwritten digits, 8x8 scans enlarged, coloured, tilted right (scikit-learn)",
        class_names=CLASS_NAMES,
        templates=("the digit {}", "a picture of the digit {}", "a handwritten {}"),
        load=load,
        sizes={"train": SPLITS.train, "test": SPLITS.test},
    )
)
