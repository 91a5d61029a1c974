from __future__ import annotations

from talos_engine.experiments.maps import curve, heatmap
from talos_engine.experiments.markdown import format_cell, to_markdown
from talos_engine.experiments.measures import missing, summarize
from talos_engine.experiments.tables import column, table

TOLD = {"title": "T", "caption": "", "paper": None}


def test_a_table() -> None:
    rows = [{"label": "a|b", "variables": {}, "cells": {"x": summarize([0.5, 0.6], (), 0.7)}}]
    result = {**TOLD, **table([column("x", "X"), column("y", "Y", "s")], rows, ["so"])}
    assert to_markdown(result | {"paper": {"table": "t", "model": "M"}}) == (
        "### T\n\n"
        "|      | X, %              | Y, s |\n"
        "| ---- | ----------------- | ---- |\n"
        "| a\\|b | 55.0 ± 7.1 [70.0] | –    |\n"
        "\nIn brackets: the paper, M.\n\nNote: so.\n"
    )


def test_cells() -> None:
    assert format_cell(missing("why", 0.5), "share") == "– [50.0]"
    assert format_cell(summarize([1.23456]), "s") == "1.235"
    assert format_cell(summarize([1.0, 2.0]), "") == "1.50 ± 0.71"
    assert format_cell(summarize([270682.0, 270684.0]), "entries") == "270,683 ± 1"


def test_heatmaps_and_curves() -> None:
    shown = to_markdown({**TOLD, **heatmap({("a", "x"): 0.5, ("b", "y"): 1.0}, "share", None, [])})
    assert "| %   | x    | y     |" in shown
    assert "| a   | 50.0 | –     |" in shown
    named = heatmap({("0", "1"): 0.5}, "error", None, [])
    named |= {"x": {"label": "α of b", "unit": ""}, "y": {"label": "α of a", "unit": ""}}
    assert "| α of a \\ α of b | 1    |" in to_markdown({**TOLD, **named})
    series = [{"label": "s", "variables": {}, "x": [1, 12345], "y": [0.5, 0.25]}]
    assert "| s      | 12345 | 0.25 |" in to_markdown(
        {**TOLD, **curve((("k", ""), ("acc", "")), series, [])}
    )
    scatter = [series[0] | {"x": [0.9417, 1.0], "points": ["a, seed 0", "b, seed 0"]}]
    assert "| s      | a, seed 0 | 94.2  | 0.5  |" in to_markdown(
        {**TOLD, **curve((("k", "share"), ("acc", "")), scatter, [], "points")}
    )
