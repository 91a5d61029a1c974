"""What a report consists of: pure data, text cleaned of control characters, numbers finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

HIGHER, LOWER = "higher", "lower"


@dataclass(frozen=True)
class Column:
    """A column of numbers.

    Args:
        key: Its key in the cells.
        label: Its heading.
        unit: ``%`` for shares in [0, 1] that are shown in percent, else a unit or nothing.
        better: ``higher``, ``lower``, or ``None`` where neither is better.
    """

    key: str
    label: str
    unit: str = ""
    better: str | None = None


@dataclass(frozen=True)
class Cell:
    """A measured number and how sure it is.

    Args:
        mean: The number, or the mean of several; ``None`` where nothing was measured.
        std: Sample standard deviation over repetitions.
        n: How many repetitions.
        low: Lower end of a 95% interval.
        high: Its upper end.
        paper: What the paper prints at this place, in the scale of ``mean``.
        note: What a reader should know about this number.
        ranked: Whether ``mean`` may be the best of its column.
    """

    mean: float | None = None
    std: float | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None
    paper: float | None = None
    note: str = ""
    ranked: bool = True


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Args:
        label: Its heading.
        cells: By the columns' keys; a missing one is empty.
        reference: Whether it only gives the scale (the base, single-task models): never the best.
    """

    label: str
    cells: Mapping[str, Cell]
    reference: bool = False


@dataclass(frozen=True)
class Table:
    """Numbers in rows and columns, beside the paper's where it has them.

    Args:
        title: What it shows.
        columns: Columns of numbers.
        rows: Rows.
        caption: How to read it.
        model: The model that was measured here.
        paper: Whose numbers the paper's are, such as ``ViT-B-32``; empty where there are none.
        notes: Remarks below it.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    caption: str = ""
    model: str = ""
    paper: str = ""
    notes: Sequence[str] = ()

    def paper_columns(self) -> tuple[Column, ...]:
        """The columns for which the paper has a number in some row."""
        return tuple(
            column
            for column in self.columns
            if any(row.cells.get(column.key, Cell()).paper is not None for row in self.rows)
        )

    def best(self, column: Column, *, paper: bool = False) -> frozenset[int]:
        """Positions of the rows with the best number of a column, equal ones included.

        Empty where neither direction is better, or there is nothing to compare with.

        Args:
            column: One of the columns.
            paper: Compare the paper's numbers instead of ours.
        """
        values = {}
        for position, row in enumerate(self.rows):
            cell = row.cells.get(column.key, Cell())
            value = cell.paper if paper else cell.mean
            ranked = (paper or cell.ranked) and not row.reference
            if value is not None and ranked:
                values[position] = value
        if column.better is None or len(set(values.values())) < 2:
            return frozenset()
        choose = max if column.better == HIGHER else min
        top = choose(values.values())
        return frozenset(position for position, value in values.items() if value == top)


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
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    points: bool = False


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


@dataclass(frozen=True)
class Facts:
    """Names with values.

    Args:
        title: What they describe.
        items: Name and value, in order.
    """

    title: str
    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Listing:
    """A table of text.

    Args:
        title: What is listed.
        header: Headings.
        rows: As many texts each.
        folded: Whether readers first see the title only.
        code: Positions of columns that hold commands or hashes.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    code: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Log:
    """The end of what a command wrote.

    Args:
        title: Which command's.
        text: Lines.
    """

    title: str
    text: str


@dataclass(frozen=True)
class Remark:
    """A sentence; an urgent one is set off."""

    text: str
    urgent: bool = False


Block: TypeAlias = (
    "Table | Curve | Heatmap | Bars | Radar | Picture | Facts | Listing | Log | Remark"
)


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        name: Unique, lower-case letters and hyphens.
        title: Its heading.
        blocks: What is in it.
    """

    name: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Args:
        title: Its heading.
        description: What was done, in a few sentences.
        facts: The most important facts.
        sections: In order.
    """

    title: str
    description: str
    facts: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default=())
