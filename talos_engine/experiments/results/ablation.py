"""A measure as one option changes (Fig. 8: sparsity), mean and spread over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import OptionError
from talos_engine.experiments.maps import curve
from talos_engine.experiments.result_spec import (
    RESULTS,
    Given,
    Record,
    ResultKind,
    evaluations,
    key_of,
)
from talos_engine.experiments.results.addition import normalized_accuracy

_MEASURES = {"absolute": "merged", "normalized": "merged", "single": "single", "target": "negated",
             "control": "negated"}  # fmt: skip


@dataclass(frozen=True)
class Config:
    """Options of an ablation.

    Args:
        x: The variable that changes.
        measures: Any of absolute, normalized, single, target, control.
        control: The control task, for measures of negation.
        over: Variable that mean and standard deviation go over.
    """

    x: str = "sparsity"
    measures: tuple[str, ...] = ("absolute",)
    control: str = ""
    over: str = "seed"

    def __post_init__(self) -> None:
        """Refuse measures that there are not."""
        for name in self.measures:
            if name not in _MEASURES:
                raise OptionError(f"no measure {name!r}; known: {', '.join(_MEASURES)}")


def ablation(config: Config, given: Given) -> dict[str, Any]:
    """A series per measure over the values of ``x``."""
    notes = given.missing_notes()
    series: list[dict[str, Any]] = []
    for measure in config.measures:
        groups: dict[tuple[str, ...], list[Record]] = {}
        for record in evaluations(given.present(_MEASURES[measure])):
            key = key_of(record.variables, (config.x, config.over))
            if key is not None:
                groups.setdefault(key, []).append(record)
        compute = _compute(measure, config, given)
        points: dict[float, list[float]] = {}
        sizes = {len(records) for records in groups.values()}
        for key, records in groups.items():
            if len(records) < max(sizes):
                notes.append(f"{measure} at {config.x} {key[0]}, {config.over} {key[1]}: left out, "
                             f"{len(records)} of {max(sizes)} models")  # fmt: skip
                continue
            value = compute(key, records)
            if value is not None:
                points.setdefault(float(key[0]), []).append(value)
        xs = sorted(points)
        spreads = [statistics.stdev(points[x]) if len(points[x]) > 1 else 0.0 for x in xs]
        means = [statistics.fmean(points[x]) for x in xs]
        series.append(
            {
                "label": measure,
                "variables": {"measure": measure},
                "x": xs,
                "y": means,
                "low": [mean - spread for mean, spread in zip(means, spreads, strict=True)],
                "high": [mean + spread for mean, spread in zip(means, spreads, strict=True)],
                "n": [len(points[x]) for x in xs],
            }
        )
    if any(count > 1 for line in series for count in line["n"]):
        notes.append(f"band: one standard deviation over {config.over}s to each side")
    return curve(((config.x, ""), ("accuracy", "share")), series, notes)


def _compute(
    measure: str, config: Config, given: Given
) -> Callable[[tuple[str, ...], list[Record]], float | None]:
    singles: dict[Any, dict[str, Record]] = {}
    for record in evaluations(given.present("single")):
        own = singles.setdefault(key_of(record.variables, (config.x, config.over)), {})
        own[str(record.variables.get("task"))] = record

    def own_task(record: Record) -> float:
        return record.accuracy(str(record.variables["task"]))

    functions: dict[str, Callable[[Any, list[Record]], float | None]] = {
        "absolute": lambda key, them: statistics.fmean(map(them[0].accuracy, them[0].tasks)),
        "normalized": lambda key, them: normalized_accuracy(them[0], singles.get(key, {})),
        "single": lambda key, them: statistics.fmean(map(own_task, them)),
        "target": lambda key, them: statistics.fmean(map(own_task, them)),
        "control": lambda key, them: statistics.fmean(it.accuracy(config.control) for it in them),
    }
    return functions[measure]


RESULTS.register("ablation")(ResultKind((), ("merged", "single", "negated"), Config, ablation))
