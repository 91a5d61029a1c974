"""Accuracies that ``talos evaluate`` wrote, as tables: a row per model, repetitions summed up."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from talos_engine.evaluation.uncertainty import mean_and_std, wilson_interval
from talos_engine.reporting.document import HIGHER, Cell, Column, Row, Table
from talos_engine.reporting.fields import Fields, clean_text
from talos_engine.reporting.figures import Axis, Heatmap
from talos_engine.reporting.scanning import MetricsFile, group_repeats

_MEAN, _NORMALIZED, _TASK = "mean", "normalized", "task "


@dataclass
class _Model:
    """Measurements of one model, one entry per repetition."""

    label: str
    base: bool
    negated: bool
    tasks: tuple[str, ...]
    single: bool = False
    accuracies: list[Mapping[str, tuple[float, int | None, int | None]]] = field(
        default_factory=list
    )
    normalized: list[float] = field(default_factory=list)


def accuracy_tables(files: Sequence[MetricsFile]) -> list[Table]:
    """One table per set of tasks, split and base; the base itself stands in every one it covers.

    Args:
        files: Of ``evaluate``; those of edited bases are passed over.
    """
    tables: dict[tuple[str, str, tuple[str, ...], bool], list[_Model]] = {}
    bases: dict[tuple[str, str], list[_Model]] = {}
    for group in group_repeats(files).values():
        split = group[0].fields.text("split", "test")
        name = group[0].fields.inner("model").text("name")
        for model in _models(group):
            if model.base:
                bases.setdefault((name, split), []).append(model)
            else:
                tables.setdefault((name, split, model.tasks, model.negated), []).append(model)
    for (name, split), models in bases.items():
        if not any(key[:2] == (name, split) for key in tables):
            tables[name, split, models[0].tasks, False] = []
    return [
        _table(name, split, tasks, negated, [*bases.get((name, split), []), *models])
        for (name, split, tasks, negated), models in sorted(tables.items())
    ]


def _models(group: Sequence[MetricsFile]) -> list[_Model]:
    """The models of a file, with what every repetition measured."""
    found: dict[tuple[str, str], _Model] = {}
    for file in group:
        for result in file.fields.objects("results"):
            source = result.inner_or_none("input")
            method, evaluation = result.text("method", ""), result.text("evaluation", "plain")
            if source is None:
                label = f"{file.fields.inner('model').text('name')} itself"
            else:
                label = PurePath(source.text("path")).name.removesuffix(".safetensors")
            if evaluation != "plain":
                label += f" ({evaluation})"
            accuracies = result.table("tasks", _accuracy)
            negated = method.startswith("negate")
            model = found.setdefault(
                (label, method), _Model(label, source is None, negated, tuple(sorted(accuracies)))
            )
            if tuple(sorted(accuracies)) != model.tasks:
                result.fail("tasks", f"about the tasks {', '.join(model.tasks)} as in other seeds")
            model.accuracies.append(accuracies)
            if "normalized" in result:
                model.normalized.append(result.number("normalized"))
        singles = file.fields.table("single", Fields.number)
        if singles:
            label = f"{file.stem}: each task's own model"
            model = found.setdefault(
                (label, ""), _Model(label, False, False, tuple(sorted(singles)), single=True)
            )
            model.accuracies.append({task: (v, None, None) for task, v in singles.items()})
    return list(found.values())


def _accuracy(fields: Fields, key: str) -> tuple[float, int | None, int | None]:
    found = fields.inner(key)
    correct, n = found.count_or_none("correct"), found.count_or_none("n")
    if correct is not None and n is not None and not correct <= n > 0:
        found.fail("correct", "at most n")
    return found.number("accuracy"), correct, n


def _table(
    name: str, split: str, tasks: tuple[str, ...], negated: bool, models: Sequence[_Model]
) -> Table:
    shown = [model for model in models if set(tasks) <= set(model.tasks)]
    better = None if negated else HIGHER
    columns = [Column(_TASK + task, task, "%", better) for task in tasks]
    if not negated:
        columns.insert(0, Column(_MEAN, "mean", "%", better))
        if any(model.normalized for model in shown):
            columns.insert(1, Column(_NORMALIZED, "normalized", "%", better))
    rows = [Row(model.label, _cells(model, tasks), model.base or model.single) for model in shown]
    counts = sorted({len(model.accuracies) for model in shown})
    notes = []
    if counts[-1] > 1:
        notes.append(
            f"{' or '.join(map(str, counts))} repetitions (seeds): mean ± standard deviation."
        )
    if any(cell.low is not None for row in rows for cell in row.cells.values()):
        notes.append(
            "In brackets: 95% interval for the number of test examples (Wilson); it says nothing "
            "about other seeds."
        )
    if negated:
        notes.append("The task that was negated should be low, every other one high.")
    elif any(model.normalized for model in shown):
        notes.append("normalized: accuracy divided by that of each task's own model, mean.")
    what = "after negation, on " if negated else "on "
    return Table(
        f"Accuracy {what}{', '.join(tasks)}",
        columns,
        rows,
        f"Share of the {split} examples that are classified correctly.",
        name,
        notes=notes,
    )


def _cells(model: _Model, tasks: Sequence[str]) -> dict[str, Cell]:
    cells = {}
    for task in tasks:
        measured = [found[task] for found in model.accuracies]
        value, correct, n = measured[0]
        if len(measured) == 1 and correct is not None and n is not None:
            low, high = wilson_interval(correct, n)
            cells[_TASK + task] = Cell(value, n=1, low=low, high=high, note=f"{correct} of {n}")
        else:
            cells[_TASK + task] = _repeated([each for each, _, _ in measured])
    means = [statistics.fmean(found[task][0] for task in tasks) for found in model.accuracies]
    cells[_MEAN] = _repeated(means)
    if model.normalized and tuple(sorted(tasks)) == model.tasks:
        cells[_NORMALIZED] = _repeated(model.normalized)
    return cells


def _repeated(values: Sequence[float]) -> Cell:
    spread = mean_and_std(values)
    return Cell(spread.mean, spread.std, spread.n)


def edit_heatmaps(file: MetricsFile) -> list[Heatmap]:
    """Accuracy ratios after pruning or perturbing the lowest-scored entries (Fig. 1, 10)."""
    panels: dict[tuple[str, float], list[tuple[str, Mapping[str, float]]]] = {}
    for edit in file.fields.objects("edits"):
        scores = edit.inner("scores")
        ratios = edit.table("ratio", Fields.number)
        label = clean_text(f"{scores.text('task')} ({scores.text('method')})")
        at = edit.text("edit"), edit.number("fraction")
        panels.setdefault(at, []).append((label, ratios))
    maps = []
    for (edit_name, fraction), rows in panels.items():
        tasks = list(rows[0][1])
        if not tasks or any(list(ratios) != tasks for _, ratios in rows):
            file.fields.fail("edits", "a list of edits that were evaluated on the same tasks")
        values: list[list[float | None]] = [[ratios[task] for task in tasks] for _, ratios in rows]
        worst = min(value for row in values for value in row if value is not None)
        maps.append(
            Heatmap(
                f"{file.stem}: {edit_name} the lowest {100 * fraction:g}%",
                "Accuracy divided by that of the untouched model; 1 is no change.",
                f"Ratios of {len(rows)} edits on {len(tasks)} tasks, the lowest {worst:.2f}.",
                (),
                [label for label, _ in rows],
                tasks,
                values,
                span=(0.0, max(1.0, *(v for row in values for v in row if v is not None))),
                x=Axis("evaluated on"),
                y=Axis("lowest scores of"),
            )
        )
    return maps
