"""The task ``signs``: twelve traffic signs by day and night, tilted, far and partly hidden."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import (
    CANVAS,
    SPLIT_SIZES,
    Colour,
    Points,
    Scene,
    backdrop,
    draw_split,
    place,
    random_colour,
    to_bytes,
)
from talos_engine.data.glyphs import glyph_mask
from talos_engine.data.shape_outlines import CIRCLE, SQUARE, arrow, rectangle, regular_polygon
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.data.views import emboss

RED: Colour = (200, 25, 35)
BLUE: Colour = (20, 70, 180)
YELLOW: Colour = (245, 195, 20)
WHITE: Colour = (245, 245, 245)
BLACK: Colour = (20, 20, 20)

_OCTAGON = place(regular_polygon(8), (0, 0), 1.0, 22.5)
_TRIANGLE = regular_polygon(3) + np.array([0.0, 0.15])
_FIGURE = np.array([(-0.05, -0.3), (0.05, -0.3), (0.22, 0.45), (0.1, 0.45), (0, 0.1), (-0.1, 0.45),
                    (-0.22, 0.45)])  # fmt: skip


class _Board:
    """A sign's place on the canvas: everything drawn on it is tilted, scaled and squeezed alike."""

    def __init__(self, rng: np.random.Generator, scene: Scene, roughness: float) -> None:
        self.rng, self.scene = rng, scene
        self.radius = float(rng.uniform(0.42 - 0.17 * roughness, 0.47))
        slack = max(0.0, 0.5 - self.radius)
        x, y = (0.5 + rng.uniform(-slack, slack, 2)).tolist()
        self.centre: tuple[float, float] = (x, y)
        self.tilt = float(rng.normal(0, 2 + 7 * roughness))
        self.squeeze = float(rng.uniform(1 - 0.3 * roughness, 1.0))

    def fill(self, points: Points, colour: Colour, scale: float = 1.0) -> None:
        self.scene.polygon(
            place(points * scale, self.centre, self.radius, self.tilt, self.squeeze), colour
        )

    def write(self, text: str, height: float, colour: Colour, drop: float = 0.0) -> None:
        size = max(8, int(height * self.radius * CANVAS))
        mask = glyph_mask(text, "DejaVuSans-Bold", size, self.tilt)
        self.scene.stamp(mask, (self.centre[0], self.centre[1] + drop * self.radius), colour)

    def arrow(self, degrees: float) -> None:
        self.fill(place(arrow() * 0.62, (0, 0), 1.0, degrees), WHITE)


def _stop(board: _Board) -> None:
    board.fill(_OCTAGON, WHITE)
    board.fill(_OCTAGON, RED, 0.9)
    board.write("STOP", 0.62, WHITE)


def _yield(board: _Board) -> None:
    board.fill(-_TRIANGLE, RED)
    board.fill(-_TRIANGLE, WHITE, 0.58)


def _no_entry(board: _Board) -> None:
    board.fill(CIRCLE, RED)
    board.fill(rectangle(0.3), WHITE, 0.68)


def _speed_limit(board: _Board) -> None:
    board.fill(CIRCLE, RED)
    board.fill(CIRCLE, WHITE, 0.76)
    board.write(f"{board.rng.integers(2, 10)}0", 0.85, BLACK)


def _warning(board: _Board) -> None:
    board.fill(_TRIANGLE, RED)
    board.fill(_TRIANGLE, WHITE, 0.66)
    board.write("!", 0.9, BLACK, 0.08)


def _priority_road(board: _Board) -> None:
    diamond = regular_polygon(4)
    board.fill(diamond, BLACK)
    board.fill(diamond, WHITE, 0.93)
    board.fill(diamond, YELLOW, 0.66)


def _parking(board: _Board) -> None:
    board.fill(SQUARE, BLUE)
    board.write("P", 1.5, WHITE)


def _crossing(board: _Board) -> None:
    board.fill(SQUARE, BLUE)
    board.fill(_TRIANGLE, WHITE, 0.8)
    board.fill(_FIGURE, BLACK, 0.9)


def _end_of_limit(board: _Board) -> None:
    board.fill(CIRCLE, BLACK)
    board.fill(CIRCLE, WHITE, 0.92)
    board.fill(place(rectangle(0.16), (0, 0), 0.9, -45.0), BLACK)


_DRAWN: dict[str, Callable[[_Board], None]] = {
    "stop": _stop,
    "yield": _yield,
    "no entry": _no_entry,
    "speed limit": _speed_limit,
    "warning": _warning,
    "priority road": _priority_road,
    "parking": _parking,
    "pedestrian crossing": _crossing,
    "end of limit": _end_of_limit,
}
_ARROWS = {"turn left": -90.0, "turn right": 90.0, "straight ahead": 0.0}
CLASS_NAMES = (*_DRAWN, *_ARROWS)
ROUGHNESS = 0.7


def draw(rng: np.random.Generator, label: int, roughness: float) -> NDArray[np.uint8]:
    """One image of a traffic sign, uint8, shape (32, 32, 3).

    Args:
        rng: Source of randomness.
        label: Index into ``CLASS_NAMES``.
        roughness: 0 is a large sign in daylight on a plain ground, 1 is hard.
    """
    name = CLASS_NAMES[label]
    scene = Scene(backdrop(rng, random_colour(rng), 0.2 * roughness))
    scene.clutter(rng, 6 * roughness)
    board = _Board(rng, scene, roughness)
    if name in _ARROWS:
        board.fill(CIRCLE, BLUE)
        board.arrow(_ARROWS[name])
    else:
        _DRAWN[name](board)
    scene.clutter(rng, 2.5 * roughness)
    sign = scene.pixels().astype(np.float64)
    # Dusk: colours fade towards grey and everything darkens.
    grey = sign.mean(axis=2, keepdims=True)
    fade = rng.uniform(0, 0.9 * roughness)
    light = rng.uniform(1 - 0.65 * roughness, 1.0)
    return to_bytes(light * ((1 - fade) * sign + fade * grey))


def load(split: str) -> RawExamples:
    """The examples of ``"train"`` or ``"test"``, in a fixed order."""
    return draw_split("signs", split, len(CLASS_NAMES), draw, ROUGHNESS, emboss)


EMBEDDED_TASKS.register("signs")(
    TaskSpec(
        name="signs",
        description="twelve traffic signs, partly hidden, embossed (drawn)",
        class_names=CLASS_NAMES,
        templates=("a {} sign", "a {} traffic sign", "a picture of a {} sign"),
        load=load,
        sizes=SPLIT_SIZES,
    )
)
