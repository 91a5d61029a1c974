"""The disentanglement maps of a run side by side: rows are pairs of tasks, columns methods.

python recipes/plot_disentanglement.py RUN_DIR PICTURE.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


def main() -> None:
    """Draw what ``results/disentanglement.*.json`` of the run hold, on one scale."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    paths = sorted((given.run / "results").glob("disentanglement.*.json"))
    if not paths:
        parser.error(f"{given.run} holds no results of disentanglement")
    maps = {}
    for path in paths:
        found = json.loads(path.read_text("utf-8"))
        maps[found["variables"]["pair"], found["variables"]["method"]] = found
    pairs = sorted({pair for pair, _ in maps})
    methods = sorted({method for _, method in maps})
    figure = Figure(figsize=(1.7 * len(methods), 1.95 * len(pairs)), layout="constrained")
    panels = figure.subplots(len(pairs), len(methods), sharex=True, sharey=True, squeeze=False)
    for (pair, method), found in maps.items():
        axes = panels[pairs.index(pair)][methods.index(method)]
        places = [[float(label) for label in found[side]] for side in ("columns", "rows")]
        image = axes.pcolormesh(*places, found["values"], cmap="pink_r", vmin=0, vmax=2)
        for colour, width, dashes in (("white", 2.4, "-"), ("black", 1.2, "--")):
            axes.add_patch(Rectangle((0, 0), 1, 1, fill=False, ec=colour, lw=width, ls=dashes))
        axes.set_aspect("equal")
        axes.set_title(method if pair == pairs[0] else "", fontsize=10)
        axes.set_xlabel(found["x"]["label"], fontsize=8)
        axes.set_ylabel(found["y"]["label"] if method == methods[0] else "", fontsize=8)
        axes.tick_params(labelsize=8)
    figure.colorbar(image, ax=panels, label="ξ")
    figure.savefig(given.picture, dpi=110)


if __name__ == "__main__":
    main()
