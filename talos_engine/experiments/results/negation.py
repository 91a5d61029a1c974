"""Task negation (Table 2): accuracy left on the target, accuracy kept on the control task."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.experiments.measures import Counts, missing, summarize
from talos_engine.experiments.result_spec import (
    RESULTS,
    Given,
    Record,
    ResultKind,
    evaluations,
    key_of,
)
from talos_engine.experiments.tables import column, searched_coefs, table


@dataclass(frozen=True)
class Config:
    """Options of a negation table.

    Args:
        control: The control task.
        row: Variable whose values are rows.
        over: Variable that mean and standard deviation go over.
    """

    control: str
    row: str = "method"
    over: str = "seed"


def negation(config: Config, given: Given) -> dict[str, Any]:
    """A row per method: means over the tasks that were negated, then over seeds.

    A seed that lacks a task is left out of both means, and said to be.
    """
    names = (config.row, config.over, "task")
    found = {key_of(it.variables, names): it for it in evaluations(given.present("negated"))}
    keys = [key for key in found if key is not None]
    tasks = list(dict.fromkeys(key[2] for key in keys))
    seeds = list(dict.fromkeys(key[1] for key in keys))
    coefs = searched_coefs(given.present("search"), names)
    notes = given.missing_notes()
    base = next(iter(evaluations(given.present("zero-shot"))), None)
    rows = [] if base is None else [_zero_shot(base, tasks, config, given)]
    for method in dict.fromkeys(key[0] for key in keys):
        whole = {}
        for seed in seeds:
            lacking = [task for task in tasks if (method, seed, task) not in found]
            if lacking:
                notes.append(
                    f"{config.row} {method}, {config.over} {seed}: left out, as nothing is known "
                    f"of {', '.join(lacking)}"
                )
            else:
                whole[seed] = [(task, found[method, seed, task]) for task in tasks]
        cells = {
            "target": _cell(
                [[(task, record) for task, record in seed] for seed in whole.values()],
                given.paper.share(method, "target"),
            ),
            "control": _cell(
                [[(config.control, record) for _, record in seed] for seed in whole.values()],
                given.paper.share(method, "control"),
            ),
        }
        chosen = [coefs[key] for key in keys if key[0] == method and key in coefs]
        if chosen:
            cells["coef"] = summarize(chosen)
            count = float(sum(value == 0 for value in chosen))
            cells["only_zero"] = summarize([count], note=f"of {len(chosen)} negations")
            if not any(chosen):  # the base, whose control nothing can beat
                cells["target"]["ranked"] = cells["control"]["ranked"] = False
        rows.append({"label": method, "variables": {config.row: method}, "cells": cells})
    columns = [
        column("target", "target", better="lower"),
        column("control", f"control ({config.control})", better="higher"),
    ]
    if coefs:
        columns += [column("coef", "α", unit=""), column("only_zero", "only α = 0", unit="")]
    return table(columns, rows, notes)


def _cell(seeds: list[list[tuple[str, Record]]], paper: float | None) -> dict[str, Any]:
    if not seeds:
        return missing("no seed is complete", paper)
    values = [statistics.fmean(record.accuracy(task) for task, record in seed) for seed in seeds]
    counts: list[list[Counts]] = [[record.counts(task) for task, record in it] for it in seeds]
    if len({task for seed in seeds for task, _ in seed}) == 1 and len(seeds[0]) > 1:
        return summarize(values, (), paper)  # one control task, evaluated for each target
    return summarize(values, counts, paper)


def _zero_shot(base: Record, tasks: list[str], config: Config, given: Given) -> dict[str, Any]:
    cells = {}
    known = [task for task in tasks if task in base.tasks]
    if known == tasks and tasks:
        cells["target"] = _cell(
            [[(task, base) for task in tasks]], given.paper.share("zero-shot", "target")
        )
    if config.control in base.tasks:
        cells["control"] = _cell(
            [[(config.control, base)]], given.paper.share("zero-shot", "control")
        )
    return {"label": "zero-shot", "variables": {}, "cells": cells, "reference": True}


RESULTS.register("negation")(ResultKind(("negated",), ("zero-shot", "search"), Config, negation))
