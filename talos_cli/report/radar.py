"""Radar plots: a spoke per task, a closed line per method (as in Fig. 9 of arXiv:2504.02620)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from talos_cli.report.drawing import COLOURS, GRID, INK, MARKERS, scale, short
from talos_engine.reporting.figures import Radar

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

_ROUNDS = ("-", "-.", (0, (6, 1, 1, 1, 1, 1)))  # dashes are what references have


def draw_radar(radar: Radar) -> Canvas:
    """The plot; outwards is more, and the centre is where the scale of the radar begins."""
    from matplotlib.figure import Figure as Canvas
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    count = len(radar.spokes)
    columns = 2
    rows = math.ceil(len(radar.lines) / columns)
    room = ConstrainedLayoutEngine(h_pad=0.14)  # inches, for the names of spokes
    canvas = Canvas(figsize=(4.6, 4.5 + 0.19 * rows), layout=room)
    axes: Any = canvas.add_subplot(projection="polar")
    angles = [2 * math.pi * place / count for place in range(count)]
    factor = scale(radar.unit)
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    number = 0
    for line in radar.lines:
        values = [math.nan if v is None else factor * v for v in line.values]
        round_, look = divmod(number, len(COLOURS))
        axes.plot(
            [*angles, angles[0]],
            [*values, values[0]],
            color=INK if line.reference else COLOURS[look],
            linestyle="--" if line.reference else _ROUNDS[round_ % len(_ROUNDS)],
            marker=None if line.reference else MARKERS[(look + round_) % len(MARKERS)],
            markersize=4,
            linewidth=1.5,
            label=short(line.label),
        )
        number += not line.reference
    rings = [factor * ring for ring in radar.rings]
    axes.set_ylim(rings[0], rings[-1])
    axes.set_yticks(rings[1:])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    axes.tick_params(axis="y", labelsize=7.5)
    axes.set_rlabel_position(180 / count)
    axes.set_xticks(angles, list(map(short, radar.spokes)))
    axes.tick_params(axis="x", pad=9)
    axes.grid(color=GRID, linewidth=0.6)
    axes.spines["polar"].set_color(GRID)
    canvas.legend(loc="outside lower center", ncols=columns, handlelength=3)
    return canvas
