"""Colours of a report, in both schemes, and numbers as they are printed."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

import talos_cli.report
from talos_cli.report.figures import draw_svg
from talos_cli.report.page import figure_data, format_number
from talos_engine.reporting.document import Axis, Curve, Heatmap, Series

STYLE = (Path(talos_cli.report.__file__).parent / "templates" / "page.css").read_text("utf-8")
SCHEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
]
TEXT = [
    ("ink", "page"), ("faint", "page"), ("link", "page"), ("ink", "tint"), ("faint", "tint"),
    ("paper-ink", "paper"), ("urgent", "urgent-tint"),
]  # fmt: skip


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_black_on_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert len(SCHEMES) == 3, "light, dark, print"


@pytest.mark.parametrize(("scheme", "pair"), list(product(range(3), TEXT)))
def test_text_can_be_read(scheme: int, pair: tuple[str, str]) -> None:
    colours = SCHEMES[scheme]
    assert contrast(colours[pair[0]], colours[pair[1]]) >= 4.5


@pytest.mark.parametrize(("scheme", "number"), list(product(range(3), range(6))))
def test_lines_can_be_seen(scheme: int, number: int) -> None:
    colours = SCHEMES[scheme]
    assert contrast(colours[f"line-{number}"], colours["page"]) >= 3


def test_every_colour_that_is_used_is_defined_in_every_scheme() -> None:
    used = set(re.findall(r"var\(--([\w-]+)\)", STYLE)) - {"shade"}  # nothing scrolls on paper
    for colours in SCHEMES:
        assert used <= set(colours)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.67249, "%", "67.2"),
        (0.0, "%", "0.0"),
        (0.25, "", "0.250"),
        (12.345, "s", "12.3"),
        (0.01034, "s", "0.0103"),
        (325.6, "MiB", "326"),
        (12345.6, "MiB", "12,346"),
        (2706816.0, "", "2,706,816"),
        (0.0, "ms", "0"),
        (1.5e-7, "", "1.5e-07"),
        (-0.5, "", "-0.500"),
        (None, "%", ""),
    ],
)  # fmt: skip
def test_numbers_for_people(value: float | None, unit: str, shown: str) -> None:
    assert format_number(value, unit) == shown


def test_a_spread_has_the_decimals_of_its_number() -> None:
    assert format_number(0.0049, "ms", like=12.3) == "0.0"
    assert format_number(0.0049, "ms", like=0.25) == "0.005"


def curve(count: int) -> Curve:
    lines = [Series(f"line {i}", [0.0, 1.0], [i / 10, None]) for i in range(count)]
    return Curve("t", "", "alt text", (), Axis("α"), Axis("accuracy", "%"), lines)


def test_figures_take_the_colours_of_the_page() -> None:
    svg = draw_svg(curve(7), "here")
    assert "currentColor" in svg
    assert "var(--line-5)" in svg
    assert not re.search(r"#0[1-9a]0[2-9a-f]0", svg), "a colour that stands for another"
    assert draw_svg(curve(7), "here") == svg


def test_numbers_of_a_figure_are_listed_unless_too_many() -> None:
    headings, rows = figure_data(curve(2))
    assert headings == ["α", "line 0", "line 1"]
    assert rows == [["0", "0.0", "10.0"], ["1.00", "", ""]]
    cells = [[0.0] * 30] * 30
    labels = [str(i) for i in range(30)]
    assert figure_data(Heatmap("t", "", "", (), labels, labels, cells)) == ([], [])


def test_figures_of_odd_numbers_can_be_drawn() -> None:
    flat = [[0.0, 0.0]]
    for values in (flat, [[None, None]], [[1e300, -1e300]]):
        heatmap = Heatmap("t", "", "", (), ["a"], ["b", "c"], values)
        assert "<svg" in draw_svg(heatmap, "x")
    single = Curve("t", "", "", (), Axis(), Axis(), [Series("a", [0.5], [None])])
    assert "<svg" in draw_svg(single, "x")
