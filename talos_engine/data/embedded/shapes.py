"""The task ``shapes``: one plain shape of any colour, size and tilt among clutter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import (
    SPLIT_SIZES,
    Points,
    Scene,
    backdrop,
    contrasting_colours,
    draw_split,
    place,
)
from talos_engine.data.shape_outlines import (
    CIRCLE,
    SQUARE,
    arrow,
    crescent,
    cross,
    heart,
    regular_polygon,
    star,
)
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.data.views import sketch

CLASS_NAMES = (
    "circle",
    "ring",
    "triangle",
    "square",
    "pentagon",
    "hexagon",
    "star",
    "cross",
    "heart",
    "crescent",
    "arrow",
)
ROUGHNESS = 0.5
_OUTLINES: dict[str, Points] = {
    "circle": CIRCLE,
    "ring": CIRCLE,
    "triangle": regular_polygon(3),
    "square": SQUARE,
    "pentagon": regular_polygon(5),
    "hexagon": regular_polygon(6),
    "star": star(),
    "cross": cross(),
    "heart": heart(),
    "crescent": crescent(),
    "arrow": arrow(),
}


def draw(rng: np.random.Generator, label: int, roughness: float) -> NDArray[np.uint8]:
    """One image of a shape, uint8, shape (32, 32, 3).

    Args:
        rng: Source of randomness.
        label: Index into ``CLASS_NAMES``.
        roughness: 0 is a large upright shape on a plain ground, 1 is hard.
    """
    name = CLASS_NAMES[label]
    colour, ground = contrasting_colours(rng, 0.4 - 0.2 * roughness)
    scene = Scene(backdrop(rng, ground, 0.14 * roughness * rng.random()))
    scene.clutter(rng, 5 * roughness)
    radius = float(rng.uniform(0.38 - 0.16 * roughness, 0.44))
    slack = max(0.0, 0.48 - radius)
    x, y = (0.5 + rng.uniform(-slack, slack, 2)).tolist()
    tilt = float(rng.uniform(-1, 1)) * (8 + 172 * roughness)
    stretch = float(rng.uniform(1 - 0.25 * roughness, 1.0))
    corners = place(_OUTLINES[name], (x, y), radius, tilt, stretch)
    hollow = name == "ring" or (name != "circle" and rng.random() < 0.3)
    if hollow:
        scene.stroke(corners, colour, radius * float(rng.uniform(0.2, 0.4)), closed=True)
    else:
        scene.polygon(corners, colour)
    scene.clutter(rng, 1.5 * roughness)
    return scene.pixels()


def load(split: str) -> RawExamples:
    """The examples of ``"train"`` or ``"test"``, in a fixed order."""
    return draw_split("shapes", split, len(CLASS_NAMES), draw, ROUGHNESS, sketch)


EMBEDDED_TASKS.register("shapes")(
    TaskSpec(
        name="shapes",
        description="one shape of any size and tilt among clutter, as a pencil sketch (drawn)",
        class_names=CLASS_NAMES,
        templates=("a {}", "a picture of a {}", "a drawing of a {}", "the shape of a {}"),
        load=load,
        sizes=SPLIT_SIZES,
    )
)
