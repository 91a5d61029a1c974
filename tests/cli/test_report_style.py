"""Colours of a report, in both schemes, and numbers as they are printed."""

from __future__ import annotations

import re
from itertools import pairwise, product
from pathlib import Path

import pytest

import talos_cli.report
from talos_cli.report.figures import draw_svg
from talos_cli.report.page import figure_data, format_number
from talos_engine.reporting.document import Cell, Column, Row, Table
from talos_engine.reporting.figures import Axis, Curve, Heatmap, Mark, Series
from talos_engine.reporting.radars import radar_of

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


@pytest.mark.parametrize("scheme", range(3))
def test_lines_differ_in_grey_too(scheme: int) -> None:
    page = SCHEMES[scheme]["page"]
    greys = sorted(contrast(SCHEMES[scheme][f"line-{number}"], page) for number in range(6))
    assert min(after / before for before, after in pairwise(greys)) > 1.2


def test_more_lines_than_colours_differ_in_their_dashes() -> None:
    svg = draw_svg(curve(12), "here")
    looks = re.findall(
        r"fill: none; stroke(?:-dasharray: [^;]+; [^;]+; stroke)?: var\(--line[^\"]+", svg
    )
    assert len(set(looks)) == 12


def test_a_bent_axis_says_so_and_every_choice_is_in_the_legend() -> None:
    line = Series("talos", [0.0, 1.0, 10.0], [0.5, 0.7, 0.1], marks=(Mark(0.2, 0.6), Mark(1, 0.7)))
    svg = draw_svg(Curve("t", "", "alt", (), Axis("α", knee=1.0), Axis(), [line]), "here")
    assert "α (logarithmic above 1)" in svg
    assert "talos (marked: α = 0.2–1)" in svg


def radar_table(**accuracies: float | None) -> Table:
    cells = {name: Cell(value) for name, value in accuracies.items()}
    base = {name: Cell(0.417) for name in accuracies}
    columns = [Column(name, name, "%") for name in accuracies]
    return Table("Accuracy", columns, [Row("base", base, reference=True), Row("talos", cells)])


def test_a_radar_of_a_table() -> None:
    radar = radar_of(radar_table(a=0.9, b=0.8, c=0.969, mean=0.1), ["a", "b", "c"])
    assert radar is not None
    assert radar.rings == [0.4, 0.6, 0.8, 1.0]
    assert radar.caption == "The centre is 40%, the rim 100%; dashed: base."
    assert "talos 80 to 96.9" in radar.alt
    svg = draw_svg(radar, "here")
    assert svg.count("stroke-dasharray") == 2, "the base alone is dashed, here and in the legend"
    assert figure_data(radar) == (["", "a", "b", "c"], [["base", "41.7", "41.7", "41.7"],
                                                        ["talos", "90.0", "80.0", "96.9"]])  # fmt: skip
    assert radar_of(radar_table(a=0.9, b=0.8), ["a", "b"]) is None, "two spokes span no area"
    assert "<svg" in draw_svg(radar_of(radar_table(a=None, b=0.5, c=0.5), ["a", "b", "c"]), "x")  # type: ignore[arg-type]


@pytest.mark.parametrize(("y", "drawn"), [([0.3, 0.7], 1), ([5.0, 6.0], 0)])
def test_a_diagonal_is_drawn_where_both_axes_show_it(y: list[float], drawn: int) -> None:
    def lines(*, diagonal: bool) -> int:
        points = [Series("a", [0.2, 0.8], y)]
        cloud = Curve("t", "", "", (), Axis("x"), Axis("y"), points, True, diagonal)
        return draw_svg(cloud, "x").count("stroke-dasharray")

    assert lines(diagonal=True) - lines(diagonal=False) == drawn
