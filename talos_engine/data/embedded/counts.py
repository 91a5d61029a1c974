"""The task ``counts``: how many objects of one kind there are, from one to eight."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import (
    SPLIT_SIZES,
    Points,
    Scene,
    backdrop,
    colour_distance,
    contrasting_colours,
    draw_split,
    place,
    random_colour,
)
from talos_engine.data.shape_outlines import CIRCLE, SQUARE, cross, regular_polygon, star
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.data.views import sketch

CLASS_NAMES = (
    "one object",
    "two objects",
    "three objects",
    "four objects",
    "five objects",
    "six objects",
    "seven objects",
    "eight objects",
)
ROUGHNESS = 0.6
KINDS: dict[str, Points] = {
    "dot": CIRCLE,
    "square": SQUARE,
    "triangle": regular_polygon(3),
    "cross": cross(),
    "star": star(),
}


def scatter(rng: np.random.Generator, count: int, radius: float) -> list[tuple[float, float]]:
    """Centres of ``count`` objects that stay inside the canvas and apart from each other.

    Args:
        rng: Source of randomness.
        count: How many.
        radius: Of each object, in canvas fractions; it must leave room for all of them.
    """
    while True:
        centres: list[tuple[float, float]] = []
        for x, y in rng.uniform(radius + 0.01, 0.99 - radius, (80, 2)).tolist():
            if all((x - a) ** 2 + (y - b) ** 2 > (2.4 * radius) ** 2 for a, b in centres):
                centres.append((x, y))
                if len(centres) == count:
                    return centres
        radius *= 0.97


def draw(rng: np.random.Generator, label: int, roughness: float) -> NDArray[np.uint8]:
    """One image of ``label + 1`` objects, uint8, shape (32, 32, 3).

    Args:
        rng: Source of randomness.
        label: Index into ``CLASS_NAMES``.
        roughness: 0 is equal dots on a plain ground, 1 is hard.
    """
    colour, ground = contrasting_colours(rng, 0.4 - 0.1 * roughness)
    scene = Scene(backdrop(rng, ground, 0.06 * roughness * rng.random()))
    radius = float(rng.uniform(0.08, 0.125))
    outline = list(KINDS.values())[rng.integers(len(KINDS))]
    mixed = rng.random() < 0.3 * roughness
    for centre in scatter(rng, label + 1, radius):
        size = radius * float(rng.uniform(1 - 0.35 * roughness, 1.0))
        if mixed:
            outline = list(KINDS.values())[rng.integers(len(KINDS))]
            other = random_colour(rng)
            colour = other if colour_distance(other, ground) > 0.3 else colour
        tilt = float(rng.uniform(-180, 180)) * roughness
        scene.polygon(place(outline, centre, size, tilt), colour)
    return scene.pixels()


def load(split: str) -> RawExamples:
    """The examples of ``"train"`` or ``"test"``, in a fixed order."""
    return draw_split("counts", split, len(CLASS_NAMES), draw, ROUGHNESS, sketch)


EMBEDDED_TASKS.register("counts")(
    TaskSpec(
        name="counts",
        description="how many objects there are, one to eight, as a pencil sketch (drawn)",
        class_names=CLASS_NAMES,
        templates=("{}", "a picture of {}", "a picture with {}", "there are {}"),
        load=load,
        sizes=SPLIT_SIZES,
    )
)
