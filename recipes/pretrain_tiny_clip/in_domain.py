"""Pre-training domains that touch the tasks: their own drawings, mostly cleaner, and the reserves.

Drawings come from random streams of their own and real scans only from each task's reserve, so that
no image of a task's splits is seen here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sample import Sample

from talos_engine.data.drawing import DrawClass
from talos_engine.data.embedded import (
    counts,
    digits,
    fashion,
    letters,
    mnist,
    shapes,
    signs,
    textures,
)
from talos_engine.data.spec import EMBEDDED_TASKS


@dataclass(frozen=True)
class Drawing:
    """How a procedural task's own drawings enter the mixture.

    Args:
        draw: The task's drawing function.
        hard: Roughness of the hard drawings; the tasks' splits are rougher still.
        hard_share: Share of the hard drawings.
        ease: Largest roughness of the other drawings.
    """

    draw: DrawClass
    hard: float
    hard_share: float
    ease: float


_DRAWN: dict[str, Drawing] = {
    "shapes": Drawing(shapes.draw, 0.6, 0.2, 0.4),
    "textures": Drawing(textures.draw, 1.0, 0.0, 0.25),
    "signs": Drawing(signs.draw, 1.0, 0.0, 0.35),
    "counts": Drawing(counts.draw, 0.6, 0.05, 0.3),
    "letters": Drawing(letters.draw, 0.65, 0.4, 0.5),
}


def captions(task: str, label: int) -> tuple[str, ...]:
    """The task's own prompts for one class."""
    spec = EMBEDDED_TASKS.get(task)
    return tuple(template.format(spec.class_names[label]) for template in spec.templates)


def key_of(task: str, label: int) -> str:
    """Key under which other domains show the same thing, so that captions agree across domains."""
    name = EMBEDDED_TASKS.get(task).class_names[label]
    if task in ("digits", "mnist"):
        return f"digit {label}"
    if task == "letters":
        return f"letter capital {name.lower()}"
    if task == "counts":
        return f"count {label + 1}"
    return {"shapes": f"shape {name}", "fashion": f"clothes {name}"}.get(task, f"{task} {name}")


def drawn(rng: np.random.Generator, task: str) -> Sample:
    """One of a procedural task's own drawings, of varied difficulty."""
    classes = len(EMBEDDED_TASKS.get(task).class_names)
    label = int(rng.integers(classes))
    drawing = _DRAWN[task]
    roughness = drawing.ease * float(rng.random())
    if rng.random() < drawing.hard_share:
        roughness = drawing.hard
    image = drawing.draw(rng, label, roughness)
    return Sample(image, key_of(task, label), captions(task, label), (), roughness)


@cache
def _reserve(task: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    load = {"digits": digits.load, "mnist": mnist.load, "fashion": fashion.load}[task]
    examples = load("reserve")
    return examples.images, examples.labels


def scanned(rng: np.random.Generator, task: str) -> Sample:
    """One real scan out of a task's reserve, shifted a little."""
    images, labels = _reserve(task)
    row = int(rng.integers(len(images)))
    image = np.pad(images[row], ((2, 2), (2, 2), (0, 0)), mode="edge")
    top, left = rng.integers(0, 5, 2).tolist()
    label = int(labels[row])
    if task != "fashion":
        # New colours each time, so that few scans don't become few images.
        image = image[..., rng.permutation(3)]
        if rng.random() < 0.5:
            image = 255 - image
    cut = image[top : top + 32, left : left + 32]
    return Sample(np.ascontiguousarray(cut), key_of(task, label), captions(task, label), (), 0.1)
