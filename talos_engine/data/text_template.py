"""Texts with columns in braces: ``{question} Answer A: {choices.text.0}``."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from talos_engine.errors import DataError


@dataclass(frozen=True)
class TextTemplate:
    """A text with places for the cells of a row.

    Args:
        parts: Pairs of plain text and the column behind it; the last column is empty. Parts of a
            column are named by dots: a field of a record, or a position in a list.
    """

    parts: tuple[tuple[str, str], ...]

    @classmethod
    def plain(cls, text: str) -> TextTemplate:
        """A text without places."""
        return cls(((text, ""),))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named, without their parts."""
        return tuple(dict.fromkeys(path.split(".")[0] for _, path in self.parts if path))

    def render(self, row: Mapping[str, Any]) -> str:
        """The text with a row's cells put in.

        Raises:
            LookupError: a cell, or a part of it, is missing or empty; says which.
        """
        return "".join(
            text + (_as_text(look_up(row, path), path) if path else "") for text, path in self.parts
        )


def parse_template(text: str, where: str) -> TextTemplate:
    """A template from what TOML says.

    Args:
        text: Columns in braces; doubled braces are plain ones.
        where: The file and key, for messages.

    Raises:
        DataError: braces do not match, are empty, or hold more than a name.
    """
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise DataError(f"{where}: {text!r}: {error}") from error
    parts = []
    for plain, path, spec, conversion in parsed:
        if path is not None and (not path.strip() or spec or conversion or "[" in path):
            raise DataError(f"{where}: {text!r}: braces must hold the name of a column")
        parts.append((plain, path or ""))
    return TextTemplate(tuple(parts))


def look_up(row: Mapping[str, Any], path: str) -> Any:
    """The cell that a dotted path leads to.

    Raises:
        LookupError: it leads nowhere; says where it ends.
    """
    cell: Any = row
    for step in path.split("."):
        if isinstance(cell, Mapping) and step in cell:
            cell = cell[step]
        elif isinstance(cell, list) and step.isdigit() and int(step) < len(cell):
            cell = cell[int(step)]
        else:
            raise LookupError(f"there is no {path!r}")
    return cell


def _as_text(cell: Any, path: str) -> str:
    if cell is None or cell == "":
        raise LookupError(f"{path!r} is empty")
    if isinstance(cell, (Mapping, list, bytes)):
        raise LookupError(f"{path!r} is no text")
    return str(cell)
