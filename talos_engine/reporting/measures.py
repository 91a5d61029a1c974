"""Searches, disentanglement maps, costs and overlaps that commands wrote, as figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from talos_engine.reporting.document import LOWER, Block, Cell, Column, Row, Table
from talos_engine.reporting.fields import Fields
from talos_engine.reporting.figures import Axis, Bars, Curve, Heatmap, Mark, Series
from talos_engine.reporting.scanning import MetricsFile, group_repeats

_MOST_LINES = 6
_COEF = Axis("α")
_ONE_OF_SEVERAL = "Of several seeds the first is drawn."


def addition_curves(files: Sequence[MetricsFile]) -> list[Curve]:
    """What the search of ``talos add`` saw, several files in one plot."""
    chosen = [group[0] for group in group_repeats(files).values()]
    notes = (_ONE_OF_SEVERAL,) if len(chosen) < len(files) else ()
    curves = []
    for first in range(0, len(chosen), _MOST_LINES):
        lines = [_objective(file) for file in chosen[first : first + _MOST_LINES]]
        curves.append(
            Curve(
                "Choosing α for addition",
                "Normalized accuracy on validation data; the chosen α is marked.",
                "; ".join(f"{line.label}: {_described(line)}" for line in lines),
                notes,
                _COEF,
                Axis("normalized accuracy", "%"),
                lines,
            )
        )
    return curves


def _described(line: Series) -> str:
    return ", ".join(f"best at α = {mark.x:g}" for mark in line.marks)


def _objective(file: MetricsFile) -> Series:
    points = _points(file)
    best = file.fields.number("coef")
    mark = Mark(best, file.fields.number("objective"), "chosen")
    return Series(
        file.stem,
        [point.number("coef") for point in points],
        [point.number_or_none("objective") for point in points],
        marks=(mark,),
    )


def _points(file: MetricsFile) -> list[Fields]:
    points = file.fields.objects("curve")
    if not points:
        file.fields.fail("curve", "a list of points")
    return sorted(points, key=lambda point: point.number("coef"))


def negation_curves(files: Sequence[MetricsFile]) -> list[Curve]:
    """Target and control accuracy over α in ``talos negate``, a plot of each per task."""
    chosen = [group[0] for group in group_repeats(files).values()]
    by_task: dict[tuple[str, str], list[MetricsFile]] = {}
    for file in chosen:
        key = file.fields.text("task"), file.fields.text("control")
        by_task.setdefault(key, []).append(file)
    notes = [_ONE_OF_SEVERAL] if len(chosen) < len(files) else []
    curves = []
    for (task, control), own in by_task.items():
        for name, role in ((task, "target, to be forgotten"), (control, "control, to be kept")):
            lines = [_accuracy_line(file, name) for file in own[:_MOST_LINES]]
            only_zero = [file.stem for file in own if file.fields.number("coef") == 0]
            told = [f"Only α = 0 was allowed for {', '.join(only_zero)}."] if only_zero else []
            curves.append(
                Curve(
                    f"Negating {task}: accuracy on {name} ({role})",
                    "Validation data; the chosen α is marked.",
                    "; ".join(f"{line.label}: {_at_mark(line)}" for line in lines),
                    (*notes, *told),
                    _COEF,
                    Axis(f"accuracy on {name}", "%"),
                    lines,
                )
            )
    return curves


def _accuracy_line(file: MetricsFile, task: str) -> Series:
    points = _points(file)
    values = [point.inner("accuracy").number(task) for point in points]
    coefs = [point.number("coef") for point in points]
    best = file.fields.number("coef")
    if best not in coefs:
        file.fields.fail("coef", "one of the curve's")
    return Series(
        file.stem, coefs, values, marks=(Mark(best, values[coefs.index(best)], "chosen"),)
    )


def _at_mark(line: Series) -> str:
    return ", ".join(f"{100 * at.y:.1f}% at α = {at.x:g}" for at in line.marks)


def disentanglement_map(file: MetricsFile) -> Heatmap:
    """ξ over both coefficients (Fig. 2), α₁ to the right and α₂ upwards."""
    coefs = file.fields.numbers("coefs")
    tasks = file.fields.texts("tasks")
    if len(tasks) != 2 or not coefs:
        file.fields.fail("tasks", "a list of two, with coefs")
    error = file.fields.matrix("error", len(coefs), len(coefs))
    inside = [
        value
        for coef1, row in zip(coefs, error, strict=True)
        for coef2, value in zip(coefs, row, strict=True)
        if 0 <= coef1 <= 1 and 0 <= coef2 <= 1 and value is not None
    ]
    told = f" In the search box it is at most {max(inside):.2f}." if inside else ""
    points = file.fields.table("points", Fields.count)
    notes = [f"Test points: {', '.join(f'{name} {n}' for name, n in points.items())}."]
    if any(value is not None and value > 1 for row in error for value in row):
        notes.append("Values above 1 have the colour of 1; the largest possible is 2.")
    labels = [f"{coef:.3g}" for coef in coefs]
    return Heatmap(
        f"{file.stem}: disentanglement error of {tasks[0]} and {tasks[1]}",
        "ξ(α₁, α₂), the sum of both tasks' disagreement; darker is worse. The square is [0, 1]², "
        "where coefficients are searched.",
        f"Disentanglement error over {len(coefs)} by {len(coefs)} coefficients.{told}",
        [note for note in notes if points or not note.startswith("Test")],
        labels,
        labels,
        [list(row) for row in zip(*error, strict=True)],  # rows of the picture are α₂
        span=(0.0, 1.0),
        x=Axis(f"α₁, coefficient of {tasks[0]}"),
        y=Axis(f"α₂, coefficient of {tasks[1]}"),
        box=(0.0, 1.0),
    )


def cost_blocks(file: MetricsFile) -> list[Block]:
    """Seconds per step and peak memory by method (Tables 3 and 4)."""
    methods = file.fields.objects("methods")
    if not methods:
        file.fields.fail("methods", "a list of methods")
    names = [method.text("method") for method in methods]
    parts = {"forward-backward": "forward_backward", "optimizer": "optimizer"}
    stacked: dict[str, Sequence[float | None]] = {
        label: [1e3 * method.inner(key).number("mean") for method in methods]
        for label, key in parts.items()
    }
    memory = [method.number("peak_bytes") / 2**20 for method in methods]
    totals = [1e3 * method.inner("total").number("mean") for method in methods]
    described = ", ".join(
        f"{name} {total:.0f} ms" for name, total in zip(names, totals, strict=True)
    )
    where = f"{file.fields.text('model')}, {file.fields.text('device')}"
    iterations = file.fields.count("iters")
    caption = f"{where}; mean over {iterations} steps."
    table = Table(
        f"{file.stem}: cost of a training step",
        [
            Column("forward", "forward-backward", "ms", LOWER),
            Column("optimizer", "optimizer", "ms", LOWER),
            Column("total", "total", "ms", LOWER),
            Column("memory", "peak memory", "MiB", LOWER),
            Column("mask", "mask", "s", LOWER),
            Column("live", "live entries"),
        ],
        [_cost_row(method, iterations) for method in methods],
        f"{caption} Times are mean ± standard deviation over steps.",
        file.fields.text("model"),
    )
    return [
        table,
        Bars(
            f"{file.stem}: time of a step",
            caption,
            f"Milliseconds per step: {described}.",
            (),
            names,
            stacked,
            "ms",
            stacked=True,
        ),
        Bars(
            f"{file.stem}: peak memory",
            caption,
            "Peak memory: "
            + ", ".join(f"{n} {m:.0f} MiB" for n, m in zip(names, memory, strict=True)),
            (),
            names,
            {"peak memory": memory},
            "MiB",
        ),
    ]


def _cost_row(method: Fields, iterations: int) -> Row:
    cells = {}
    for key, name in (
        ("forward", "forward_backward"),
        ("optimizer", "optimizer"),
        ("total", "total"),
    ):
        timing = method.inner(name)
        std = timing.number_or_none("std")
        cells[key] = Cell(
            1e3 * timing.number("mean"), None if std is None else 1e3 * std, iterations
        )
    cells["memory"] = Cell(method.number("peak_bytes") / 2**20)
    seconds = method.number("mask_s")
    cells["mask"] = Cell(seconds) if seconds else Cell()
    cells["live"] = Cell(method.number("live"))
    return Row(method.text("method"), cells)


_OVERLAPS: Mapping[str, tuple[str, tuple[float, float]]] = {
    "iou": ("intersection over union of live entries", (0.0, 1.0)),
    "cosine": ("cosine similarity", (-1.0, 1.0)),
    "sign_conflicts": ("opposite signs, share of the entries that both change", (0.0, 1.0)),
}


def overlap_maps(title: str, comparison: Fields) -> list[Heatmap]:
    """Overlaps of masks or vectors, pair by pair (Fig. 11)."""
    labels = comparison.texts("labels")
    if not labels:
        comparison.fail("labels", "a list of at least one")
    maps = []
    for key, (name, span) in _OVERLAPS.items():
        if key not in comparison:
            continue
        values = comparison.matrix(key, len(labels), len(labels))
        others = [
            value
            for i, row in enumerate(values)
            for j, value in enumerate(row)
            if i != j and value is not None
        ]
        told = f" from {min(others):.2f} to {max(others):.2f}" if others else ""
        maps.append(
            Heatmap(
                f"{title}: {name}",
                "",
                f"{name}, {len(labels)} files pair by pair,{told} outside the diagonal.",
                (),
                labels,
                labels,
                values,
                span=span,
            )
        )
    return maps
