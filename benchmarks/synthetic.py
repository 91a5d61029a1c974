"""Images and vectors at random, for benchmarks whose costs do not depend on what is in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from talos_engine.artifacts import Header, TaskVector, make_entry, write_vector
from talos_engine.models.loading import load_weights

TASKS = ("one", "two")
CLASSES = ("circle", "square", "star", "cross")


@dataclass(frozen=True)
class Size:
    """What a model is measured with.

    Args:
        searched: Validation images per task of the search.
        points: Test images per task of the grid.
        grid: Points per axis that are timed.
        pixels: Longer side of the images as they are stored.
    """

    searched: int
    points: int
    grid: int
    pixels: int


@dataclass(frozen=True)
class Setting:
    """A model, two tasks and two vectors on disk.

    Args:
        folder: Where all of them are.
        model: What ``--model`` takes, and the folder that open_clip loads.
        source: The latter.
        size: Numbers of images and coefficients.
        vectors: A file per task.
    """

    folder: Path
    model: str
    source: Path
    size: Size
    vectors: tuple[Path, ...]


def make_data(folder: Path, size: Size) -> dict[str, Path]:
    """An image folder per task."""
    for number, task in enumerate(TASKS):
        _write_images(folder / task, size, number)
    return {task: folder / task for task in TASKS}


def make_setting(folder: Path, model: str, size: Size, sparsity: float) -> Setting:
    import open_clip

    from talos_engine import models

    name, source = model, Path(models.__path__[0]) / "tiny_clip"
    if model != "tiny-clip":
        source = folder / "model"
        name = str(source)
        source.mkdir()
        torch.manual_seed(0)
        random = open_clip.create_model(model, pretrained=None)
        save_file(random.state_dict(), source / "open_clip_model.safetensors")
        about = {
            "model_cfg": open_clip.get_model_config(model),
            "preprocess_cfg": random.visual.preprocess_cfg,
        }
        (source / "open_clip_config.json").write_text(json.dumps(about))
    weights = load_weights(name, None)
    vectors = []
    for number, task in enumerate(TASKS):
        generator = torch.Generator().manual_seed(number)
        entries = {}
        for key, before in weights.tensors.items():
            if key.startswith("visual.transformer."):
                live = torch.rand(before.shape, generator=generator) >= sparsity
                step = 1e-3 * torch.randn(before.shape, generator=generator)
                entry = make_entry(before, before + live * step, sparse="auto")
                if entry is not None:
                    entries[key] = entry
        vectors.append(folder / f"{task}.{sparsity}.vector")
        header = Header("vector", weights.info, "synthetic", task, {}, 0, "")
        write_vector(vectors[-1], TaskVector(header, entries))
    return Setting(folder, name, source, size, tuple(vectors))


def _write_images(folder: Path, size: Size, seed: int) -> None:
    """An image folder whose validation split has as many images as are searched on."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", 10 * size.searched), ("test", size.points)):
        for number in range(count):
            place = folder / split / CLASSES[number % len(CLASSES)]
            place.mkdir(parents=True, exist_ok=True)
            coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            picture = coarse.resize((size.pixels, size.pixels * 3 // 4))
            picture.save(place / f"{number}.jpg", quality=90)
