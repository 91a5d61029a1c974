"""The task ``textures``: two-coloured patterns of any scale, bent, faded and grainy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import SIZE, SPLIT_SIZES, contrasting_colours, draw_split, to_bytes
from talos_engine.data.spec import EMBEDDED_TASKS, RawExamples, TaskSpec
from talos_engine.data.views import emboss

CLASS_NAMES = (
    "horizontal stripes",
    "vertical stripes",
    "diagonal stripes",
    "checkerboard",
    "polka dots",
    "grid",
    "waves",
    "zigzag",
    "bricks",
    "concentric rings",
    "rays",
    "speckles",
)
ROUGHNESS = 0.8
_Field = NDArray[np.float64]
_AXIS = (np.arange(SIZE) + 0.5) / SIZE - 0.5


def _edge(field: _Field, softness: float = 0.12) -> _Field:
    """Soft step from 0 to 1 where ``field`` crosses zero."""
    return np.clip(field / softness + 0.5, 0.0, 1.0)


def _fraction(field: _Field) -> _Field:
    return field - np.floor(field)


def _stripes(y: _Field) -> _Field:
    return _edge(np.sin(2 * np.pi * y), 0.8)


def _checkerboard(x: _Field, y: _Field) -> _Field:
    return _edge(np.sin(np.pi * 2 * x) * np.sin(np.pi * 2 * y), 0.4)


def _polka(x: _Field, y: _Field) -> _Field:
    row = np.floor(y)
    gap = np.hypot(_fraction(x + 0.5 * (row % 2)) - 0.5, _fraction(y) - 0.5)
    return _edge(0.3 - gap, 0.12)


def _grid(x: _Field, y: _Field) -> _Field:
    nearest = np.minimum(np.abs(_fraction(x) - 0.5), np.abs(_fraction(y) - 0.5))
    return _edge(0.12 - nearest, 0.15)


def _waves(x: _Field, y: _Field) -> _Field:
    return _stripes(y + 0.35 * np.sin(2 * np.pi * 0.5 * x))


def _zigzag(x: _Field, y: _Field) -> _Field:
    return _stripes(y + 1.1 * np.abs(_fraction(0.5 * x) - 0.5))


def _bricks(x: _Field, y: _Field) -> _Field:
    row = np.floor(y)
    joint = np.abs(_fraction(0.5 * x + 0.5 * (row % 2)) - 0.5) * 2
    bed = np.abs(_fraction(y) - 0.5)
    return 1 - np.maximum(_edge(0.14 - joint, 0.15), _edge(bed - 0.38, 0.15))


def _rings(x: _Field, y: _Field) -> _Field:
    return _stripes(np.hypot(x, y))


def _rays(x: _Field, y: _Field) -> _Field:
    return _edge(np.sin(8 * np.arctan2(y, x)), 0.6)


_PATTERNS: dict[str, Callable[[_Field, _Field], _Field]] = {
    "horizontal stripes": lambda x, y: _stripes(y),
    "vertical stripes": lambda x, y: _stripes(x),
    "diagonal stripes": lambda x, y: _stripes(y),
    "checkerboard": _checkerboard,
    "polka dots": _polka,
    "grid": _grid,
    "waves": _waves,
    "zigzag": _zigzag,
    "bricks": _bricks,
    "concentric rings": _rings,
    "rays": _rays,
}


def _speckles(rng: np.random.Generator) -> _Field:
    cells = int(rng.integers(9, 20))
    coarse = rng.random((cells, cells)) < rng.uniform(0.15, 0.4)
    pick = (np.arange(SIZE) * cells) // SIZE
    return coarse[np.ix_(pick, pick)].astype(np.float64)


def draw(rng: np.random.Generator, label: int, roughness: float) -> NDArray[np.uint8]:
    """One image of a pattern, uint8, shape (32, 32, 3).

    Args:
        rng: Source of randomness.
        label: Index into ``CLASS_NAMES``.
        roughness: 0 is straight and strong in contrast, 1 is hard.
    """
    name = CLASS_NAMES[label]
    one, other = contrasting_colours(rng, 0.4 - 0.25 * roughness)
    if name == "speckles":
        amount = _speckles(rng)
    else:
        tilt = float(rng.uniform(-1, 1)) * (3 + 14 * roughness)
        if name == "diagonal stripes":
            tilt = float(rng.uniform(30, 60)) * (1 if rng.random() < 0.5 else -1)
        angle = np.deg2rad(tilt)
        bend = rng.normal(0, 0.035 * roughness, 2)
        y, x = np.meshgrid(_AXIS, _AXIS, indexing="ij")
        x, y = x + bend[0] * np.sin(5 * y), y + bend[1] * np.sin(5 * x)
        x, y = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        # Round patterns keep their centre in sight, the others slide freely.
        centred = name in ("concentric rings", "rays")
        shift = rng.uniform(-0.3, 0.3, 2) * roughness if centred else rng.random(2)
        scale = float(rng.uniform(2.5, 5.0 + 1.5 * roughness))
        if centred:
            amount = _PATTERNS[name]((x + shift[0]) * scale, (y + shift[1]) * scale)
        else:
            amount = _PATTERNS[name](x * scale + 2 * shift[0], y * scale + 2 * shift[1])
    blend = amount[..., None] * np.array(one) + (1 - amount[..., None]) * np.array(other)
    if roughness > 0:
        slope = rng.normal(0, 60 * roughness, (2, 3))
        blend = blend + _AXIS[:, None, None] * slope[0] + _AXIS[None, :, None] * slope[1]
    return to_bytes(blend)


def load(split: str) -> RawExamples:
    """The examples of ``"train"`` or ``"test"``, in a fixed order."""
    return draw_split("textures", split, len(CLASS_NAMES), draw, ROUGHNESS, emboss)


EMBEDDED_TASKS.register("textures")(
    TaskSpec(
        name="textures",
        description="patterns of any scale, bent and faded, embossed (drawn)",
        class_names=CLASS_NAMES,
        templates=("a texture of {}", "a pattern of {}", "a picture of {}", "{}"),
        load=load,
        sizes=SPLIT_SIZES,
    )
)
