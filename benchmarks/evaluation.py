"""The coefficient search beside merged checkpoints on disk, and the grid beside bare passes.

Random vectors and images: the costs do not depend on them. Everything runs in this process, the
ways in turn; a ratio is the median over the repetitions, its lowest and highest in brackets.

    python benchmarks/evaluation.py [--model tiny-clip|ViT-B-32] [--repeats 5]
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from talos_engine.artifacts import Header, TaskVector, make_entry, read_vector, write_vector
from talos_engine.data.settings import DataSettings, use_data
from talos_engine.data.splits import find_task, load_split
from talos_engine.evaluation.accuracy import BATCH_SIZE
from talos_engine.evaluation.disentanglement import equispaced, map_disentanglement
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.merging.ops import dense_changes
from talos_engine.models.loading import load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.opening import Common, open_session

TASKS = ("one", "two")
CLASSES = ("circle", "square", "star", "cross")
COEFS = tuple(i * 0.05 for i in range(21))
TITLES = {
    "A": "A: model, heads and images made anew for each checkpoint",
    "B": "B: the same, with model, heads and prepared images kept",
}


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


SIZES = {"tiny-clip": Size(100, 256, 4, 64), "ViT-B-32": Size(8, 32, 3, 320)}


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


def search_ours(setting: Setting) -> Searched:
    """What ``talos add --search`` does, imports apart; the chosen checkpoint is written too."""
    watch = Watch()
    request = AddRequest(
        setting.vectors,
        setting.folder / "ours.safetensors",
        model=setting.model,
        search=True,
        grid="plain",
        common=Common(device="cpu", force=True),
    )
    found = add_vectors(request)
    assert found.search is not None
    curve = [dict(point.accuracy) for point in found.search.curve]
    return Searched(curve, watch.read(), {})


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


def spread(dividends: Sequence[Took], divisors: Sequence[Took]) -> str:
    """Ratios by the clock and of the processor: median, lowest and highest."""
    told = []
    for part in ("clock", "processor"):
        ratios = [
            getattr(one, part) / getattr(other, part)
            for one, other in zip(dividends, divisors, strict=True)
        ]
        told.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return f"{told[0]}, processor {told[1]}"


def median(took: Sequence[Took]) -> Took:
    return Took(
        statistics.median(each.clock for each in took),
        statistics.median(each.processor for each in took),
    )


def bench_search(setting: Setting, repeats: int) -> None:
    files = validation_files(setting)
    work: dict[str, Callable[[], Searched]] = {
        "ours": lambda: search_ours(setting),
        "A": lambda: Script(setting, kept=False).search(files),
        "B": lambda: Script(setting, kept=True).search(files),
    }
    found: dict[str, list[Searched]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        for name, piece in work.items():
            result = piece()
            if repeat or repeats == 1:  # the first round warms up
                found[name].append(result)
    images = sum(map(len, files.values()))
    took = {name: [each.took for each in runs] for name, runs in found.items()}
    print(f"  search of alpha, {len(COEFS)} values, {images} images of {len(TASKS)} tasks")
    mine = median(took["ours"])
    print(f"  {'ours: talos add --search':56} {mine.clock:6.2f} s (processor {mine.processor:.2f})")
    for name, title in TITLES.items():
        last = found[name][-1]
        other = sum(
            abs(round((one[task] - two[task]) * len(files[task])))
            for one, two in zip(last.curve, found["ours"][-1].curve, strict=True)
            for task in TASKS
        )
        theirs = median(took[name])
        told = ", ".join(f"{part} {spent:.2f}" for part, spent in last.parts.items())
        print(
            f"  {title:56} {theirs.clock:6.2f} s (processor {theirs.processor:.2f})   "
            f"{spread(took[name], took['ours'])} times ours{' (>= 1.5)' if name == 'A' else ''}\n"
            f"     {told} s; {other} of {images * len(COEFS)} answers counted otherwise",
            flush=True,
        )


def bench_grid(setting: Setting, repeats: int) -> None:
    """The whole grid, the passes of each vector alone included, beside as many bare passes."""
    weights = load_weights(setting.model, None)
    session = open_session(weights, Common(device="cpu").runtime())
    tasks = [session.evaluation_task(name, "test") for name in TASKS]
    taus = [dense_changes(read_vector(path)) for path in setting.vectors]
    count = setting.size.grid
    coefs = equispaced(count, 3.0)
    encoder = EditedEncoder(session.backbone, session.runtime)
    passes = count * (count + 1)  # each vector alone is a pass over the points of its own task

    def bare() -> None:
        with torch.inference_mode():
            for _ in range(passes):
                for task in tasks:
                    for inputs in task.inputs.split(BATCH_SIZE):
                        task.classifier(inputs)

    took: dict[str, list[Took]] = {"grid": [], "bare": []}
    work = {"grid": lambda: map_disentanglement(encoder, taus, tasks, coefs), "bare": bare}
    for repeat in range(repeats + 1):
        for name, piece in work.items():
            watch = Watch()
            piece()
            if repeat or repeats == 1:
                took[name].append(watch.read())
    points = sum(len(task.labels) for task in tasks)
    grid, plain = (median(took[name]) for name in ("grid", "bare"))
    print(
        f"  grid, {points} points, {passes} passes: {1e3 * grid.clock / passes:.1f} ms a pass, "
        f"bare {1e3 * plain.clock / passes:.1f} ms   {spread(took['grid'], took['bare'])} times "
        "bare (<= 1.1)\n"
        f"     processor, beside the forward pass: "
        f"{1e3 * (grid.processor - plain.processor) / passes:.1f} ms",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--model", choices=sorted(SIZES), action="append")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, help="of each task, in the search")
    parser.add_argument("--points", type=int, help="of each task, of the grid")
    parser.add_argument("--grid", type=int, help="points per axis")
    parser.add_argument("--only", choices=("search", "grid"))
    chosen = parser.parse_args()
    for model in chosen.model or sorted(SIZES, reverse=True):
        size = SIZES[model]
        size = replace(
            size,
            searched=chosen.images or size.searched,
            points=chosen.points or size.points,
            grid=chosen.grid or size.grid,
        )
        for sparsity in (0.9, 0.0):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                with use_data(DataSettings(paths=make_data(folder, size))):
                    setting = make_setting(folder, model, size, sparsity)
                    kind = f"sparsity {sparsity}" if sparsity else "dense vectors"
                    print(f"{model}, {kind}, {torch.get_num_threads()} threads")
                    if chosen.only != "grid" and sparsity:
                        bench_search(setting, chosen.repeats)
                    if chosen.only != "search":
                        bench_grid(setting, chosen.repeats)


if __name__ == "__main__":
    main()
