"""What one pre-training example is, and the words that several domains share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.drawing import Colour

COLOURS: dict[str, Colour] = {
    "red": (215, 30, 35),
    "green": (40, 160, 50),
    "blue": (35, 60, 210),
    "yellow": (245, 225, 40),
    "orange": (245, 135, 25),
    "purple": (130, 40, 165),
    "pink": (250, 140, 185),
    "cyan": (50, 205, 220),
    "brown": (120, 70, 30),
    "white": (245, 245, 245),
    "black": (15, 15, 15),
    "gray": (128, 128, 128),
}
COLOUR_NAMES = tuple(COLOURS)
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True)
class Sample:
    """A captioned image.

    Args:
        image: uint8, shape (32, 32, 3).
        key: What it shows; two samples with the same key share every caption in ``general``.
        general: Captions that are true of every image with this key.
        special: Captions that are true of this image (its colour, place, …); may be empty.
        roughness: Strength of the wear to add, in [0, 1].
    """

    image: NDArray[np.uint8]
    key: str
    general: tuple[str, ...]
    special: tuple[str, ...] = ()
    roughness: float = 0.0


def pick(rng: np.random.Generator, things: Sequence[str]) -> str:
    """One of the things at random."""
    return things[int(rng.integers(len(things)))]


def shade(rng: np.random.Generator, name: str) -> Colour:
    """A shade of the named colour."""
    jitter = rng.normal(0, 14, 3)
    red, green, blue = np.clip(np.array(COLOURS[name]) + jitter, 0, 255).astype(int).tolist()
    return red, green, blue


def two_colours(rng: np.random.Generator) -> tuple[str, str]:
    """Two different colour names."""
    one, other = rng.choice(len(COLOUR_NAMES), 2, replace=False).tolist()
    return COLOUR_NAMES[one], COLOUR_NAMES[other]


def with_article(noun: str) -> str:
    """The noun after ``a`` or ``an``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def about(noun: str, *more: str) -> tuple[str, ...]:
    """Usual captions about a noun phrase that carries its article, and some more."""
    return (noun, f"a picture of {noun}", f"a drawing of {noun}", f"a photo of {noun}", *more)
