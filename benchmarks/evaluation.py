"""The coefficient search beside merged checkpoints on disk, and the grid beside bare passes.

Random vectors and images: the costs do not depend on them. Everything runs in this process, the
ways in turn; a ratio is the median over the repetitions, its lowest and highest in brackets.

    python benchmarks/evaluation.py [--model tiny-clip|ViT-B-32] [--repeats 5]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from plain_search import COEFS, Script, Searched, Took, Watch, validation_files
from synthetic import TASKS, Setting, Size, make_data, make_setting

from talos_engine.artifacts import read_vector
from talos_engine.data.settings import DataSettings, use_data
from talos_engine.evaluation.accuracy import BATCH_SIZE
from talos_engine.evaluation.disentanglement import equispaced, map_disentanglement
from talos_engine.evaluation.editing import EditedEncoder
from talos_engine.merging.ops import dense_changes
from talos_engine.models.loading import load_weights
from talos_engine.workflows.add import AddRequest, add_vectors
from talos_engine.workflows.opening import Common, open_session

TITLES = {
    "A": "A: model, heads and images made anew for each checkpoint",
    "B": "B: the same, with model, heads and prepared images kept",
}
SIZES = {"tiny-clip": Size(100, 256, 4, 64), "ViT-B-32": Size(8, 32, 3, 320)}


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
