"""What searches of α saw on validation data: the whole curves behind the α of Tables 1 and 2."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from talos_engine.configuration import check_choice
from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import curve
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, Source, key_of

MEASURES = ("objective", "control")
_KNEE = 1.0  # grids end at 1, or are stretched by 1 / (1 − k) beyond


@dataclass(frozen=True)
class Config:
    """Options of a search curve.

    Args:
        measure: ``objective``, what the search optimizes, or the accuracy on the ``control`` task.
        row: Variable that tells lines apart; means go over all others.
        over: Variable that tells repetitions apart.
    """

    measure: str = "objective"
    row: str = "method"
    over: str = "seed"

    def __post_init__(self) -> None:
        check_choice("measure", self.measure, MEASURES)


@dataclass(frozen=True)
class _Search:
    """One search: value by α, and the α that it chose."""

    repetition: str
    values: Mapping[float, float]
    coef: float
    label: str
    only_zero: bool


def search(config: Config, given: Given) -> dict[str, Any]:
    """A line per method over α, mean of its searches with a band; what each chose is marked."""
    groups: dict[str, list[_Search]] = {}
    for source in given.present("searches"):
        key = key_of(source.variables, (config.row, config.over))
        if key is not None:
            groups.setdefault(key[0], []).append(_read(source, key[1], config.measure))
    notes, series, told = given.missing_notes(), [], []
    for name, found in groups.items():
        places = sorted(set.intersection(*(set(it.values) for it in found)))
        if any(len(it.values) > len(places) for it in found):
            notes.append(f"{name}: values of α that not every search tried are left out")
        zero = [it.repetition for it in found if it.only_zero]
        if zero:
            notes.append(f"{name}: only α = 0 was allowed for {config.over} {', '.join(zero)}")
        means = {x: statistics.fmean(it.values[x] for it in found) for x in places}
        chosen = sorted({it.coef for it in found})
        line: dict[str, Any] = {
            "label": name,
            "variables": {config.row: name},
            "x": places,
            "y": list(means.values()),
            "marks": [
                {"x": x, "y": means.get(x, _own(found, x)), "label": "chosen"} for x in chosen
            ],
        }
        if len(found) > 1:
            line["low"] = [min(it.values[x] for it in found) for x in places]
            line["high"] = [max(it.values[x] for it in found) for x in places]
        series.append(line)
        told.append(f"{name} {' and '.join(f'{x:g}' for x in chosen)}")
    if any("low" in line for line in series):
        notes.append("band: least and largest of the searches that a line is the mean of")
    labels = {it.label for found in groups.values() for it in found}
    label = labels.pop() if len(labels) == 1 else f"{config.measure} of the search"
    content = curve((("α", ""), (label, "share")), series, notes)
    content["x"]["knee"] = _KNEE
    return {**content, "told": f"Chosen α: {'; '.join(told)}." if told else ""}


def _own(found: Iterable[_Search], coef: float) -> float:
    """The mean at an α of those searches that tried it."""
    return statistics.fmean(it.values[coef] for it in found if coef in it.values)


def _read(source: Source, repetition: str, measure: str) -> _Search:
    try:
        content = source.content
        coef = float(content["coef"])  # type: ignore[index]
        points = content["curve"]  # type: ignore[index]
        adds = content["command"] == "add"  # type: ignore[index]
        task = "" if adds else str(content["control" if measure == "control" else "task"])  # type: ignore[index]
        values = {
            float(it["coef"]): float(it["objective"] if adds else it["accuracy"][task])
            for it in points
        }
        feasible = [float(it["coef"]) for it in points if it.get("feasible", True)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptFileError(f"{source.path}: is no report of a search: {error}") from None
    if coef not in values:
        raise CorruptFileError(f"{source.path}: the α that was chosen is not on the curve")
    label = "normalized accuracy" if adds else f"accuracy on {task}"
    return _Search(repetition, values, coef, label, feasible == [0.0])


RESULTS.register("search")(ResultKind(("searches",), (), Config, search))
