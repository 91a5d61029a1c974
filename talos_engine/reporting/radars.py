"""Radar plots of tables whose columns are tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from talos_engine.reporting.document import Cell, Table
from talos_engine.reporting.figures import Radar, RadarLine

_LEAST_SPOKES = 3  # fewer are no area
_RINGS = 5


def radar_of(table: Table, keys: Sequence[str]) -> Radar | None:
    """A spoke per column and a line per row; ``None`` where there is too little to draw.

    Args:
        table: The table.
        keys: Its columns that become spokes, all of one unit.
    """
    columns = [column for key in keys for column in table.columns if column.key == key]
    lines = [
        RadarLine(
            row.label,
            [row.cells.get(column.key, Cell()).mean for column in columns],
            row.reference,
        )
        for row in table.rows
    ]
    known = [value for line in lines for value in line.values if value is not None]
    if len(columns) < _LEAST_SPOKES or not known:
        return None
    rings = _rings(min(known), max(known))
    low, high = rings[0], rings[-1]
    unit = columns[0].unit
    shown = 100 if unit == "%" else 1
    told = "; ".join(
        f"{line.label} {min(own) * shown:.3g} to {max(own) * shown:.3g}"
        for line in lines
        if (own := [value for value in line.values if value is not None])
    )
    dashed = ", ".join(line.label for line in lines if line.reference)
    return Radar(
        f"{table.title}, as a radar",
        f"The centre is {low * shown:.3g}{unit}, the rim {high * shown:.3g}{unit}"
        + (f"; dashed: {dashed}." if dashed else "."),
        f"Radar of {', '.join(column.label for column in columns)}. From least to most"
        f"{', ' + unit if unit else ''}: {told}.",
        (),
        [column.label for column in columns],
        lines,
        rings,
        unit,
    )


def _rings(least: float, most: float) -> list[float]:
    """Round numbers from the least value or below to the most or above, few enough to be read."""
    exponent = 10.0 ** math.floor(math.log10(max(most - least, abs(most) / 10, 1e-9) / _RINGS))
    for step in (each * exponent for each in (1, 2, 5, 10, 20)):
        low = math.floor(least / step)
        high = max(math.ceil(round(most / step, 9)), low + 1)
        if high - low <= _RINGS:
            break
    return [round(place * step, 10) for place in range(low, high + 1)]
