"""Cost (Tables 3 and 4): seconds, peak memory, distance from the bound; all from ``profile``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.measures import missing, summarize
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind
from talos_engine.experiments.tables import column, table

_GIB = 2**30


@dataclass(frozen=True)
class Config:
    """Options of a cost table.

    Args:
        steps: With 0, seconds per step (Table 3); else the cost of a mask and so many steps
            (Table 4), the steps' own being extrapolated.
    """

    steps: int = 0


def cost(config: Config, given: Given) -> dict[str, Any]:
    """A row per method: seconds averaged over tasks and seeds, memory's largest values."""
    found: dict[str, list[Any]] = {}
    for source in given.present("profiles"):
        try:
            for entry in source.content["methods"]:  # type: ignore[index]
                found.setdefault(entry["method"], []).append(entry)
        except (KeyError, TypeError) as error:
            raise CorruptFileError(f"{source.path}: no result of profile: {error}") from None
    named = _calibrated(config.steps) if config.steps else _PER_STEP
    rows = []
    for method, entries in found.items():
        cells = {}
        for place, (key, _, _, read) in enumerate(named):
            values = [read(entry) for entry in entries]
            paper = given.paper.number(method, place) if key not in _OURS else None
            if key in _LARGEST:
                cells[key] = summarize([max(values)], paper=paper)
            elif values:
                cells[key] = summarize(values, paper=paper)
            else:
                cells[key] = missing("not measured", paper)
        rows.append({"label": method, "variables": {"method": method}, "cells": cells})
    columns = [
        column(key, label, unit, None if key in _OF_MASKS else _OURS.get(key, "lower"))
        for key, label, unit, _ in named
    ]
    notes = [
        "memory is the process's resident set on a CPU, the device's by NVML on NVIDIA; the "
        "paper's numbers are of its GPUs: compare ratios between rows only",
        *given.missing_notes(),
    ]
    if config.steps:
        notes.insert(0, f"training: {config.steps} times the mean step measured")
    else:
        notes.insert(
            0,
            "of the machine's speed: what the step's matrix products would take at the speed of "
            "one large product, as a share of forward and backward; 100% is the bound",
        )
    return table(columns, rows, notes)


_OF_MASKS = frozenset({"mask", "mask_memory"})
"""Columns that are 0 without a mask, which is no merit."""

_Read = Callable[[Any], float]


def _memory(entry: Any) -> float:
    return float(entry["peak_bytes"]) / _GIB


def _mask_memory(entry: Any) -> float:
    return float(entry["mask_peak_bytes"]) / _GIB


_PER_STEP: tuple[tuple[str, str, str, _Read], ...] = (
    ("forward_backward", "forward-backward", "s", lambda it: float(it["forward_backward"]["mean"])),
    ("optimizer", "optimizer", "s", lambda it: float(it["optimizer"]["mean"])),
    ("total", "total", "s", lambda it: float(it["total"]["mean"])),
    ("memory", "peak memory", "GiB", _memory),
    ("products", "matrix products", "GFLOP", lambda it: float(it["flops"]) / 1e9),
    ("efficiency", "of the machine's speed", "share", lambda it: float(it["efficiency"])),
)
_OURS = {"products": "lower", "efficiency": "higher"}
"""Columns that the paper has not, with what is better."""
_LARGEST = frozenset({"memory", "mask_memory"})
"""Columns whose largest value counts, not the mean."""


def _calibrated(steps: int) -> tuple[tuple[str, str, str, _Read], ...]:
    def train(entry: Any) -> float:
        return steps * float(entry["total"]["mean"])

    return (
        ("mask", "mask", "s", lambda it: float(it["mask_s"])),
        ("train", "training", "s", train),
        ("total", "total", "s", lambda it: float(it["mask_s"]) + train(it)),
        ("mask_memory", "mask's peak memory", "GiB", _mask_memory),
        ("memory", "training's peak memory", "GiB", _memory),
    )


RESULTS.register("cost")(ResultKind(("profiles",), (), Config, cost))
