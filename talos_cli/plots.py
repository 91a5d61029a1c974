"""Pictures: heatmaps and bars drawn with matplotlib, written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from talos_cli.render import label_scores
from talos_engine.artifacts import atomic_write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from talos_engine.evaluation.disentanglement import DisentanglementMap
    from talos_engine.workflows.measuring import MethodCost
    from talos_engine.workflows.prune import EditedModel

_PAST = {"prune": "pruned", "perturb": "perturbed"}


def draw_disentanglement(
    tasks: tuple[str, str], found: DisentanglementMap, path: Path, *, force: bool
) -> None:
    """Heatmap of ξ(α1, α2) as in Fig. 2 of arXiv:2504.02620; darker is worse.

    Args:
        tasks: The two tasks; the first is the horizontal axis.
        found: ξ over the grid.
        path: PNG file to write.
        force: Whether an existing file is replaced.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(5.4, 4.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    coefs = found.coefs
    half = (coefs[1] - coefs[0]) / 2 if len(coefs) > 1 else 0.5
    reach = (coefs[0] - half, coefs[-1] + half)
    transposed = list(zip(*found.error, strict=True))  # rows of the picture are α2
    image = axes.imshow(
        transposed, origin="lower", extent=(*reach, *reach), cmap="pink_r", vmin=0.0, vmax=1.0
    )
    axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, edgecolor="tab:red", linewidth=2))
    axes.annotate("[0, 1]²", (0.04, 1.08), color="tab:red", fontsize=9)
    axes.set_xlabel(f"α₁, coefficient of {tasks[0]}")
    axes.set_ylabel(f"α₂, coefficient of {tasks[1]}")
    axes.set_title("disentanglement error ξ(α₁, α₂)")
    figure.colorbar(image, ax=axes, extend="max", label="sum of both tasks' disagreement")
    save_figure(figure, path, force)


def draw_costs(costs: Sequence[MethodCost], path: Path, *, force: bool) -> None:
    """Bars of step time, split into its parts, and of peak memory.

    Args:
        costs: One per method.
        path: PNG file to write.
        force: Whether an existing file is replaced.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.4), dpi=150, layout="constrained")
    times, memory = figure.subplots(1, 2)
    names = [cost.method for cost in costs]
    forward = [1e3 * cost.forward_backward.mean for cost in costs]
    optimizer = [1e3 * cost.optimizer.mean for cost in costs]
    times.bar(names, forward, label="forward-backward", color="tab:blue")
    times.bar(names, optimizer, bottom=forward, label="optimizer", color="tab:orange")
    spread = [1e3 * cost.total.std for cost in costs]
    total = [1e3 * cost.total.mean for cost in costs]
    times.errorbar(names, total, yerr=spread, fmt="none", ecolor="black", capsize=4)
    times.set_ylabel("milliseconds per step")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)  # covers no bar
    memory.bar(names, [cost.peak_bytes / 2**20 for cost in costs], color="tab:green")
    memory.set_ylabel(f"peak memory, MiB ({costs[0].memory_source})")
    save_figure(figure, path, force)


def draw_ratios(
    tasks: Sequence[str], models: Sequence[EditedModel], path: Path, *, force: bool
) -> None:
    """Heatmap of accuracy ratios as in Fig. 1 and 10 of arXiv:2504.02620.

    Args:
        tasks: Tasks evaluated, the columns.
        models: One per row; each edit at each fraction has a panel of its own.
        path: PNG file to write.
        force: Whether an existing file is replaced.
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, float], list[EditedModel]] = {}
    for model in models:
        panels.setdefault((model.edit.edit, model.edit.fraction), []).append(model)
    tallest = max(len(rows) for rows in panels.values())
    size = (1.9 + len(panels) * (1.7 + 0.72 * len(tasks)), 2.2 + 0.62 * tallest)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    grid = figure.subplots(1, len(panels), squeeze=False)[0]
    top = max(1.0, *(ratio for model in models for ratio in model.ratios.values()))
    for axes, ((edit, fraction), rows) in zip(grid, panels.items(), strict=True):
        values = [[model.ratios[task] for task in tasks] for model in rows]
        image = axes.imshow(values, cmap="viridis", vmin=0.0, vmax=top, aspect="auto")
        for row, line in enumerate(values):
            for column, value in enumerate(line):
                colour = "black" if value > 0.6 * top else "white"
                axes.text(
                    column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9
                )
        axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right", rotation_mode="anchor")
        names = [label_scores(model.task, model.method) for model in rows]
        if len(set(names)) < len(names):
            names = [model.edit.scores.name for model in rows]
        axes.set_yticks(range(len(rows)), names)
        axes.set_xlabel("evaluated on")
        axes.set_title(f"lowest {100 * fraction:g}% {_PAST[edit]}", fontsize=11)
    grid[0].set_ylabel("lowest scores of")
    figure.colorbar(image, ax=list(grid), label="accuracy ratio to the base")
    save_figure(figure, path, force)


def draw_matrix(
    tasks: Sequence[str],
    labels: Sequence[str],
    ratios: Sequence[Sequence[float | None]],
    path: Path,
    *,
    force: bool,
) -> None:
    """Heatmap of accuracy ratios to the base as in Fig. 3 of arXiv:2504.02620; 1 is white.

    Args:
        tasks: Tasks evaluated, the columns.
        labels: One per model, the rows.
        ratios: By row; ``None`` where the base has no right answer.
        path: PNG file to write.
        force: Whether an existing file is replaced.
    """
    from matplotlib.figure import Figure

    height = 1.6 + 0.5 * len(labels)
    width = 2.2 + 0.09 * max(map(len, labels)) + 0.8 * len(tasks)
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    values = [[float("nan") if value is None else value for value in row] for row in ratios]
    far = max(0.05, *(abs(value - 1) for row in ratios for value in row if value is not None))
    image = axes.imshow(values, cmap="RdBu", vmin=1 - far, vmax=1 + far, aspect="auto")
    for row, line in enumerate(ratios):
        for column, value in enumerate(line):
            text = "–" if value is None else f"{value:.2f}"
            dark = value is not None and abs(value - 1) > 0.6 * far
            colour = "white" if dark else "black"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("evaluated on")
    figure.colorbar(image, ax=axes, label="accuracy ratio to the base")
    save_figure(figure, path, force)


def save_figure(figure: Figure, path: Path, force: bool) -> None:
    """Write a figure as PNG; equal figures give equal bytes."""

    def write(temporary: Path) -> None:
        figure.savefig(temporary, format="png", metadata={"Software": None})

    atomic_write(path, write, force=force)
