"""Single-task accuracy (Fig. 9): each fine-tuned model on its own task, a column per task."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.experiments.measures import missing, summarize
from talos_engine.experiments.result_spec import (
    RESULTS,
    Given,
    Record,
    ResultKind,
    evaluations,
    key_of,
)
from talos_engine.experiments.tables import column, table


@dataclass(frozen=True)
class Config:
    """Options of a single-task table.

    Args:
        row: Variable whose values are rows.
        over: Variable that mean and standard deviation go over.
    """

    row: str = "method"
    over: str = "seed"


def single_task(config: Config, given: Given) -> dict[str, Any]:
    """A row per method; the mean is over all tasks, of seeds that have them all."""
    found: dict[tuple[str, ...], Record] = {}
    for record in evaluations(given.present("single")):
        key = key_of(record.variables, (config.row, "task", config.over))
        if key is not None and key[1] in record.tasks:
            found[key] = record
    tasks = list(dict.fromkeys(key[1] for key in found))
    seeds = list(dict.fromkeys(key[2] for key in found))
    rows = [_zero_shot(it, tasks) for it in evaluations(given.present("zero-shot"))]
    for method in dict.fromkeys(key[0] for key in found):
        cells = {}
        for task in tasks:
            own = [found[method, task, seed] for seed in seeds if (method, task, seed) in found]
            lacking = [seed for seed in seeds if (method, task, seed) not in found]
            note = f"nothing for {config.over} {', '.join(lacking)}" if lacking else ""
            cells[task] = (
                summarize(
                    [it.accuracy(task) for it in own], [[it.counts(task)] for it in own], None, note
                )
                if own
                else missing(note)
            )
        whole = [seed for seed in seeds if all((method, task, seed) in found for task in tasks)]
        values = [
            statistics.fmean(found[method, task, seed].accuracy(task) for task in tasks)
            for seed in whole
        ]
        cells["mean"] = summarize(values) if values else missing("no seed has all tasks")
        rows.append({"label": method, "variables": {config.row: method}, "cells": cells})
    columns = [column(task, task, better="higher") for task in tasks]
    columns.append(column("mean", "mean", better="higher"))
    return {**table(columns, rows, given.missing_notes()), "radar": tasks}


def _zero_shot(base: Record, tasks: list[str]) -> dict[str, Any]:
    known = [task for task in tasks if task in base.tasks]
    cells = {task: summarize([base.accuracy(task)], [[base.counts(task)]]) for task in known}
    if known and known == tasks:
        cells["mean"] = summarize([statistics.fmean(map(base.accuracy, tasks))])
    return {"label": "zero-shot", "variables": {}, "cells": cells, "reference": True}


RESULTS.register("single-task")(ResultKind(("single",), ("zero-shot",), Config, single_task))
