"""The figures of a report: pure data, for whoever draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """What an axis shows.

    Args:
        label: In words.
        unit: ``%`` for shares, else a unit or nothing.
        knee: Where a logarithmic scale takes over from a linear one; ``None`` for never.
    """

    label: str = ""
    unit: str = ""
    knee: float | None = None


@dataclass(frozen=True)
class Mark:
    """A point that stands out, such as the coefficient that was chosen."""

    x: float
    y: float
    label: str = ""


@dataclass(frozen=True)
class Series:
    """A line of a plot.

    Args:
        label: Its name.
        x: Positions.
        y: Values, as many; ``None`` interrupts the line.
        low: Lower ends of intervals, as many or none.
        high: Upper ends.
        marks: Points of it that stand out.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    marks: Sequence[Mark] = ()


@dataclass(frozen=True)
class Figure:
    """What all figures have.

    Args:
        title: What it shows.
        caption: How to read it.
        alt: What there is to see, in words, for those who cannot see it.
        notes: Remarks below it.
    """

    title: str
    caption: str
    alt: str
    notes: Sequence[str]


@dataclass(frozen=True)
class Curve(Figure):
    """Lines over a number.

    Args:
        x: What is to the right.
        y: What is upwards.
        series: The lines.
        points: Whether they are clouds of points that nothing connects.
        diagonal: Whether a line shows where both axes are equal.
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    points: bool = False
    diagonal: bool = False


@dataclass(frozen=True)
class Heatmap(Figure):
    """A matrix of numbers.

    Args:
        rows: Headings of the rows.
        columns: Headings of the columns.
        values: A row each; ``None`` where there is no such cell.
        unit: ``%`` for shares, else a unit or nothing.
        span: Ends of the colour scale; ``None`` takes those of the values.
        x: What the columns are.
        y: What the rows are.
        box: A square from ``box[0]`` to ``box[1]`` in both directions, where rows and columns are
            numbers: where coefficients are searched.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float | None]]
    unit: str = ""
    span: tuple[float, float] | None = None
    x: Axis = Axis()
    y: Axis = Axis()
    box: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bars(Figure):
    """Bars, a group per label.

    Args:
        labels: Names of the groups.
        series: Values per group, by what they are.
        unit: Of the values.
        stacked: Whether the values of a group add up.
    """

    labels: Sequence[str]
    series: Mapping[str, Sequence[float | None]]
    unit: str = ""
    stacked: bool = False


@dataclass(frozen=True)
class RadarLine:
    """A closed line of a radar.

    Args:
        label: Its name.
        values: One per spoke; ``None`` interrupts the line.
        reference: Whether it only gives the scale, as the base does.
    """

    label: str
    values: Sequence[float | None]
    reference: bool = False


@dataclass(frozen=True)
class Radar(Figure):
    """Lines around a centre, more being outwards.

    Args:
        spokes: Names of the directions, at least three.
        lines: A closed line each.
        rings: Values from the centre to the rim, ascending.
        unit: ``%`` for shares, else a unit or nothing.
    """

    spokes: Sequence[str]
    lines: Sequence[RadarLine]
    rings: Sequence[float]
    unit: str = ""


@dataclass(frozen=True)
class Picture(Figure):
    """A PNG file of the folder.

    Args:
        png: Its bytes.
        width: In pixels.
        height: In pixels.
    """

    png: bytes
    width: int
    height: int
