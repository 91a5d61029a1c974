"""The pre-training domain of drawn clothes: grey or coloured silhouettes, some with patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sample import Sample, about, pick, with_article

from talos_engine.data.drawing import Points, Scene, backdrop, place, random_colour
from talos_engine.data.shape_outlines import CIRCLE


def _mirrored(right: list[tuple[float, float]]) -> Points:
    """A closed outline symmetric about x = 0 from its right half, top to bottom."""
    half = np.array(right)
    return np.concatenate([half, half[::-1] * np.array([-1.0, 1.0])])


def _top(rng: np.random.Generator, sleeve: float, length: float, flare: float) -> Points:
    """A garment with sleeves; ``sleeve`` is how far down they reach."""
    shoulder, chest = rng.uniform(0.48, 0.58), rng.uniform(0.34, 0.44)
    return _mirrored(
        [(0.15, -0.95), (shoulder, -0.82), (shoulder + 0.22, -0.82 + sleeve),
         (shoulder, -0.78 + sleeve), (chest, -0.4), (chest + flare, length)]
    )  # fmt: skip


def _outline(rng: np.random.Generator, name: str) -> Points:
    wide = float(rng.uniform(0.8, 1.1))
    if name == "t-shirt":
        return _top(rng, float(rng.uniform(0.35, 0.55)), float(rng.uniform(0.8, 0.95)), 0.0)
    if name in ("pullover", "shirt", "coat"):
        length = float(rng.uniform(0.75, 0.9)) if name != "coat" else 0.95
        return _top(rng, float(rng.uniform(1.3, 1.65)), length, 0.02)
    if name == "dress":
        waist = float(rng.uniform(0.17, 0.27))
        return _mirrored([(0.12, -0.97), (0.3, -0.85), (waist, -0.3), (waist + 0.22 * wide, 0.97)])
    if name == "trousers":
        leg = float(rng.uniform(0.1, 0.22))
        return _mirrored([(0.3, -0.97), (0.36, 0.97), (0.36 - leg, 0.97), (0.03, -0.45)])
    if name == "bag":
        return _mirrored([(0.6 * wide, -0.25), (0.75 * wide, 0.75)])
    heel = float(rng.uniform(0.0, 0.4))
    if name == "sneaker":
        return np.array([(-0.95, 0.45), (-0.9, 0.1), (-0.4, -0.02), (0.1, -0.3), (0.5, -0.25),
                         (0.9, -0.3), (0.95, 0.45)])  # fmt: skip
    if name == "ankle boot":
        return np.array([(-0.9, 0.6), (-0.85, 0.25), (-0.3, 0.05), (-0.02, -0.8), (0.7, -0.8),
                         (0.75, 0.8), (0.45, 0.8), (0.4, 0.8 - heel), (0.1, 0.6)])  # fmt: skip
    top = 0.1 + heel
    return np.array([(-0.95, 0.5), (-0.9, 0.35), (-0.2, 0.25), (0.3, 0.15 - top), (0.9, -top),
                     (0.95, 0.5), (0.8, 0.5), (0.75, 0.15 - heel / 2), (0.3, 0.35),
                     (0.0, 0.5)])  # fmt: skip


NAMES = ("t-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
         "ankle boot")  # fmt: skip


def _details(rng: np.random.Generator, scene: Scene, name: str, tone: int, radius: float) -> None:
    """Openings, straps, buttons and soles that tell garments apart."""
    centre = (0.5, 0.5)
    dark = (max(0, tone - 90),) * 3
    ground = (0, 0, 0)

    def stroke(
        points: list[tuple[float, float]], colour: tuple[int, int, int], width: float
    ) -> None:
        scene.stroke(place(np.array(points), centre, radius), colour, width)

    if name == "coat":
        stroke([(0.0, -0.9), (0.0, 0.95)], ground, 0.03)
        stroke([(-0.2, -0.9), (0.0, -0.5), (0.2, -0.9)], dark, 0.03)
    elif name == "shirt":
        stroke([(0.0, -0.9), (0.0, 0.85)], dark, 0.02)
        stroke([(-0.15, -0.95), (0.0, -0.75), (0.15, -0.95)], dark, 0.03)
    elif name == "bag":
        arc = CIRCLE[(CIRCLE[:, 1] < 0.1)] * np.array([0.45, float(rng.uniform(0.45, 0.75))])
        arc = arc[np.argsort(arc[:, 0])] + np.array([0.0, -0.25])
        scene.stroke(place(arc, centre, radius), (tone,) * 3, 0.04)
    elif name == "sneaker":
        stroke([(-0.9, 0.4), (0.9, 0.4)], (min(255, tone + 80),) * 3, 0.05)
    elif name == "sandal":
        for x in np.linspace(-0.7, 0.3, int(rng.integers(2, 4))).tolist():
            stroke([(x - 0.1, 0.45), (x + 0.1, -0.1)], (tone,) * 3, 0.05)


def clothing(rng: np.random.Generator) -> Sample:
    """A piece of clothing, mostly grey on black."""
    name = pick(rng, NAMES)
    grey = rng.random() < 0.75
    tone = int(rng.integers(90, 240))
    scene = Scene(backdrop(rng, (0, 0, 0) if grey else random_colour(rng), 0.0))
    radius = float(rng.uniform(0.36, 0.45))
    colour = (tone, tone, tone) if grey else random_colour(rng)
    scene.polygon(place(_outline(rng, name), (0.5, 0.5), radius), colour)
    _details(rng, scene, name, tone, radius)
    image = _fabric(rng, scene.pixels())
    garment = name if name == "trousers" else with_article(name)
    return Sample(image, f"clothes {name}", about(garment, f"clothes: {garment}"), (), 0.15)


def _fabric(rng: np.random.Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with folds, stripes or prints where it isn't black."""
    y, x = np.meshgrid(np.linspace(0, 1, 32), np.linspace(0, 1, 32), indexing="ij")
    folds = rng.normal(0, 0.12) * np.sin(x * rng.uniform(5, 20) + y * rng.uniform(0, 15))
    if rng.random() < 0.2:
        folds = folds + 0.3 * np.sign(np.sin(y * rng.uniform(15, 50)))
    grain = rng.normal(0, 0.06, image.shape[:2])
    return np.clip(image * (1 + folds + grain)[..., None], 0, 255).astype(np.uint8)
