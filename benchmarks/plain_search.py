"""Merged checkpoints on disk, evaluated as everybody writes it: what a search is compared with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from synthetic import TASKS, Setting
from torch import Tensor

from talos_engine.artifacts import read_vector
from talos_engine.data.splits import find_task, load_split
from talos_engine.evaluation.accuracy import BATCH_SIZE
from talos_engine.merging.ops import dense_changes

COEFS = tuple(i * 0.05 for i in range(21))


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of the processor: of use on a busy machine."""

    clock: float
    processor: float


class Watch:
    """Started when it is made."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def read(self) -> Took:
        return Took(time.perf_counter() - self.began[0], time.process_time() - self.began[1])


@dataclass(frozen=True)
class Searched:
    """What a search found and took.

    Args:
        curve: Correct answers by task, for each α.
        took: In all.
        parts: Of that, seconds by the clock of what was done.
    """

    curve: list[dict[str, float]]
    took: Took
    parts: Mapping[str, float]


class Script:
    """Evaluation of checkpoints as everybody writes it: open_clip, safetensors, a data loader.

    Args:
        setting: What is searched.
        kept: Whether the model, the heads and the prepared images are made once.
    """

    def __init__(self, setting: Setting, *, kept: bool) -> None:
        self.setting, self.kept = setting, kept
        self.parts: dict[str, float] = {}
        self.model: Any = None
        self.prepared: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self.heads: dict[str, Tensor] = {}

    def search(self, files: Mapping[str, list[tuple[Path, int]]]) -> Searched:
        """Merge, write, load and evaluate, for each single vector and each α.

        Args:
            files: Validation images with their labels, by task.
        """
        watch = Watch()
        theta0 = load_file(self.setting.source / "open_clip_model.safetensors")
        taus = [dense_changes(read_vector(path)) for path in self.setting.vectors]
        for task, tau in zip(TASKS, taus, strict=True):
            self._evaluate(theta0, [tau], 1.0, {task: files[task]})
        curve = [self._evaluate(theta0, taus, coef, files) for coef in COEFS]
        return Searched(curve, watch.read(), self.parts)

    def _evaluate(
        self,
        theta0: Mapping[str, Tensor],
        taus: Sequence[Mapping[str, Tensor]],
        coef: float,
        files: Mapping[str, list[tuple[Path, int]]],
    ) -> dict[str, float]:
        path = self.setting.folder / "plain.safetensors"
        with self._timed("merge and write"):
            merged = dict(theta0)
            for tau in taus:
                for name, value in tau.items():
                    merged[name] = merged[name] + coef * value.float()
            save_file(merged, path)
        with self._timed("load"):
            self._load(path)
        return {task: self._accuracy(task, files[task]) for task in files}

    def _load(self, path: Path) -> None:
        import open_clip

        if self.model is None or not self.kept:
            self.model, self.transform = open_clip.create_model_from_pretrained(
                f"local-dir:{self.setting.source}"
            )
            self.heads = {}
        self.model.load_state_dict(load_file(path))
        self.model.eval()

    @torch.inference_mode()
    def _accuracy(self, task: str, files: list[tuple[Path, int]]) -> float:
        if task not in self.heads:
            with self._timed("heads"):
                self.heads[task] = self._head(task)
        if task not in self.prepared or not self.kept:
            with self._timed("decode and prepare"):
                self.prepared[task] = list(self._batches(files))
        correct = 0
        with self._timed("forward"):
            for images, labels in self.prepared[task]:
                features = self.model.encode_image(images, normalize=True)
                correct += int(((features @ self.heads[task].T).argmax(-1) == labels).sum())
        return correct / len(files)

    def _head(self, task: str) -> Tensor:
        import open_clip

        tokenizer = open_clip.get_tokenizer(f"local-dir:{self.setting.source}")
        spec = find_task(task)
        rows = []
        for name in spec.class_names:
            prompts = tokenizer([template.format(name) for template in spec.templates])
            rows.append(self.model.encode_text(prompts, normalize=True).mean(0))
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1)

    def _batches(self, files: list[tuple[Path, int]]) -> Any:
        def load(item: tuple[Path, int]) -> tuple[Tensor, int]:
            return self.transform(Image.open(item[0])), item[1]

        return torch.utils.data.DataLoader(
            [*map(load, files)], batch_size=BATCH_SIZE, shuffle=False
        )

    def _timed(self, part: str) -> Any:
        return _Timed(self.parts, part)


class _Timed:
    def __init__(self, parts: dict[str, float], part: str) -> None:
        self.parts, self.part = parts, part

    def __enter__(self) -> None:
        self.began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = time.perf_counter() - self.began
        self.parts[self.part] = self.parts.get(self.part, 0.0) + spent


def validation_files(setting: Setting) -> dict[str, list[tuple[Path, int]]]:
    """The images that the search sees, as files of their own."""
    found = {}
    for task in TASKS:
        split = load_split(find_task(task), "val")
        folder = setting.folder / "plain" / task
        folder.mkdir(parents=True)
        found[task] = []
        for row, image in enumerate(split.images.encoded()):  # type: ignore[union-attr]
            path = folder / f"{row}.jpg"
            path.write_bytes(image.data)
            found[task].append((path, int(split.labels[row])))
    return found
