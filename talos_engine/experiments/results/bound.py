"""How local task vectors act (Eq. 9): the bound and what it bounds, on own and on other tasks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.measures import summarize
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, evaluations
from talos_engine.experiments.tables import column, table
from talos_engine.experiments.template import format_value

_COLUMNS = {
    "entries": ("changed", "entries"),
    "norm": ("‖τ‖", ""),
    "bound_own": ("bound, own task", "nat"),
    "bound_other": ("bound, other tasks", "nat"),
    "slope_own": ("mean |τᵀ∇f|, own task", "nat"),
    "slope_other": ("mean |τᵀ∇f|, other tasks", "nat"),
}


@dataclass(frozen=True)
class Config:
    """Options of a table of bounds.

    Args:
        row: Variable whose values are rows.
        own: Variable that tells on which task a model was fine-tuned.
    """

    row: str = "method"
    own: str = "task"


def bound(config: Config, given: Given) -> dict[str, Any]:
    """A row per method: means over models and the tasks that they were measured on."""
    found: dict[str, dict[str, list[float]]] = {}
    points = set()
    for record in evaluations(given.present("bounds")):
        row = found.setdefault(format_value(record.variables.get(config.row)), {})
        for task, told in record.bounds.items():
            place = "own" if task == str(record.variables.get(config.own)) else "other"
            try:
                values = {
                    "entries": told["count"],
                    "norm": told["change_norm"],
                    f"bound_{place}": told["bound"],
                    f"slope_{place}": told["mean_slope"],
                }
                points.add(int(told["n"]))
            except (KeyError, TypeError) as error:
                raise CorruptFileError(f"no result of evaluate --bound: {error}") from None
            for key, value in values.items():
                row.setdefault(key, []).append(float(value))
    rows = [
        {
            "label": name,
            "variables": {config.row: name},
            "cells": {key: summarize(values[key]) for key in _COLUMNS if key in values},
        }
        for name, values in found.items()
    ]
    notes = [_told(points), *given.missing_notes()]
    columns = [column(key, label, unit) for key, (label, unit) in _COLUMNS.items()]
    return table(columns, rows, notes)


def _told(points: Iterable[int]) -> str:
    counts = ", ".join(map(str, sorted(points))) or "no"
    return (
        f"over {counts} examples of each task; the bound is ‖τ‖ times the largest gradient's norm "
        "over the entries that τ changes, |τᵀ∇f| what it bounds; spreads are over models and tasks"
    )


RESULTS.register("bound")(ResultKind(("bounds",), (), Config, bound))
