"""Pre-training domains about plain shapes: colours, sizes, places, relations, numbers, grounds."""

from __future__ import annotations

import numpy as np
from sample import NUMBERS, Sample, about, pick, shade, two_colours, with_article

from talos_engine.data.drawing import Points, Scene, backdrop, place
from talos_engine.data.embedded.counts import scatter
from talos_engine.data.shape_outlines import (
    CIRCLE,
    SQUARE,
    arrow,
    crescent,
    cross,
    heart,
    rectangle,
    regular_polygon,
    star,
)

SHAPES: dict[str, Points] = {
    "circle": CIRCLE,
    "triangle": regular_polygon(3),
    "square": SQUARE,
    "pentagon": regular_polygon(5),
    "hexagon": regular_polygon(6),
    "octagon": place(regular_polygon(8), (0, 0), 1.0, 22.5),
    "star": star(),
    "cross": cross(),
    "heart": heart(),
    "crescent": crescent(),
    "arrow": arrow(),
    "diamond": regular_polygon(4) * np.array([0.7, 1.0]),
    "oval": CIRCLE * np.array([1.0, 0.55]),
    "rectangle": rectangle(0.5),
    "bar": rectangle(0.15),
    "trapezoid": np.array([(-0.5, -0.6), (0.5, -0.6), (1.0, 0.6), (-1.0, 0.6)]),
    "parallelogram": np.array([(-0.4, -0.55), (1.0, -0.55), (0.4, 0.55), (-1.0, 0.55)]),
    "bolt": np.array(
        [(0.2, -1.0), (-0.5, 0.15), (-0.05, 0.15), (-0.25, 1.0), (0.5, -0.2), (0.05, -0.2)]
    ),
    "burst": star(10, 0.65),
    "sparkle": star(4, 0.3),
    "wedge": np.concatenate([[[0.0, 0.0]], CIRCLE[:8]]) * 1.2,
    "drop": np.array(
        [(0, -1), (0.3, -0.4), (0.55, 0.1), (0.5, 0.6), (0, 0.9), (-0.5, 0.6), (-0.55, 0.1),
         (-0.3, -0.4)]
    ),
    "chevron": np.array([(-1, 0.2), (0, -0.7), (1, 0.2), (1, 0.75), (0, -0.15), (-1, 0.75)]),
    "corner": np.array([(-0.8, -0.8), (-0.3, -0.8), (-0.3, 0.3), (0.8, 0.3), (0.8, 0.8),
                        (-0.8, 0.8)]),
}  # fmt: skip
_ROWS, _COLUMNS = ("top", "middle", "bottom"), ("left", "middle", "right")
_SIZES = {"small": 0.13, "medium": 0.24, "large": 0.4}


def coloured_shape(rng: np.random.Generator) -> Sample:
    """One shape whose colour, size and place are told."""
    name, (colour, ground) = pick(rng, tuple(SHAPES)), two_colours(rng)
    roughness = float(rng.random() ** 2)
    scene = Scene(backdrop(rng, shade(rng, ground), 0.08 * roughness))
    scene.clutter(rng, 3 * roughness)
    size = pick(rng, tuple(_SIZES))
    radius = _SIZES[size] * float(rng.uniform(0.85, 1.12))
    row, column = rng.integers(0, 3, 2).tolist()
    room = max(0.0, 0.49 - radius)
    centre = (0.5 + (column - 1) * room * 0.85, 0.5 + (row - 1) * room * 0.85)
    upright = name in ("diamond", "bolt", "drop", "chevron", "arrow")
    tilt = float(rng.normal(0, 8)) if upright else float(rng.uniform(-180, 180))
    corners = place(SHAPES[name], centre, radius, tilt)
    hollow = rng.random() < 0.2
    if hollow:
        scene.stroke(corners, shade(rng, colour), radius * 0.25, closed=True)
    else:
        scene.polygon(corners, shade(rng, colour))
    where = "middle" if (row, column) == (1, 1) else f"{_ROWS[row]} {_COLUMNS[column]}"
    noun = "ring" if hollow and name == "circle" else name
    special = (
        with_article(f"{colour} {noun}"),
        f"a {size} {colour} {noun}",
        f"a {colour} {noun} on a {ground} background",
        f"a {colour} {noun} in the {where}",
        f"a {size} {noun} in the {where}",
        f"a {'hollow' if hollow else 'filled'} {colour} {noun}",
    )
    general = about(with_article(noun), f"the shape of a {noun}", f"a {noun} shape")
    return Sample(scene.pixels(), f"shape {noun}", general, special, roughness)


def relation(rng: np.random.Generator) -> Sample:
    """Two shapes and how they lie to each other."""
    one, other = pick(rng, tuple(SHAPES)), pick(rng, tuple(SHAPES))
    colour, second = two_colours(rng)
    ground = pick(rng, [c for c in ("white", "black", "gray") if c not in (colour, second)])
    scene = Scene(backdrop(rng, shade(rng, ground), 0.0))
    upright = rng.random() < 0.5
    swap = rng.random() < 0.5
    near = 0.27 + float(rng.normal(0, 0.02))
    ends = [(0.5, near), (0.5, 1 - near)] if upright else [(near, 0.5), (1 - near, 0.5)]
    first_at, second_at = ends[::-1] if swap else ends
    scene.polygon(place(SHAPES[one], first_at, 0.2), shade(rng, colour))
    scene.polygon(place(SHAPES[other], second_at, 0.2), shade(rng, second))
    words = (("above", "below") if upright else ("left of", "right of"))[int(swap)]
    back = {"above": "below", "below": "above", "left of": "right of", "right of": "left of"}
    special = (
        f"a {colour} {one} {words} a {second} {other}",
        f"a {second} {other} {back[words]} a {colour} {one}",
        f"a {one} {words} a {other}",
        f"a {one} and a {other}",
    )
    return Sample(scene.pixels(), f"{one} {words} {other}", special[2:3], special, 0.2)


def number_of_shapes(rng: np.random.Generator) -> Sample:
    """Up to ten equal shapes and their number."""
    name = pick(rng, ("dot", "square", "triangle", "cross", "star", "heart", "diamond", "ring"))
    outline = CIRCLE if name in ("dot", "ring") else SHAPES[name]
    colour, ground = two_colours(rng)
    roughness = float(rng.random() ** 2)
    count = int(rng.integers(1, 11)) if rng.random() < 0.3 else int(rng.integers(1, 9))
    scene = Scene(backdrop(rng, shade(rng, ground), 0.03 * roughness))
    radius = float(rng.uniform(0.08, 0.13))
    for centre in scatter(rng, count, radius):
        size = radius * float(rng.uniform(1 - 0.3 * roughness, 1.0))
        corners = place(outline, centre, size, float(rng.uniform(-180, 180)) * roughness)
        if name == "ring":
            scene.stroke(corners, shade(rng, colour), 0.03, closed=True)
        else:
            scene.polygon(corners, shade(rng, colour))
    number, plural = NUMBERS[count], name if count == 1 else f"{name}{'e' * (name == 'cross')}s"
    things = f"{number} object{'s' if count > 1 else ''}"
    special = (
        f"{number} {plural}",
        f"{number} {colour} {plural}",
        f"a picture of {number} {colour} {plural}",
        f"{number} {colour} {plural} on a {ground} background",
    )
    general = (things, f"a picture of {things}", f"a picture with {things}", f"there are {things}")
    return Sample(scene.pixels(), f"count {count}", general, special, roughness)


def plain_ground(rng: np.random.Generator) -> Sample:
    """A plain colour, or one that turns into another."""
    colour, other = two_colours(rng)
    roughness = float(rng.random())
    if rng.random() < 0.4:
        scene = Scene(backdrop(rng, shade(rng, colour), 0.02))
        captions = (f"plain {colour}", f"a {colour} image", f"the color {colour}", colour)
        return Sample(scene.pixels(), f"plain {colour}", captions, (), roughness)
    steps = np.linspace(0, 1, 32)[:, None]
    ramp = (1 - steps) * np.array(shade(rng, colour)) + steps * np.array(shade(rng, other))
    across = rng.random() < 0.5
    image = np.repeat(ramp[None] if across else ramp[:, None], 32, axis=0 if across else 1)
    path = "left to right" if across else "top to bottom"
    special = (f"a gradient from {colour} to {other}", f"{colour} to {other} from {path}")
    general = ("a gradient", f"a gradient from {path}", "a smooth change of color")
    return Sample(image.astype(np.uint8), f"gradient {path}", general, special, roughness * 0.5)
