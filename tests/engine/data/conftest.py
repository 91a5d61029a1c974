"""Small data sets on disk, in every format that can be read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from talos_engine.data.settings import DataRun, DataSettings, use_data

PETS = ("cat", "dog", "guinea pig")


def picture(number: int, width: int = 40, height: int = 32) -> Image.Image:
    """An image that shows its own number."""
    rng = np.random.default_rng(number)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


@pytest.fixture(scope="session")
def make_picture() -> Callable[..., Image.Image]:
    """``make_picture(number, width, height)``: an image that shows its own number."""
    return picture


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """``png(number, width, height)``: the same as the bytes of a PNG file."""
    return lambda *arguments: encode(picture(*arguments))


@pytest.fixture
def pets_folder(tmp_path: Path) -> Path:
    """An image folder: three classes, 4 training and 2 test images each, of different sizes."""
    folder = tmp_path / "pets"
    for split, count, start in (("train", 4, 0), ("test", 2, 100)):
        for label, name in enumerate(("cat", "dog", "guinea_pig")):
            place = folder / split / name
            place.mkdir(parents=True)
            for index in range(count):
                number = start + 10 * label + index
                picture(number, 33 + 5 * index, 40).save(place / f"{index}.png")
    return folder


@pytest.fixture
def using() -> Iterator[Callable[..., DataRun]]:
    """``using(path=…, skip_bad=True)``: settings that hold until the end of the test."""
    opened = []

    def enter(**settings: object) -> DataRun:
        context = use_data(DataSettings(**settings))  # type: ignore[arg-type]
        opened.append(context)
        return context.__enter__()

    yield enter
    for context in reversed(opened):
        context.__exit__(None, None, None)
