"""Figures of a report as inline SVG: text stays text, and lines take the page's colour.

matplotlib draws; what it writes is parsed and rewritten, so that names from files can only ever be
text, ids are unique on the page and equal figures give equal bytes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from talos_cli.report.drawing import COLOURS, DASHES, GRID, INK, MARKERS, scale, short
from talos_cli.report.radar import draw_radar
from talos_engine.reporting.figures import Bars, Curve, Figure, Heatmap, Radar, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "talos",
    "text.parse_math": False,  # a name may hold dollar signs
    "axes.formatter.use_mathtext": False,
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
}
_BESIDE = 20  # characters of a name in a legend of two columns
_LEAST = 0.75  # of its width; narrower, a figure scrolls rather than become unreadable
_MOST_TICKS = 40
_MOST_NUMBERS = 170  # cells with a number in them


def draw_svg(figure: Figure, name: str) -> str:
    """SVG of a figure, to stand in HTML.

    Args:
        figure: A curve, heatmap or bars.
        name: Prefix of its ids, unique on the page.
    """
    from matplotlib import rc_context

    with warnings.catch_warnings(), rc_context(_STYLE):
        warnings.filterwarnings("ignore", "Glyph")  # a name in a script without a font
        warnings.filterwarnings("ignore", "constrained_layout")  # very many or long labels
        canvas = _DRAW[type(figure)](figure)
        target = io.StringIO()
        canvas.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(target.getvalue(), name, figure.alt)


def _inline(text: str, name: str, alt: str) -> str:
    """The drawing as SVG with unique ids, the page's colours, a description and nothing else."""
    root = ElementTree.fromstring(text)
    for element in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(element)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            else:
                element.set(key, _coloured(value.replace("url(#", f"url(#{name}-")))
    described = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{name}-alt"})
    described.text = alt
    root.insert(0, described)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-alt")
    width = float(root.get("width", "0").removesuffix("pt")) * 4 / 3
    for key in ("width", "height"):
        root.attrib.pop(key, None)
    root.set("style", f"width: {width:.0f}px; min-width: {_LEAST * width:.0f}px")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _coloured(value: str) -> str:
    if "#0" not in value:
        return value
    for number, colour in enumerate(COLOURS):
        value = value.replace(colour, f"var(--line-{number})")
    return value.replace(INK, "currentColor").replace(GRID, "var(--rule)")


def _canvas(width: float, height: float) -> tuple[Canvas, Axes]:
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    return canvas, canvas.add_subplot()


def _with_unit(label: str, unit: str) -> str:
    return f"{label}, {unit}" if label and unit else label or unit


def _named(line: Series, axis: str) -> str:
    """A line in the legend, with the point of it that is marked."""
    if not line.marks:
        return short(line.label)
    places = sorted({mark.x for mark in line.marks})
    told = "–".join(f"{place:.3g}" for place in dict.fromkeys((places[0], places[-1])))
    place = f"{axis} = {told}" if axis and len(axis) < 3 else told
    return f"{short(line.label)} ({short(line.marks[0].label or 'marked')}: {place})"


def _open_frame(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_curve(curve: Curve) -> Canvas:
    count = len(curve.series)
    canvas, axes = _canvas(4.6, 3.1 + 0.19 * count + (0.5 if count > len(COLOURS) else 0))
    _open_frame(axes)
    across, up = scale(curve.x.unit), scale(curve.y.unit)
    for number, line in enumerate(curve.series):
        round_, look = divmod(number, len(COLOURS))
        x = [across * value for value in line.x]
        y = [math.nan if value is None else up * value for value in line.y]
        axes.plot(
            x,
            y,
            color=COLOURS[look],
            linestyle="none" if curve.points else DASHES[(number + round_) % len(DASHES)],
            marker=MARKERS[(look + round_) % len(MARKERS)] if len(x) <= 8 or curve.points else None,
            markersize=4,
            linewidth=1.6,
            label=_named(line, curve.x.label),
        )
        if line.low and line.high:
            low, high = (
                [math.nan if v is None else up * v for v in ends] for ends in (line.low, line.high)
            )
            axes.fill_between(x, low, high, color=COLOURS[look], alpha=0.18, linewidth=0)
        if line.marks:
            axes.plot(
                [across * mark.x for mark in line.marks],
                [up * mark.y for mark in line.marks],
                marker=MARKERS[(look + round_) % len(MARKERS)],
                markersize=6 if count > len(COLOURS) else 8,
                markeredgecolor=INK,
                markerfacecolor=COLOURS[look],
                linestyle="none",
            )
    if curve.diagonal:
        _draw_diagonal(axes)
    if curve.x.knee is not None:
        _bend(axes, across * curve.x.knee, max(across * x for each in curve.series for x in each.x))
    bent = f" (logarithmic above {curve.x.knee:g})" if axes.get_xscale() == "symlog" else ""
    axes.set_xlabel(f"{_with_unit(curve.x.label, curve.x.unit)}{bent}")
    axes.set_ylabel(_with_unit(curve.y.label, curve.y.unit))
    longest = max(len(_named(line, curve.x.label)) for line in curve.series)
    columns = 1 if count < 5 or longest > _BESIDE else 2
    canvas.legend(loc="outside lower center", ncols=columns, handlelength=3)
    return canvas


def _draw_diagonal(axes: Axes) -> None:
    """Where both axes are equal, within what is shown."""
    across, up = axes.get_xlim(), axes.get_ylim()
    ends = [max(across[0], up[0]), min(across[1], up[1])]
    if ends[0] < ends[1]:
        axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":", zorder=1)
    axes.set(xlim=across, ylim=up)


def _bend(axes: Axes, knee: float, end: float) -> None:
    """An axis that is linear up to the knee, logarithmic from there to the end."""
    if end <= knee:
        return
    axes.set_xscale("symlog", linthresh=knee, linscale=2)
    ticks = [knee * part for part in (0, 0.25, 0.5, 0.75, 1, 2, 5, 10, 20, 50, 100)]
    shown = [tick for tick in ticks if tick <= end]
    axes.set_xticks(shown, [f"{tick:g}" for tick in shown])
    axes.set_xticks([], minor=True)
    axes.axvline(knee, color=GRID, linewidth=0.6)


def _draw_heatmap(heatmap: Heatmap) -> Canvas:
    rows, columns = len(heatmap.rows), len(heatmap.columns)
    places = _positions(heatmap.rows), _positions(heatmap.columns)
    numeric = all(place is not None for place in places) and rows > 1 and columns > 1
    factor = scale(heatmap.unit)
    values = [[math.nan if v is None else factor * v for v in row] for row in heatmap.values]
    known = [value for row in values for value in row if not math.isnan(value)]
    low, high = (factor * v for v in heatmap.span) if heatmap.span else _ends(known)
    signed = low < 0 < high
    if numeric and heatmap.box is not None:
        canvas, axes = _canvas(4.6, 3.9)
        edges = [_edges(place) for place in places if place is not None]
        image = axes.pcolormesh(edges[1], edges[0], values, cmap="pink_r", vmin=low, vmax=high)
        axes.set_aspect("equal")
        _draw_box(axes, heatmap.box)
    else:
        cell = 0.42 if rows * columns <= _MOST_NUMBERS else 0.2
        longest = max(len(short(label)) for label in heatmap.rows)
        width = max(4.0, 1.5 + 0.075 * longest + cell * columns)
        canvas, axes = _canvas(min(width, 14), min(1.5 + 0.3 * rows, 14))
        cmap = "RdBu_r" if signed else "Blues"
        image = axes.pcolormesh(values, cmap=cmap, vmin=low, vmax=high, edgecolors="none")
        _name_cells(axes, heatmap)
        if rows * columns <= _MOST_NUMBERS:
            _write_numbers(axes, values, image, heatmap.unit)
    axes.set_xlabel(_with_unit(heatmap.x.label, heatmap.x.unit))
    axes.set_ylabel(_with_unit(heatmap.y.label, heatmap.y.unit))
    beyond = "max" if known and max(known) > high else "neither"
    bar = canvas.colorbar(image, ax=axes, extend=beyond)
    if heatmap.unit:
        bar.set_label(heatmap.unit)
    return canvas


def _ends(known: Sequence[float]) -> tuple[float, float]:
    low, high = min(known, default=0.0), max(known, default=1.0)
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _positions(labels: Sequence[str]) -> list[float] | None:
    """The labels as numbers that ascend; ``None`` where they are not."""
    try:
        numbers = [float(label) for label in labels]
    except ValueError:
        return None
    rising = all(a < b for a, b in pairwise(numbers))
    return numbers if rising and all(map(math.isfinite, numbers)) else None


def _edges(places: Sequence[float]) -> list[float]:
    """Borders of cells around ascending positions."""
    between = [(a + b) / 2 for a, b in pairwise(places)]
    return [2 * places[0] - between[0], *between, 2 * places[-1] - between[-1]]


def _draw_box(axes: Axes, box: tuple[float, float]) -> None:
    """A square that shows on dark and light cells: white, with a dashed black line in it."""
    from matplotlib.patches import Rectangle

    side = box[1] - box[0]
    for colour, width, dashes in (("white", 3.4, "-"), ("black", 1.6, "--")):
        axes.add_patch(
            Rectangle((box[0], box[0]), side, side, fill=False, ec=colour, lw=width, ls=dashes)
        )


def _name_cells(axes: Axes, heatmap: Heatmap) -> None:
    rows, columns = list(map(short, heatmap.rows)), list(map(short, heatmap.columns))
    slanted = max(map(len, columns)) > 3
    turn: Mapping[str, Any] = (
        {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    )
    for labels, place, more in ((columns, axes.set_xticks, turn), (rows, axes.set_yticks, {})):
        every = math.ceil(len(labels) / _MOST_TICKS)
        place([i + 0.5 for i in range(0, len(labels), every)], labels[::every], **more)
    axes.invert_yaxis()
    axes.tick_params(length=0)


def _write_numbers(axes: Axes, values: Sequence[Sequence[float]], image: Any, unit: str) -> None:
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            if math.isnan(value):
                continue
            red, green, blue, _ = image.cmap(image.norm(value))
            luminous = 0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2
            colour = "black" if luminous > 0.18 else "white"  # the better contrast of both
            form = ".3g" if abs(value) >= 1000 else ".0f" if unit == "%" else ".2f"
            text = format(value, form)
            axes.text(
                column + 0.5, row + 0.5, text, ha="center", va="center", color=colour, fontsize=8
            )


def _draw_bars(bars: Bars) -> Canvas:
    count = len(bars.labels)
    canvas, axes = _canvas(4.6, 1.3 + 0.42 * count + 0.15 * len(bars.series))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    factor = scale(bars.unit)
    share = 0.7 if bars.stacked else 0.7 / len(bars.series)
    start = [0.0] * count
    for number, (label, values) in enumerate(bars.series.items()):
        lengths = [factor * (value or 0.0) for value in values]
        shift = 0.0 if bars.stacked else (number - (len(bars.series) - 1) / 2) * share
        axes.barh(
            [place + shift for place in range(count)],
            lengths,
            share,
            left=start if bars.stacked else None,
            color=COLOURS[number % len(COLOURS)],
            hatch=("", "////", "....", "xxxx")[number % 4],
            edgecolor=INK,
            linewidth=0.6,
            label=short(label),
        )
        start = [a + b for a, b in zip(start, lengths, strict=True)]
    axes.set_yticks(range(count), list(map(short, bars.labels)))
    axes.invert_yaxis()
    axes.set_xlabel(bars.unit)
    if len(bars.series) > 1:
        canvas.legend(loc="outside upper center", ncols=2)
    return canvas


_DRAW: Mapping[type[Figure], Callable[[Any], Canvas]] = {
    Curve: _draw_curve,
    Heatmap: _draw_heatmap,
    Bars: _draw_bars,
    Radar: draw_radar,
}
