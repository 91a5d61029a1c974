"""Grey scans of digits and clothes: how their rows are shared out, and how they get colours.

Each source's rows are permuted once with a fixed seed and cut into train, test and a reserve that
only the pre-training of ``tiny-clip`` sees, so that no row serves two purposes. Where the rows come
from lives in each task's file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import contrasting_colours, generator, to_bytes, wear
from talos_engine.data.views import tilt
from talos_engine.errors import DataError


@dataclass(frozen=True)
class ScanSplits:
    """Sizes of the disjoint parts of one source of scans.

    Args:
        task: Name of the task, which selects the permutation.
        rows: Number of scans in the source.
        train: Number of training scans.
        test: Number of test scans.
        reserve: Number of scans kept for the pre-training of ``tiny-clip``.
    """

    task: str
    rows: int
    train: int
    test: int
    reserve: int

    def indices(self, split: str) -> NDArray[np.int64]:
        """Rows of ``"train"``, ``"test"`` or ``"reserve"``, in a fixed order.

        Raises:
            DataError: there is no such split.
        """
        order = generator(self.task, "rows").permutation(self.rows)
        ends = np.cumsum([self.reserve, self.test, self.train])
        bounds = {
            "reserve": (0, ends[0]),
            "test": (ends[0], ends[1]),
            "train": (ends[1], ends[2]),
        }
        if split not in bounds:
            raise DataError(f"task {self.task!r} has no split {split!r}", "splits: train, test")
        first, last = bounds[split]
        return order[first:last].astype(np.int64)


def colourize(
    rng: np.random.Generator, ink: NDArray[np.float32], minimum: float
) -> NDArray[np.uint8]:
    """Scans painted with a random foreground on a random background each.

    Args:
        rng: Source of randomness.
        ink: Strength of the foreground in [0, 1], shape (n, height, width).
        minimum: Least distance of the two colours, in [0, 0.5].

    Returns:
        uint8, shape (n, height, width, 3).
    """
    pairs = np.array([contrasting_colours(rng, minimum) for _ in ink], dtype=np.float32)
    fore, back = pairs[:, 0, None, None, :], pairs[:, 1, None, None, :]
    painted = back + ink[..., None] * (fore - back)
    return to_bytes(painted)


def shift_each(
    rng: np.random.Generator, ink: NDArray[np.float32], reach: int
) -> NDArray[np.float32]:
    """Scans moved by up to ``reach`` pixels in each direction, zeros filled in.

    Args:
        rng: Source of randomness.
        ink: Shape (n, height, width).
        reach: Largest shift in pixels.
    """
    height, width = ink.shape[1:]
    padded = np.pad(ink, ((0, 0), (reach, reach), (reach, reach)))
    offsets = rng.integers(0, 2 * reach + 1, (len(ink), 2))
    moved = [
        scan[top : top + height, left : left + width]
        for scan, (top, left) in zip(padded, offsets.tolist(), strict=True)
    ]
    return np.stack(moved)


def present_digits(
    task: str, split: str, ink: NDArray[np.float32], degrees: float
) -> NDArray[np.uint8]:
    """Scans of digits as a task shows them: shifted, coloured, a little worn, and tilted.

    The reserve, which pre-training sees, stays upright and stronger in contrast.

    Args:
        task: Name of the task, which selects the random stream with the split.
        split: ``"train"``, ``"test"`` or ``"reserve"``.
        ink: Strength of the foreground in [0, 1], shape (n, 32, 32).
        degrees: Counter-clockwise tilt of all images.
    """
    rng = generator(task, split)
    if split == "reserve":
        return wear(rng, colourize(rng, shift_each(rng, ink, 3), 0.25), 0.8)
    return tilt(wear(rng, colourize(rng, shift_each(rng, ink, 2), 0.2), 0.6), degrees)
