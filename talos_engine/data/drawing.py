"""Canvas, colours and wear that the embedded tasks' drawings share: small RGB images made with PIL.

Coordinates are fractions of the canvas, (0, 0) top left, (1, 1) bottom right. Drawings are made
``OVERSAMPLING`` times too large and averaged down. Outlines of shapes live in
``shape_outlines.py``, letters and digits in ``glyphs.py``; what a class looks like lives in its
task's file. Nothing here knows about tasks' names, prompts or captions.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from talos_engine.data.spec import RawExamples
from talos_engine.errors import DataError

SIZE = 32
OVERSAMPLING = 3
CANVAS = SIZE * OVERSAMPLING

Colour = tuple[int, int, int]
Points = NDArray[np.float64]
DrawClass = Callable[[np.random.Generator, int, float], NDArray[np.uint8]]

SPLIT_SIZES = {"train": 2000, "test": 1000}


def generator(task: str, split: str) -> np.random.Generator:
    """Random generator of one split of one task: the same stream every time, apart from all others.

    Args:
        task: Name of the task.
        split: Name of the split.
    """
    return np.random.default_rng([zlib.crc32(task.encode()), zlib.crc32(split.encode())])


def draw_split(
    task: str,
    split: str,
    classes: int,
    draw: DrawClass,
    roughness: float,
    view: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = lambda images: images,
) -> RawExamples:
    """Balanced, shuffled examples of one split of a procedural task.

    Args:
        task: Name of the task, which selects the random stream.
        split: ``"train"`` or ``"test"``.
        classes: Number of classes.
        draw: ``draw(rng, label, roughness)`` gives one image, uint8, shape (32, 32, 3).
        roughness: Handed to ``draw`` and to ``wear``; 0 is clean, 1 is hard.
        view: The change of appearance that all images share, uint8 (n, 32, 32, 3) to the same.

    Raises:
        DataError: there is no such split.
    """
    if split not in SPLIT_SIZES:
        raise DataError(
            f"task {task!r} has no split {split!r}", f"splits: {', '.join(SPLIT_SIZES)}"
        )
    rng = generator(task, split)
    labels = rng.permutation(np.arange(SPLIT_SIZES[split], dtype=np.int64) % classes)
    images = np.stack([draw(rng, int(label), roughness) for label in labels])
    return RawExamples(view(wear(rng, images, roughness)), labels)


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixel values rounded and clipped to [0, 255], uint8."""
    pixels: NDArray[np.uint8] = np.clip(values + 0.5, 0, 255).astype(np.uint8)
    return pixels


def random_colour(rng: np.random.Generator) -> Colour:
    """Colour drawn uniformly from the RGB cube."""
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def colour_distance(one: Colour, other: Colour) -> float:
    """Distance of two colours weighted by how strongly the eye sees each channel, in [0, 1]."""
    squares = [(a - b) ** 2 for a, b in zip(one, other, strict=True)]
    return float((0.3 * squares[0] + 0.59 * squares[1] + 0.11 * squares[2]) ** 0.5 / 255)


def contrasting_colours(rng: np.random.Generator, minimum: float = 0.35) -> tuple[Colour, Colour]:
    """Two random colours at least ``minimum`` apart (foreground, background).

    Args:
        rng: Source of randomness.
        minimum: Least ``colour_distance`` of the two, in [0, 0.5].
    """
    while True:
        foreground, background = random_colour(rng), random_colour(rng)
        if colour_distance(foreground, background) >= minimum:
            return foreground, background


def backdrop(rng: np.random.Generator, base: Colour, unrest: float) -> Image.Image:
    """Canvas-sized background: one colour, with smooth blotches of strength ``unrest``.

    Args:
        rng: Source of randomness.
        base: Mean colour.
        unrest: Standard deviation of the blotches as a fraction of the full range; 0 is plain.
    """
    if unrest <= 0:
        return Image.new("RGB", (CANVAS, CANVAS), base)
    cells = int(rng.integers(2, 8))
    coarse = np.array(base) + rng.normal(0, 255 * unrest, (cells, cells, 3))
    small = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    return small.resize((CANVAS, CANVAS), Image.Resampling.BICUBIC)


def place(
    points: Points,
    centre: tuple[float, float],
    radius: float,
    degrees: float = 0.0,
    stretch: float = 1.0,
) -> Points:
    """Points moved from the unit circle's coordinates onto the canvas.

    Args:
        points: Shape (k, 2), about within [-1, 1], y pointing down.
        centre: Where the origin goes, in canvas fractions.
        radius: Length of the unit, in canvas fractions.
        degrees: Clockwise rotation about the origin.
        stretch: Factor on x before the rotation.
    """
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    turn = np.array([[cos * stretch, sin * stretch], [-sin, cos]])
    placed: Points = points @ turn * radius + np.array(centre)
    return placed


class Scene:
    """A drawing in progress.

    Args:
        canvas: What to draw on, RGB, ``CANVAS`` pixels square; it is changed in place.
    """

    def __init__(self, canvas: Image.Image) -> None:
        self.canvas = canvas
        self.pen = ImageDraw.Draw(canvas)

    def polygon(self, points: Points, colour: Colour) -> None:
        """Fill the polygon with the given corners, shape (k, 2)."""
        self.pen.polygon((points * CANVAS).ravel().tolist(), fill=colour)

    def stroke(self, points: Points, colour: Colour, width: float, closed: bool = False) -> None:
        """Draw a line through the given points, ``width`` in canvas fractions."""
        path = np.concatenate([points, points[:2]]) if closed else points
        pixels = max(1, round(width * CANVAS))
        self.pen.line((path * CANVAS).ravel().tolist(), fill=colour, width=pixels, joint="curve")

    def disc(self, centre: tuple[float, float], radius: float, colour: Colour) -> None:
        """Fill a circle."""
        x, y, r = centre[0] * CANVAS, centre[1] * CANVAS, radius * CANVAS
        self.pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def stamp(self, mask: Image.Image, centre: tuple[float, float], colour: Colour) -> None:
        """Paint ``colour`` through a greyscale mask centred on a point."""
        x = round(centre[0] * CANVAS - mask.width / 2)
        y = round(centre[1] * CANVAS - mask.height / 2)
        self.canvas.paste(colour, (x, y), mask)

    def clutter(
        self, rng: np.random.Generator, amount: float, colours: Sequence[Colour] | None = None
    ) -> None:
        """Scatter short strokes and small dots over the canvas.

        Args:
            rng: Source of randomness.
            amount: Mean number of pieces.
            colours: Colours to choose from; any colour where not given.
        """
        for _ in range(int(rng.poisson(amount))):
            colour = (
                random_colour(rng) if colours is None else colours[int(rng.integers(len(colours)))]
            )
            start = rng.random(2)
            if rng.random() < 0.7:
                end = start + rng.normal(0, 0.3, 2)
                self.stroke(np.stack([start, end]), colour, float(rng.uniform(0.015, 0.05)))
            else:
                x, y = start.tolist()
                self.disc((x, y), float(rng.uniform(0.015, 0.04)), colour)

    def pixels(self) -> NDArray[np.uint8]:
        """The drawing at its final size, uint8, shape (32, 32, 3)."""
        return np.asarray(self.canvas.reduce(OVERSAMPLING))


def wear(
    rng: np.random.Generator,
    images: NDArray[np.uint8],
    roughness: float | NDArray[np.float32],
) -> NDArray[np.uint8]:
    """Images with varied exposure, slight blur and grain.

    Args:
        rng: Source of randomness.
        images: uint8, shape (n, height, width, 3).
        roughness: Strength in [0, 1.5], one for all or shape (n,); 0 leaves images as they are.
    """
    count = len(images)
    shape = (count, 1, 1, 1)
    strength = np.broadcast_to(np.asarray(roughness, np.float32), (count,)).reshape(shape)
    worn: NDArray[Any] = images.astype(np.float32)
    padded = np.pad(worn, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    beside = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1]
    beside += padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2]
    blur = 0.8 * strength * rng.random(shape, np.float32)
    worn = (1 - blur) * worn + blur * (beside + worn) / 5
    mean = worn.mean(axis=(1, 2), keepdims=True)
    contrast = 1 - 0.45 * strength * rng.random(shape, np.float32)
    shift = 15 * strength * rng.standard_normal((count, 1, 1, 3), np.float32)
    worn = (worn - mean) * contrast + mean + shift
    grain = 20 * strength * rng.random(shape, np.float32)
    worn += grain * rng.standard_normal(worn.shape, np.float32)
    return to_bytes(worn)
