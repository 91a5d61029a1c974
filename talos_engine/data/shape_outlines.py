"""Outlines of plain shapes as corner lists in the unit circle, y pointing down.

Only geometry: no colours, no pixels. ``drawing.place`` moves an outline onto a canvas.
"""

from __future__ import annotations

import numpy as np

from talos_engine.data.drawing import Points


def regular_polygon(corners: int) -> Points:
    """Corners of a regular polygon, one of them at the top."""
    angles = 2 * np.pi * np.arange(corners) / corners - np.pi / 2
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def star(tips: int = 5, inner: float = 0.42) -> Points:
    """Corners of a star whose inner corners lie at radius ``inner``."""
    angles = np.pi * np.arange(2 * tips) / tips - np.pi / 2
    radii = np.where(np.arange(2 * tips) % 2 == 0, 1.0, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def cross(arm: float = 0.33) -> Points:
    """Corners of an upright plus sign with arms ``2 * arm`` wide."""
    return np.array(
        [
            (-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm),
            (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm),
        ]
    )  # fmt: skip


def heart() -> Points:
    """Outline of an upright heart."""
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], axis=1) / 17


def crescent(depth: float = 0.45) -> Points:
    """Outline of a moon open to the right; a smaller ``depth`` leaves a thinner one."""
    t = np.linspace(np.pi * 0.25, np.pi * 1.75, 22)
    outer = np.stack([np.cos(t), np.sin(t)], axis=1)
    tip_x, tip_y = outer[0]
    u = np.linspace(-1, 1, 16)[1:-1]
    # The inner edge bends from the lower tip to the upper one.
    inner = np.stack([tip_x - (tip_x + 1 - depth) * (1 - u**2), tip_y * u], axis=1)
    return np.concatenate([outer, inner])


def arrow() -> Points:
    """Corners of an arrow that points up."""
    return np.array(
        [(0, -1), (0.75, -0.1), (0.28, -0.1), (0.28, 1), (-0.28, 1), (-0.28, -0.1), (-0.75, -0.1)]
    )


def rectangle(height: float) -> Points:
    """Corners of a rectangle two wide and ``2 * height`` high."""
    return np.array([(-1.0, -height), (1.0, -height), (1.0, height), (-1.0, height)])


CIRCLE = regular_polygon(28)
SQUARE = rectangle(1.0) * 0.85
