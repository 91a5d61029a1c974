"""A report as one HTML page that needs nothing else: no script, no font, no file beside it."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from talos_cli.report.figures import draw_svg
from talos_engine.reporting.document import Cell, Column, Document, Table
from talos_engine.reporting.figures import Bars, Curve, Figure, Heatmap, Picture, Radar

_LARGEST_DATA = 400  # numbers of a figure that are also listed


@dataclass(frozen=True)
class ShownCell:
    """A cell as it is printed.

    Args:
        text: The number; empty where there is none.
        spread: What stands behind it, smaller.
        best: Whether it is the best of its column.
        note: A remark.
    """

    text: str = ""
    spread: str = ""
    best: bool = False
    note: str = ""


@dataclass(frozen=True)
class ShownTable:
    """A table as it is printed: our columns, then the paper's.

    Args:
        ours: Headings.
        theirs: Headings of the paper's columns; empty where it has no number.
        rows: Heading, our cells, the paper's cells.
        starred: Whether some number is the best of its column.
    """

    ours: Sequence[str]
    theirs: Sequence[str]
    rows: Sequence[tuple[str, Sequence[ShownCell], Sequence[ShownCell]]]
    starred: bool


def render_page(document: Document, version: str) -> str:
    """The whole page; equal documents give equal text.

    Args:
        document: What to show.
        version: Of talos, for the foot of the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("talos_cli.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.globals.update(
        kind=lambda block: type(block).__name__, draw=_draw, lay_out=lay_out, data=figure_data
    )
    template = environment.get_template("page.html")
    return template.render(document=document, version=version) + "\n"


def _draw(figure: Figure, name: str) -> Any:
    """A figure as markup that is safe to insert."""
    from markupsafe import Markup

    if isinstance(figure, Picture):
        data = base64.b64encode(figure.png).decode("ascii")
        image = Markup('<img alt="{}" width="{}" height="{}" src="data:image/png;base64,{}">')
        return image.format(figure.alt, figure.width, figure.height, data)
    return Markup(draw_svg(figure, name))  # built from an XML tree, names are text nodes


def _breakable(text: str) -> Any:
    """Text that may be broken behind dots, slashes and underscores."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([./_])", r"\1<wbr>", str(escape(text))))


def lay_out(table: Table) -> ShownTable:
    """What is printed of a table."""
    theirs = table.paper_columns()
    best = {column.key: table.best(column) for column in table.columns}
    paper_best = {column.key: table.best(column, paper=True) for column in theirs}
    rows = []
    for position, row in enumerate(table.rows):
        cells = {column.key: row.cells.get(column.key, Cell()) for column in table.columns}
        ours = [_shown(cells[c.key], c, position in best[c.key]) for c in table.columns]
        paper = [
            ShownCell(_as_printed(cells[c.key].paper, c.unit), best=position in paper_best[c.key])
            for c in theirs
        ]
        rows.append((row.label, ours, paper))
    return ShownTable(
        [_heading(column) for column in table.columns],
        [_heading(column) for column in theirs],
        rows,
        any(best.values()) or any(paper_best.values()),
    )


def _heading(column: Column) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[column.better]
    unit = f", {column.unit}" if column.unit else ""
    return f"{column.label}{unit}{arrow}"


def _shown(cell: Cell, column: Column, best: bool) -> ShownCell:
    if cell.std is not None:
        spread = f"± {format_number(cell.std, column.unit, like=cell.mean)}"
    elif cell.low is not None and cell.high is not None:
        low, high = (format_number(value, column.unit) for value in (cell.low, cell.high))
        spread = f"[{low}–{high}]"
    else:
        spread = ""
    return ShownCell(format_number(cell.mean, column.unit), spread, best, cell.note)


def format_number(value: float | None, unit: str, like: float | None = None) -> str:
    """A number for people: percent with one decimal, others with three digits.

    Args:
        value: The number; nothing gives nothing.
        unit: ``%`` for shares.
        like: Number whose decimals it takes.
    """
    if value is None:
        return ""
    if unit == "%":
        return f"{100 * value:.1f}"
    size = abs(value if like is None else like)
    if size >= 1e6 and like is None and value == int(value):
        return f"{value:,.0f}"
    if size and not 1e-3 <= size < 1e7:
        return f"{value:.3g}"
    decimals = max(0, 2 - math.floor(math.log10(size))) if size else 0
    return f"{value:,.{decimals}f}"


def _as_printed(value: float | None, unit: str) -> str:
    """A number of the paper, which prints percents with two decimals."""
    if value is None or unit != "%":
        return format_number(value, unit)
    return f"{100 * value:.2f}"


_Numbers: TypeAlias = "tuple[list[str], list[list[str]]]"


def figure_data(figure: Figure) -> _Numbers:
    """Headings and rows of the numbers in a figure; none where they are too many to read."""
    headings, rows = _NUMBERS[type(figure)](figure)
    return (headings, rows) if len(rows) * len(headings) <= _LARGEST_DATA else ([], [])


def _curve_data(curve: Curve) -> _Numbers:
    places = sorted({x for line in curve.series for x in line.x})
    found = [dict(zip(line.x, line.y, strict=True)) for line in curve.series]
    headings = [curve.x.label or "x", *(line.label for line in curve.series)]
    rows = [
        [
            format_number(place, curve.x.unit),
            *(format_number(values.get(place), curve.y.unit) for values in found),
        ]
        for place in places
    ]
    return headings, rows


def _heatmap_data(heatmap: Heatmap) -> _Numbers:
    rows = [
        [label, *(format_number(value, heatmap.unit) for value in values)]
        for label, values in zip(heatmap.rows, heatmap.values, strict=True)
    ]
    return [heatmap.y.label, *heatmap.columns], rows


def _bars_data(bars: Bars) -> _Numbers:
    rows = [
        [label, *(format_number(values[i], bars.unit) for values in bars.series.values())]
        for i, label in enumerate(bars.labels)
    ]
    return ["", *bars.series], rows


def _radar_data(radar: Radar) -> _Numbers:
    rows = [
        [line.label, *(format_number(value, radar.unit) for value in line.values)]
        for line in radar.lines
    ]
    return ["", *radar.spokes], rows


_NUMBERS: Mapping[type[Figure], Callable[[Any], _Numbers]] = {
    Curve: _curve_data,
    Heatmap: _heatmap_data,
    Bars: _bars_data,
    Radar: _radar_data,
    Picture: lambda _: ([], []),
}
