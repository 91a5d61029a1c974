"""Print a Markdown table from the metrics that ``demo.sh`` leaves in a folder.

Only the standard library is needed. Several folders are several seeds: mean ± standard deviation.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "single-task",
    "merged",
    "normalized",
    "α add",
    "negated target",
    "negated control",
    "control kept",
    "α negate",
    "only α=0",
)


def read(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text("utf-8"))


def negations(folder: Path) -> dict[str, dict[str, Any]]:
    """Test results of the negated models, by task and method."""
    return {
        path.name.split(".")[0]: {
            Path(result["input"]["path"]).name.split(".")[0]: result
            for result in read(path)["results"]
        }
        for path in sorted(folder.glob("*.negated.json"))
    }


def method_row(folder: Path, method: str, control: str, zero_shot: Any) -> dict[str, float]:
    """The measures of one method and one seed; accuracies in percent."""
    merged = read(folder / f"{method}.merged.json")
    row = {
        "single-task": 100 * statistics.fmean(merged["single"].values()),
        "merged": 100 * merged["mean"],
        "normalized": 100 * merged["normalized"],
        "α add": read(folder / f"{method}.merged.search.json")["coef"],
    }
    target, kept, coefs = [], [], []
    for task, results in negations(folder).items():
        measured = results[method]["tasks"]
        target.append(100 * measured[task]["accuracy"])
        kept.append(100 * measured[control]["accuracy"])
        coefs.append(read(folder / f"{method}.{task}.negated.search.json")["coef"])
    before = 100 * zero_shot["tasks"][control]["accuracy"]
    row["negated target"] = statistics.fmean(target)
    row["negated control"] = statistics.fmean(kept)
    row["control kept"] = 100 * statistics.fmean(kept) / before
    row["α negate"] = statistics.fmean(coefs)
    row["only α=0"] = sum(coef == 0 for coef in coefs)
    return row


def spread(values: Sequence[float], column: str = "") -> str:
    """Mean, with the standard deviation where there are several; the sum for "only α=0"."""
    if column == "only α=0":
        return f"{sum(values):.0f}"
    mean = statistics.fmean(values)
    digits = 2 if column.startswith("α") else 1
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    return f"{mean:.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a Markdown table with aligned columns."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("| " + " | ".join(cells) + " |")


def print_methods(folders: Sequence[Path], control: str) -> list[str]:
    """Write the table of methods; the names of the methods found."""
    methods = sorted(
        {path.name.split(".")[0] for path in folders[0].glob("*.merged.json")},
        key=["nonlinear", "random", "talos"].index,
    )
    zero = [read(folder / "zero-shot.json") for folder in folders]
    rows = []
    tasks = list(read(folders[0] / f"{methods[0]}.merged.json")["tasks"])
    targets = list(negations(folders[0]))
    shot = [100 * statistics.fmean(z["tasks"][t]["accuracy"] for t in tasks) for z in zero]
    forget = [100 * statistics.fmean(z["tasks"][t]["accuracy"] for t in targets) for z in zero]
    keep = [100 * z["tasks"][control]["accuracy"] for z in zero]
    first = {
        "merged": f"{shot[0]:.1f}",
        "negated target": f"{forget[0]:.1f}",
        "negated control": f"{keep[0]:.1f}",
    }
    rows.append(["zero-shot", *(first.get(column, "–") for column in COLUMNS)])
    for method in methods:
        found = defaultdict(list)
        for folder, zero_shot in zip(folders, zero, strict=True):
            for name, value in method_row(folder, method, control, zero_shot).items():
                found[name].append(value)
        rows.append([method, *(spread(found[column], column) for column in COLUMNS)])
    print_table(["method", *COLUMNS], rows)
    return methods


def print_tasks(folders: Sequence[Path], methods: Sequence[str]) -> None:
    """Write test accuracy by task: zero-shot, single-task and merged for each method."""
    merged = {
        method: [read(folder / f"{method}.merged.json") for folder in folders] for method in methods
    }
    tasks = list(merged[methods[0]][0]["tasks"])
    zero = read(folders[0] / "zero-shot.json")["tasks"]
    rows = [["zero-shot", *(f"{100 * zero[task]['accuracy']:.1f}" for task in tasks)]]
    for method, runs in merged.items():
        single = [spread([100 * run["single"][task] for run in runs]) for task in tasks]
        rows.append([f"{method}, single-task", *single])
        together = [
            spread([100 * run["tasks"][task]["accuracy"] for run in runs]) for task in tasks
        ]
        rows.append([f"{method}, merged", *together])
    print()
    print_table(["test accuracy, %", *tasks], rows)


def main() -> None:
    """Read the folders named on the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--control", default="letters")
    parser.add_argument("--per-task", action="store_true")
    options = parser.parse_args()
    methods = print_methods(options.folders, options.control)
    if options.per_task:
        print_tasks(options.folders, methods)


if __name__ == "__main__":
    main()
