"""Task addition (Tables 1 and 5): absolute and normalized accuracy of merged models."""

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
from talos_engine.experiments.tables import column, searched_coefs, spread_notes, table


@dataclass(frozen=True)
class Config:
    """Options of an addition table.

    Args:
        row: Variable whose values are rows.
        over: Variable that mean and standard deviation go over.
    """

    row: str = "method"
    over: str = "seed"


def normalized_accuracy(merged: Record, singles: dict[str, Record]) -> float | None:
    """Mean over tasks of merged by single-task accuracy (Eq. 11 of arXiv:2504.02620).

    ``None`` where a single-task model is missing or has accuracy 0.
    """
    ratios = []
    for task in merged.tasks:
        single = singles.get(task)
        if single is None or task not in single.tasks or single.accuracy(task) == 0:
            return None
        ratios.append(merged.accuracy(task) / single.accuracy(task))
    return statistics.fmean(ratios)


def addition(config: Config, given: Given) -> dict[str, Any]:
    """A row per method: single-task, merged and normalized accuracy, and the coefficient.

    Numbers of the base are not ranked: the zero-shot row's, and those of merges that chose α = 0.
    """
    names = (config.row, config.over)
    merged = {key_of(it.variables, names): it for it in evaluations(given.present("merged"))}
    singles: dict[Any, dict[str, Record]] = {}
    for record in evaluations(given.present("single")):
        own = singles.setdefault(key_of(record.variables, names), {})
        own[str(record.variables.get("task"))] = record
    coefs = searched_coefs(given.present("search"), names)
    keys = [key for key in merged if key is not None]
    notes = [*given.missing_notes(), *spread_notes(keys, config.row, config.over)]
    rows = [_zero_shot(it, given, keys, merged) for it in evaluations(given.present("zero-shot"))]
    bases = len(rows)
    for method in dict.fromkeys(row for row, _ in keys):
        own_keys = [key for key in keys if key[0] == method]
        records = [merged[key] for key in own_keys]
        ratios = {key: normalized_accuracy(merged[key], singles.get(key, {})) for key in own_keys}
        lacking = [key[1] for key, ratio in ratios.items() if ratio is None]
        cells = {
            "absolute": summarize(
                [statistics.fmean(map(it.accuracy, it.tasks)) for it in records],
                [[it.counts(task) for task in it.tasks] for it in records],
                given.paper.share(method, "absolute"),
            ),
            "normalized": _mean(
                [ratio for ratio in ratios.values() if ratio is not None],
                given.paper.share(method, "normalized"),
                f"no single-task models for {config.over} {', '.join(lacking)}" if lacking else "",
            ),
        }
        alone = [
            statistics.fmean(singles[key][task].accuracy(task) for task in merged[key].tasks)
            for key in own_keys
            if merged[key].tasks.keys() <= singles.get(key, {}).keys()
        ]
        cells["single"] = _mean(alone, None, "")
        if coefs:
            known = [coefs[key] for key in own_keys if key in coefs]
            cells["coef"] = _coef(known)
            if len(known) == len(own_keys) and not any(known):
                cells["absolute"]["ranked"] = cells["normalized"]["ranked"] = False
        rows.append({"label": method, "variables": {config.row: method}, "cells": cells})
    notes += _base_notes(rows[:bases], rows[bases:])
    columns = [
        column("single", "single-task", better="higher"),
        column("absolute", "absolute", better="higher"),
        column("normalized", "normalized", better="higher"),
        *([column("coef", "α", unit="")] if coefs else ()),
    ]
    return table(columns, rows, notes)


def _mean(values: list[float], paper: float | None, note: str) -> dict[str, Any]:
    return summarize(values, (), paper, note) if values else missing(note or "not measured", paper)


def _coef(known: list[float]) -> dict[str, Any]:
    if not known:
        return missing("not searched")
    zeros = sum(value == 0 for value in known)
    note = f"0 for {zeros} of {len(known)}" if 0 < zeros < len(known) else ""
    return summarize(known, note=note)


def _base_notes(bases: list[dict[str, Any]], rows: list[dict[str, Any]]) -> list[str]:
    """What keeps a number from telling how good a merge is."""
    notes = []
    unmerged = [row["label"] for row in rows if "ranked" in row["cells"]["absolute"]]
    if unmerged:
        notes.append(
            f"only α = 0 was chosen, so the merged model is the base, and is not ranked: "
            f"{', '.join(unmerged)}"
        )
    if len(bases) == 1:
        base = bases[0]["cells"]["absolute"]["mean"]
        singles = {row["label"]: row["cells"]["single"]["mean"] for row in rows}
        below = [
            f"{label} ({100 * mean:.1f})"
            for label, mean in singles.items()
            if mean is not None and mean < base
        ]
        if below:
            notes.append(
                f"single-task models below zero-shot ({100 * base:.1f}), so that dividing by them "
                f"raises normalized accuracy: {', '.join(below)}"
            )
    return notes


def _zero_shot(base: Record, given: Given, keys: Any, merged: Any) -> dict[str, Any]:
    tasks = list(merged[keys[0]].tasks) if keys else list(base.tasks)
    cell = summarize(
        [statistics.fmean(base.accuracy(task) for task in tasks)],
        [[base.counts(task) for task in tasks]],
        given.paper.share("zero-shot", "absolute"),
    )
    cell["ranked"] = False
    return {"label": "zero-shot", "variables": {}, "cells": {"absolute": cell}}


RESULTS.register("addition")(
    ResultKind(("merged", "single"), ("zero-shot", "search"), Config, addition)
)
