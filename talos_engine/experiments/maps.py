"""What kinds of heatmaps and curves share."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any


def heatmap(
    values: Mapping[tuple[str, str], float],
    unit: str,
    limits: tuple[float, float] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The part of a heatmap's JSON that its kind decides; cells that are not known are null.

    Columns that are rows too stand in the order of the rows, so that the diagonal is one.

    Args:
        values: By row and column.
        unit: ``share``, ``ratio`` or the like.
        limits: Least and largest value that can be, if any.
        notes: What a reader should know.
    """
    rows = list(dict.fromkeys(row for row, _ in values))
    given = dict.fromkeys(column for _, column in values)
    columns = [row for row in rows if row in given] + [it for it in given if it not in rows]
    return {
        "kind": "heatmap",
        "rows": rows,
        "columns": columns,
        "values": [[values.get((row, column)) for column in columns] for row in rows],
        "unit": unit,
        "range": None if limits is None else list(limits),
        "notes": list(notes),
    }


def curve(
    axes: tuple[tuple[str, str], tuple[str, str]],
    series: Sequence[dict[str, Any]],
    notes: Sequence[str],
    style: str = "line",
    *,
    diagonal: bool = False,
) -> dict[str, Any]:
    """The part of a curve's JSON that its kind decides.

    Args:
        axes: Label and unit of x and of y.
        series: Each with label, variables, x and y.
        notes: What a reader should know.
        style: ``line``, or ``points`` where the order of the points means nothing.
        diagonal: Whether a line shows where both axes are equal.
    """
    (x_label, x_unit), (y_label, y_unit) = axes
    return {
        "kind": "curve",
        "style": style,
        "diagonal": diagonal,
        "x": {"label": x_label, "unit": x_unit},
        "y": {"label": y_label, "unit": y_unit},
        "series": list(series),
        "notes": list(notes),
    }


def table_of_means(groups: Mapping[str, Sequence[Sequence[float]]]) -> list[str]:
    """A sentence with the mean, in percent, of each group of values that is not empty."""
    told = [
        f"{name} {100 * statistics.fmean(value for values in group for value in values):.1f}%"
        for name, group in groups.items()
        if group
    ]
    return [f"means: {', '.join(told)}"] if told else []
