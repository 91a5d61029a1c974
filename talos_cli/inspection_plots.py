"""Pictures of ``talos inspect``: structure of masks, overlaps, histograms of scores."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from talos_cli.plots import save_figure
from talos_cli.render import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from talos_engine.inspection.histogram import ScoreSummary
    from talos_engine.inspection.tally import Count, Tally
    from talos_engine.workflows.describing import FileReport
    from talos_engine.workflows.inspect import Comparison, InspectResult

_KINDS = {
    "q": "Q",
    "k": "K",
    "v": "V",
    "o": "O",
    "mlp_in": "MLP in",
    "mlp_out": "MLP out",
    "linear": "linear",
    "ln": "LN",
    "conv": "conv",
}
_NOUNS = {"mask": "mask", "vector": "task vector", "scores": "scores"}
_SCORES = {"square": ": mean squared gradient", "abs": ": mean magnitude of the gradient"}
_MOST_LABELLED = 400  # cells; more would be unreadable
_MOST_KINDS = 60  # rows
_EMPTY = "0.93"  # grey of cells that do not exist


@dataclass(frozen=True)
class _Scale:
    """How a matrix over pairs is drawn."""

    title: str
    label: str
    colours: str
    low: float


_SCALES = {
    "cosine": _Scale("cosine similarity", "cosine", "RdBu_r", -1),
    "iou": _Scale("overlap of live entries", "intersection over union", "Blues", 0),
    "sign_conflicts": _Scale("opposite signs", "share of entries both change", "Oranges", 0),
}


def draw_inspection(result: InspectResult, path: Path, *, force: bool) -> None:
    """The picture that suits what was inspected.

    Args:
        result: One mask, vector or scores file, or a comparison of several masks or vectors.
        path: PNG file to write.
        force: Whether an existing file is replaced.
    """
    from matplotlib import rc_context

    with (
        warnings.catch_warnings(),
        rc_context({"font.size": 9, "axes.titlesize": 10, "figure.titlesize": 11}),
    ):
        warnings.filterwarnings("ignore", "Glyph")  # a task's name in a script without a font
        if result.comparison is not None:
            figure = _draw_comparison(result.comparison)
        elif result.files[0].tally is not None:
            figure = _draw_structure(result.files[0])
        else:
            figure = _draw_scores(result.files[0])
        save_figure(figure, path, force)


def _draw_structure(report: FileReport) -> Figure:
    """Heatmap of the live share by kind and layer, as in Fig. 4 and 5 of arXiv:2504.02620.

    For vectors one of the typical size of a change stands beside it.
    """
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tally = report.tally
    assert tally is not None
    whole, kinds, layers = tally.overall, _fullest_kinds(tally), list(tally.by_layer)
    panels = 2 if tally.measured else 1
    width = max(3.6, 1.4 + 0.5 * len(layers)) * panels + 1.2
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(width, 1.3 + 0.27 * len(kinds)), dpi=200, layout=layout)
    drawn = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    shares = _cells(tally, kinds, lambda count: 100 * count.share)
    label = "changed entries, % of each cell" if tally.measured else "live entries, % of each cell"
    _draw_cells(figure, drawn[0], shares, "Blues", label, _percent_label)
    if tally.measured:
        sizes = _cells(tally, kinds, _typical_change)
        power = math.floor(math.log10(_largest(sizes) or 1.0))
        scaled = [[None if v is None else v / 10**power for v in row] for row in sizes]
        label = f"root mean square of the changes, $10^{{{power}}}$"
        _draw_cells(figure, drawn[1], scaled, "Oranges", label, "{:.2f}".format)
    for axes in drawn:
        if report.by_tensor:
            axes.set_xticks([])
            axes.set_xlabel(f"tensors ({len(kinds)} of {len(tally.by_kind)})")
        else:
            axes.set_xticks(range(len(layers)), [str(n) if n >= 0 else "–" for n in layers])
            axes.set_xlabel("layer (–: outside the blocks)")
    drawn[0].set_yticks(range(len(kinds)), [_kind_name(kind) for kind in kinds])
    figure.suptitle(f"{_title(report)}\n{100 * whole.share:.3g}% of {whole.total:,} entries live")
    return figure


def _fullest_kinds(tally: Tally) -> list[str]:
    """The kinds, in order; where tensors stand alone and are too many, those with most live."""
    counts = tally.by_kind
    chosen = sorted(counts, key=lambda kind: -counts[kind].live)[:_MOST_KINDS]
    return [kind for kind in counts if kind in chosen]


def _cells(
    tally: Tally, kinds: Sequence[str], value: Callable[[Count], float | None]
) -> list[list[float | None]]:
    """A value per kind (rows) and layer (columns); ``None`` where a layer has no such kind."""
    found = {cell: value(count) for cell, count in tally.by_cell.items()}
    return [[found.get((layer, kind)) for layer in tally.by_layer] for kind in kinds]


def _typical_change(count: Count) -> float | None:
    return count.norm / math.sqrt(count.live) if count.live and count.norm is not None else None


def _largest(values: Sequence[Sequence[float | None]]) -> float:
    return max((value for row in values for value in row if value is not None), default=0.0)


def _percent_label(value: float) -> str:
    return "<1" if 0 < value < 0.5 else f"{value:.0f}"


def _draw_cells(
    figure: Figure,
    axes: Axes,
    values: Sequence[Sequence[float | None]],
    colours: str,
    label: str,
    form: Callable[[float], str],
) -> None:
    image = _heatmap(axes, values, colours, (0.0, _largest(values) or 1.0), form)
    figure.colorbar(image, ax=axes, label=label, pad=0.02)


def _draw_comparison(comparison: Comparison) -> Figure:
    """Heatmaps over pairs, one beside the other (Fig. 11 of arXiv:2504.02620)."""
    from matplotlib.figure import Figure

    found = comparison.measures.matrices
    shown = [name for name in _SCALES if name in found]
    count = len(comparison.labels)
    # In inches, as no automatic layout keeps square panels, slanted labels and a title apart.
    labels = [_shortened(label, 24) for label in comparison.labels]
    longest = max(len(label) for label in labels)
    side, left, bottom = max(1.8, 0.42 * count), 0.2 + 0.075 * longest, 0.2 + 0.05 * longest
    pitch = side + 1.15  # a panel with its colour bar
    width, height = left + pitch * len(shown), bottom + side + 0.6
    figure = Figure(figsize=(width, height), dpi=200)
    for number, name in enumerate(shown):
        scale, x = _SCALES[name], left + pitch * number
        axes = figure.add_axes((x / width, bottom / height, side / width, side / height))
        bar = (x + side + 0.08) / width, (bottom + 0.1 * side) / height
        colours = figure.add_axes((*bar, 0.11 / width, 0.8 * side / height))
        image = _heatmap(axes, found[name], scale.colours, (scale.low, 1.0), _pair_label)
        axes.set_xticks(range(count), labels, rotation=40, ha="right",
                        rotation_mode="anchor")  # fmt: skip
        axes.set_yticks(range(count), [""] * count if number else labels)
        axes.set_title(scale.title)
        figure.colorbar(image, cax=colours, label=scale.label)
    figure.suptitle(f"{count} {_NOUNS[comparison.kind]}s, {_shortened(comparison.model)}")
    return figure


def _pair_label(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # adding 0.0 turns −0.00 into 0.00


def _draw_scores(report: FileReport) -> Figure:
    """Histograms of the scores above 0, a panel per kind; biases as a line in the same panel."""
    from matplotlib.figure import Figure

    scores = report.scores
    assert scores is not None
    panels: dict[str, dict[str, ScoreSummary]] = {}
    by_kind = {"all": scores.overall} if report.by_tensor else scores.by_kind
    for kind, summary in by_kind.items():
        panels.setdefault(kind.removesuffix(" bias"), {})[kind] = summary
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    size = (max(5.0, 2.7 * columns + 0.4), 1.7 * rows + 0.8)
    figure = Figure(figsize=size, dpi=200, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    for axes, (kind, summaries) in zip(grid, panels.items(), strict=False):
        for name, summary in summaries.items():
            _draw_histogram(axes, scores.edges, name, summary)
        axes.set_title("" if report.by_tensor else _kind_name(kind))
        axes.margins(y=0.2)  # room for the legend
        if scores.edges:
            axes.set_xscale("log")
        else:
            axes.set(xticks=[], yticks=[])
        axes.legend(fontsize=7, frameon=False, loc="upper left")
    for number, axes in enumerate(grid[len(panels) :], start=len(panels)):
        axes.set_axis_off()
        grid[number - columns].tick_params(labelbottom=True)
    figure.suptitle(
        f"{_title(report)}\n% of entries per quarter of a decade; dashed: median above 0"
    )
    figure.supxlabel(f"score{_SCORES.get(_option(report, 'score'), '')}", fontsize=9)
    figure.supylabel("% of entries", fontsize=9)
    return figure


def _draw_histogram(axes: Axes, edges: Sequence[float], kind: str, summary: ScoreSummary) -> None:
    shares = [100 * count / summary.entries for count in summary.counts]
    bias = kind.endswith(" bias")
    colour = "tab:orange" if bias else "tab:blue"
    label = "biases" if bias else "weights and biases" if kind in ("ln", "all") else "weights"
    if summary.zeros:
        label += f" ({100 * summary.zeros / summary.entries:.3g}% exactly 0)"
    if not edges:
        axes.plot([], [], color=colour, label=label)
        return
    axes.stairs(shares, edges, color=colour, fill=not bias, alpha=1 if bias else 0.6, label=label)
    if summary.median is not None:
        axes.axvline(summary.median, color=colour, linestyle="--", linewidth=1)


def _heatmap(
    axes: Axes,
    values: Sequence[Sequence[float | None]],
    colours: str,
    reach: tuple[float, float],
    form: Callable[[float], str],
) -> Any:
    """An image of a matrix with its numbers in the cells; ``None`` is a grey cell."""
    import numpy as np

    numbers = np.array(values, dtype=float)  # None becomes NaN
    low, high = reach
    axes.set_facecolor(_EMPTY)
    image = axes.imshow(numbers, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axes.tick_params(length=0)
    axes.set_xticks([x + 0.5 for x in range(len(values[0]) - 1)], minor=True)
    axes.set_yticks([y + 0.5 for y in range(len(values) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    if sum(len(row) for row in values) <= _MOST_LABELLED:
        pixels = image.to_rgba(numbers)
        for y, row in enumerate(values):
            for x, value in enumerate(row):
                if value is not None:
                    red, green, blue, _ = pixels[y][x]
                    dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
                    colour = "white" if dark else "black"
                    axes.text(x, y, form(value), ha="center", va="center", color=colour,
                              fontsize=7.5)  # fmt: skip
    return image


def _kind_name(kind: str) -> str:
    plain = kind.removesuffix(" bias")
    return _KINDS[plain] + kind[len(plain) :] if plain in _KINDS else _shortened(kind, 48)


def _option(report: FileReport, name: str) -> str:
    return "" if report.header is None else str(report.header.config.get(name, ""))


def _title(report: FileReport) -> str:
    header = report.header
    assert header is not None
    task = f" of {header.task}" if header.task else ""
    return _shortened(f"{header.method} {_NOUNS[report.kind]}{task}, {header.base.name}", 54)


def _shortened(text: str, length: int = 32) -> str:
    """Text from a file, its end if it is long; no dollar sign starts a formula."""
    shown = text if len(text) <= length else f"…{text[1 - length :]}"
    return printable(shown).replace("$", r"\$")
