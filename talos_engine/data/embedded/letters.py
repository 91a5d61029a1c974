"""The task ``letters``: capital letters in 21 fonts, the control of a negation."""

from __future__ import annotations

import string

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import (
    CANVAS,
    SPLIT_SIZES,
    Scene,
    backdrop,
    contrasting_colours,
    draw_split,
)
from talos_engine.data.glyphs import TEXT_FONTS, glyph_mask
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec

CLASS_NAMES = tuple(string.ascii_uppercase)
ROUGHNESS = 1.0


def draw(rng: np.random.Generator, label: int, roughness: float) -> NDArray[np.uint8]:
    """One image of a capital letter, uint8, shape (32, 32, 3).

    Args:
        rng: Source of randomness.
        label: Index into ``CLASS_NAMES``.
        roughness: 0 is a large upright letter on a plain ground, 1 is hard.
    """
    colour, ground = contrasting_colours(rng, 0.4 - 0.15 * roughness)
    scene = Scene(backdrop(rng, ground, 0.1 * roughness * rng.random()))
    scene.clutter(rng, 2.5 * roughness)
    height = int(CANVAS * rng.uniform(0.8 - 0.2 * roughness, 1.0))
    font = TEXT_FONTS[rng.integers(len(TEXT_FONTS))]
    tilt = float(rng.normal(0, 3 + 7 * roughness))
    x, y = (0.5 + rng.uniform(-1, 1, 2) * (0.04 + 0.08 * roughness)).tolist()
    scene.stamp(glyph_mask(CLASS_NAMES[label], font, height, tilt), (x, y), colour)
    return scene.pixels()


def load(split: str) -> RawExamples:
    """The examples of ``"train"`` or ``"test"``, in a fixed order."""
    return draw_split("letters", split, len(CLASS_NAMES), draw, ROUGHNESS)


EMBEDDED_TASKS.register("letters")(
    TaskSpec(
        name="letters",
        description="capital letters A to Z in many fonts and colours (drawn)",
        class_names=CLASS_NAMES,
        templates=("the letter {}", "a picture of the letter {}", "a capital letter {}"),
        load=load,
        sizes=SPLIT_SIZES,
        control=True,
    )
)
