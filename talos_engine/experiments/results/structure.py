"""Mask structure (Fig. 4 and 5): share of live entries by kind and layer, from ``inspect``."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.maps import heatmap
from talos_engine.experiments.result_spec import RESULTS, Given, ResultKind


@dataclass(frozen=True)
class Config:
    """A structure map has no options."""


def structure(config: Config, given: Given) -> dict[str, Any]:
    """Rows: kinds of parameters; columns: layers; mean over masks and seeds."""
    cells: dict[tuple[str, str], list[float]] = {}
    for source in given.present("masks"):
        try:
            for file in source.content["files"]:  # type: ignore[index]
                for cell in file["cells"]:
                    layer = "–" if cell["layer"] is None else str(cell["layer"])
                    key = (str(cell["kind"]), layer)
                    cells.setdefault(key, []).append(float(cell["share"]))
        except (KeyError, TypeError) as error:
            raise CorruptFileError(f"{source.path}: no description of a mask: {error}") from None
    means = {key: statistics.fmean(values) for key, values in cells.items()}
    return heatmap(means, "share", (0.0, 1.0), given.missing_notes())


RESULTS.register("structure")(ResultKind(("masks",), (), Config, structure))
