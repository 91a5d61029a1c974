"""Fine-tuned models against their post-hoc linearization (Fig. 6), a point per model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from talos_engine.experiments.maps import curve
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind, evaluations, key_of


@dataclass(frozen=True)
class Config:
    """Options of a linearization scatter.

    Args:
        series: Variable that tells series apart.
        over: Variable that tells repetitions apart.
    """

    series: str = "method"
    over: str = "seed"


def linearization(config: Config, given: Given) -> dict[str, Any]:
    """Accuracy on its own task of each model as it is (x) and linearized at the base (y)."""
    names = (config.series, "task", config.over)
    plain = {key_of(it.variables, names): it for it in evaluations(given.present("plain"))}
    linear = {key_of(it.variables, names): it for it in evaluations(given.present("linearized"))}
    notes = given.missing_notes()
    keys = [key for key in plain if key is not None and key in linear]
    if len(keys) < len(plain.keys() | linear.keys()):
        notes.append("models that were evaluated one way only are left out")
    series = []
    for name in dict.fromkeys(key[0] for key in keys):
        own = [key for key in keys if key[0] == name]
        series.append(
            {
                "label": name,
                "variables": {config.series: name},
                "x": [plain[key].accuracy(key[1]) for key in own],
                "y": [linear[key].accuracy(key[1]) for key in own],
                "points": [f"{key[1]}, {config.over} {key[2]}" for key in own],
            }
        )
    axes = (("accuracy, fine-tuned", "share"), ("accuracy, linearized at θ0", "share"))
    return curve(axes, series, notes, style="points", diagonal=True)


RESULTS.register("linearization")(ResultKind(("plain", "linearized"), (), Config, linearization))
