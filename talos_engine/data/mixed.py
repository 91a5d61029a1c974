"""Numbers among the texts of a column: a number is a position, a text the name of a class.

Names may be digits, so a number must not become a text because of one bad cell beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from talos_engine.data.source import Table

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_POSITION = re.compile(r"([0-9]{1,9})(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]{1,18}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def position_in(text: str) -> int | None:
    """The position that a text is, as 3 or 3.0; ``None`` for other texts."""
    found = _POSITION.fullmatch(text.strip())
    return None if found is None else int(found[1])


def number_in(cell: Any) -> int | float | None:
    """The number that a cell of CSV is; ``None`` for other texts."""
    text = cell.strip() if isinstance(cell, str) else ""
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else None


def as_typed(cells: Sequence[str | None]) -> list[Any]:
    """A column of CSV as numbers or truth values where all cells are such, as ``datasets`` does."""
    present = [cell for cell in cells if cell is not None]
    if present and all(cell.lower() in ("true", "false") for cell in present):
        return [None if cell is None else cell.lower() == "true" for cell in cells]
    numbers = []
    for cell in cells:
        number = number_in(cell)
        if number is None and cell is not None:
            return list(cells)
        numbers.append(number)
    return numbers


def read_cells(table: Table, column: str) -> list[Any]:
    """The cells of a column, of all rows of the table's files."""
    arrow = table.dataset.select_columns([column]).with_format("arrow")[:]
    cells: list[Any] = arrow.column(column).to_pylist()
    return cells


def find_numbers(
    table: Table, column: str, is_name: Callable[[int, str], bool]
) -> Mapping[int, Any]:
    """The cells of a column of texts that are numbers, by row.

    JSON says itself which are. CSV has no types: numbers are texts only if one of the other texts
    is a name, so that rows with bad labels leave the rest as it is without them.

    Args:
        table: A split of a source.
        column: Its label column.
        is_name: Whether a text in a row is the name of a class there.
    """
    if table.typed:
        return table.numbers.get(column, {})
    cells = read_cells(table, column)
    numbers = {row: number_in(cell) for row, cell in enumerate(cells) if isinstance(cell, str)}
    found = {row: number for row, number in numbers.items() if number is not None}
    if found and any(
        number is None and is_name(row, cells[row]) for row, number in numbers.items()
    ):
        return {}
    return found
