"""Hyper-parameters that were chosen (App. A.1): a row per method, a column per task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.measures import missing, summarize
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, Source, key_of
from talos_engine.experiments.tables import column, table
from talos_engine.experiments.template import format_value


@dataclass(frozen=True)
class Config:
    """Options of a table of choices.

    Args:
        row: Variable whose values are rows.
        column: Variable whose values are columns.
        over: Variable that mean and standard deviation go over.
    """

    row: str = "method"
    column: str = "task"
    over: str = "seed"


def choices(config: Config, given: Given) -> dict[str, Any]:
    """The values chosen; where several seeds chose differently, a note lists them."""
    found: dict[tuple[str, str], list[Any]] = {}
    for source in given.present("choices"):
        key = key_of(source.variables, (config.row, config.column))
        if key is not None:
            found.setdefault((key[0], key[1]), []).append(_chosen(source))
    columns = [column(name, name, unit="") for name in dict.fromkeys(name for _, name in found)]
    rows = [
        {
            "label": row,
            "variables": {config.row: row},
            "cells": {name: _cell(values) for (of, name), values in found.items() if of == row},
        }
        for row in dict.fromkeys(row for row, _ in found)
    ]
    return table(columns, rows, given.missing_notes())


def _cell(values: list[Any]) -> dict[str, Any]:
    told = ", ".join(map(format_value, values))
    if any(isinstance(value, (str, bool)) for value in values):
        return missing(told)
    return summarize(values, note=f"chosen: {told}" if len(set(values)) > 1 else "")


def _chosen(source: Source) -> Any:
    try:
        content: Any = source.content
        value = content["chosen"]
        if content["command"] != "choose" or not isinstance(value, (str, bool, int, float)):
            raise KeyError("chosen")
    except (KeyError, TypeError):
        raise CorruptFileError(f"{source.path}: holds no choice") from None
    return value


RESULTS.register("choices")(ResultKind(("choices",), (), Config, choices))
