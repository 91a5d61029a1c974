"""The pool of captioned images that pre-training draws its batches from, made by all cores once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import attributes
import clothes
import in_domain
import numpy as np
import pictures
import writing
from numpy.typing import NDArray
from sample import Sample

from talos_engine.data.drawing import wear
from talos_engine.data.spec import EMBEDDED_TASKS

WEIGHTS: dict[Callable[[np.random.Generator], Sample], float] = {
    attributes.coloured_shape: 11,
    attributes.relation: 5,
    attributes.number_of_shapes: 6,
    attributes.plain_ground: 2,
    writing.handwritten_digit: 9,
    writing.printed_digit: 5,
    writing.letter: 11,
    writing.symbol: 9,
    writing.word: 4,
    pictures.face: 2.5,
    pictures.clock: 2.5,
    pictures.pointing_arrow: 3.5,
    pictures.chart: 2.5,
    pictures.flag: 2.5,
    pictures.lines: 2,
    pictures.thing: 4,
    clothes.clothing: 5,
    partial(in_domain.drawn, task="shapes"): 5,
    partial(in_domain.drawn, task="textures"): 3,
    partial(in_domain.drawn, task="signs"): 3,
    partial(in_domain.drawn, task="counts"): 1.5,
    partial(in_domain.drawn, task="letters"): 9,
}
SCANS = {"digits": 1.0, "mnist": 1.5, "fashion": 2.5}
CHUNK = 2000
CAPTIONS = 4


@dataclass(frozen=True)
class Pool:
    """Captioned images.

    Args:
        images: uint8, shape (n, 32, 32, 3).
        keys: What each image shows, int64, shape (n,).
        captions: Caption numbers, int64, shape (n, 4): two general ones, then two that may be
            special to the image.
        general: Whether the caption in that place is true of every image with the same key,
            bool, shape (n, 4).
        texts: The captions, index = number.
    """

    images: NDArray[np.uint8]
    keys: NDArray[np.int64]
    captions: NDArray[np.int64]
    general: NDArray[np.bool_]
    texts: tuple[str, ...]


def domains() -> tuple[list[Callable[[np.random.Generator], Sample]], NDArray[np.float64]]:
    """The domains that can be drawn here, and their shares."""
    weights = dict(WEIGHTS)
    for task, weight in SCANS.items():
        if EMBEDDED_TASKS.get(task).available():
            weights[partial(in_domain.scanned, task=task)] = weight
    shares = np.array(list(weights.values()))
    return list(weights), shares / shares.sum()


Chunk = tuple[NDArray[np.uint8], list[tuple[str, tuple[str, ...], tuple[bool, ...]]]]


def _choose(rng: np.random.Generator, sample: Sample) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Four captions of a sample, and which of them are general."""
    general = [sample.general[i] for i in rng.integers(0, len(sample.general), CAPTIONS).tolist()]
    if not sample.special:
        return tuple(general), (True,) * CAPTIONS
    special = [sample.special[i] for i in rng.integers(0, len(sample.special), 2).tolist()]
    return (*general[:2], *special), (True, True, False, False)


def make_chunk(seed: int, number: int) -> Chunk:
    """Part ``number`` of the pool: worn images, and per image its key, captions and their kinds."""
    rng = np.random.default_rng([seed, number])
    makers, shares = domains()
    picks = rng.choice(len(makers), CHUNK, p=shares).tolist()
    samples = [makers[i](rng) for i in picks]
    roughness = np.array([sample.roughness for sample in samples], dtype=np.float32)
    images = wear(rng, np.stack([sample.image for sample in samples]), roughness)
    return images, [(sample.key, *_choose(rng, sample)) for sample in samples]


def make_pool(size: int, seed: int, workers: int) -> Pool:
    """A pool of ``size`` images, the same for any number of workers.

    Args:
        size: Number of images, rounded up to whole chunks.
        seed: Seed of all drawings.
        workers: Number of processes.
    """
    numbers = range(-(-size // CHUNK))
    with multiprocessing.get_context("spawn").Pool(workers) as processes:
        chunks = processes.map(partial(make_chunk, seed), numbers, chunksize=1)
    keys: dict[str, int] = {}
    texts: dict[str, int] = {}
    rows = [row for _, part in chunks for row in part]
    return Pool(
        images=np.concatenate([images for images, _ in chunks]),
        keys=np.array([keys.setdefault(key, len(keys)) for key, _, _ in rows]),
        captions=np.array([[texts.setdefault(t, len(texts)) for t in row] for _, row, _ in rows]),
        general=np.array([kinds for _, _, kinds in rows]),
        texts=tuple(texts),
    )
