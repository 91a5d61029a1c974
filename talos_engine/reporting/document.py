"""What a report consists of: pure data, text cleaned of control characters, numbers finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from talos_engine.reporting.figures import Bars, Curve, Heatmap, Picture, Radar

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
