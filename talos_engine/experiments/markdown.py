"""Results as Markdown, for READMEs: shares in percent, the paper's number in brackets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_FORMS = {"s": ".3f", "entries": ",.0f"}


def to_markdown(result: Mapping[str, Any]) -> str:
    """A result as a Markdown section.

    Args:
        result: What ``results/NAME.json`` holds.
    """
    tables = {"table": _table, "heatmap": _heatmap, "curve": _curve}
    header, rows = tables[result["kind"]](result)
    lines = [f"### {result['title']}", ""]
    if result["caption"]:
        lines += [result["caption"], ""]
    lines += align(header, rows)
    if result.get("paper"):
        lines += ["", f"In brackets: the paper, {result['paper']['model']}."]
    lines += [line for note in result["notes"] for line in ("", f"Note: {note}.")]
    return "\n".join(lines) + "\n"


def align(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table with aligned columns."""
    cells = [[_escape(cell) for cell in row] for row in [header, *rows]]
    widths = [max(3, *(len(row[place]) for row in cells)) for place in range(len(header))]
    cells.insert(1, ["-" * width for width in widths])
    return [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in cells
    ]


def format_cell(cell: Mapping[str, Any] | None, unit: str) -> str:
    """A cell as text: mean ± standard deviation, then the paper's number in brackets."""
    if cell is None:
        return "–"
    scale, form = (100, ".1f") if unit == "share" else (1, _FORMS.get(unit, ".2f"))
    paper = cell.get("paper")
    beside = "" if paper is None else f" [{scale * paper:{form}}]"
    if cell["mean"] is None:
        return f"–{beside}"
    text = f"{scale * cell['mean']:{form}}"
    if cell.get("std") is not None:
        text += f" ± {scale * cell['std']:{form}}"
    return text + beside


def _table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    columns = result["columns"]
    header = [""]
    for column in columns:
        unit = {"share": ", %", "": ""}.get(column["unit"], f", {column['unit']}")
        header.append(f"{column['label']}{unit}")
    rows = [
        [row["label"], *(format_cell(row["cells"].get(it["key"]), it["unit"]) for it in columns)]
        for row in result["rows"]
    ]
    return header, rows


def _heatmap(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    percent = result["unit"] in ("share", "ratio")
    rows = [
        [
            label,
            *(
                "–" if value is None else f"{100 * value:.1f}" if percent else f"{value:.2f}"
                for value in values
            ),
        ]
        for label, values in zip(result["rows"], result["values"], strict=True)
    ]
    down, across = (result.get(axis, {}).get("label", "") for axis in ("y", "x"))
    corner = f"{down} \\ {across}" if down and across else "%" if percent else ""
    return [corner, *result["columns"]], rows


def _curve(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A row per point, under its name where it has one."""
    named = any("points" in series for series in result["series"])
    axes = (result["x"], result["y"])
    header = [f"{it['label']}, %" if it["unit"] == "share" else it["label"] for it in axes]
    rows = []
    for series in result["series"]:
        names = series.get("points", [""] * len(series["x"]))
        for name, *point in zip(names, series["x"], series["y"], strict=True):
            shown = [
                f"{100 * value:.1f}" if axis["unit"] == "share" else format(value, form)
                for axis, value, form in zip(axes, point, ("g", ".4g"), strict=True)
            ]
            rows.append([series["label"], *([name] if named else []), *shown])
    return ["series", *(["point"] if named else []), *header], rows


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
