"""From what a source writes in its label column to the classes of a task."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from talos_engine.data.mixed import find_numbers, number_in, position_in, read_cells
from talos_engine.data.settings import current_data
from talos_engine.data.source import Source, Table
from talos_engine.errors import DataError

BAD = -1
"""Label of a row that cannot be used."""


@dataclass(frozen=True)
class ClassList:
    """The classes of a task, and how a source may call them.

    Args:
        task: Name of the task, for messages.
        names: Human-readable names, index = label.
        aliases: What the task's own source calls them, where that differs, in the same order.
        in_order: Whether a source whose names are all its own, but as many, has the same order.
    """

    task: str
    names: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    in_order: bool = False

    def positions(self) -> dict[str, int]:
        """Label by name, names simplified."""
        known = {simplify(name): label for label, name in enumerate(self.aliases)}
        return known | {simplify(name): label for label, name in enumerate(self.names)}

    def find(self, name: str, known: Mapping[str, int]) -> int:
        """Label of the class that a source calls ``name``; ``BAD`` where there is none.

        A number is taken as a label unless it is a class's name.
        """
        stripped = name.strip()
        if re.fullmatch(r"-[0-9.]+", stripped):  # without its punctuation it would be another one
            return self.names.index(stripped) if stripped in self.names else BAD
        text = simplify(name)
        if text in known:
            return known[text]
        position = position_in(name)
        return BAD if position is None or position >= len(self.names) else position


def simplify(name: str) -> str:
    """A name without what writers of file names change: case, spaces, punctuation."""
    return " ".join(re.findall(r"\w+", name.replace("_", " ").casefold()))


def read_labels(table: Table, column: str, classes: ClassList) -> tuple[NDArray[np.int64], str]:
    """The label of every row of a table, ``BAD`` where it cannot be used, and the first problem.

    Args:
        table: A split of a source.
        column: Its label column.
        classes: The classes of the task.

    Returns:
        int64 of shape (rows of the table,), and a message naming a row, empty if all is well.

    Raises:
        DataError: the column holds no labels at all.
    """
    feature = table.dataset.features[column]
    cells = read_cells(table, column)
    names = getattr(feature, "names", None)
    if names is not None:
        lookup = _match(names, classes, table.where)
        labels = [_at(lookup, cell) for cell in cells]
        described: Sequence[Any] = [_named(names, cell) for cell in cells]
    else:
        kind = getattr(feature, "dtype", "")
        if (
            "int" not in kind
            and "float" not in kind
            and kind not in ("string", "large_string", "null")
        ):
            raise DataError(
                f"{table.where}: column {column!r} holds {kind or 'lists'}, not labels",
                "labels are numbers from 0, or names of classes",
            )
        known = classes.positions()
        numbers = find_numbers(table, column, lambda _, cell: classes.find(cell, known) != BAD)
        # CSV makes floats of numbers where one is missing
        cells = [_whole(numbers.get(row, cell)) for row, cell in enumerate(cells)]
        labels = [_label_of(cell, classes, known) for cell in cells]
        described = cells
    found = np.array(labels, dtype=np.int64)
    rows = np.arange(len(found)) if table.rows is None else np.array(table.rows)
    bad = rows[found[rows] == BAD]
    if not len(bad):
        return found, ""
    return found, _complain(table.where, int(bad[0]), described[int(bad[0])], classes)


def empty_classes(labels: NDArray[np.int64], classes: ClassList) -> list[str]:
    """The classes that have no example among these labels."""
    seen = set(labels.tolist())
    return [name for label, name in enumerate(classes.names) if label not in seen]


def read_class_names(source: Source) -> tuple[str, ...]:
    """The classes that the training split of a source has, their names made readable.

    Raises:
        DataError: its labels are bare numbers.
    """
    names = named_labels(
        source,
        "no names, and the task declares none",
        "declare the task in TOML with class_names, see --task-file",
        beside=(source.image,),
    )
    return tuple(name.replace("_", " ").strip() for name in names)


def named_labels(
    source: Source, problem: str, hint: str, *, beside: Sequence[str] = ()
) -> tuple[str, ...]:
    """What the labels of a source's training split are called: as recorded, or its own texts.

    Args:
        source: The source.
        problem: What its labels are, in an error, where they are bare numbers.
        hint: What can then be done.
        beside: Other columns that the source must have.

    Raises:
        DataError: they are, or numbers and texts mixed, or a column is missing.
    """
    table = source.open("train")
    for column in (*beside, source.label):
        check_column(table, column)
    feature = table.dataset.features[source.label]
    names = getattr(feature, "names", None)
    if names is not None:
        return tuple(names)
    if getattr(feature, "dtype", "") not in ("string", "large_string"):
        raise DataError(f"{table.where}: the labels in {source.label!r} are {problem}", hint)
    cells = [cell for cell in read_cells(table, source.label) if cell]
    if table.numbers.get(source.label):
        raise DataError(
            f"{table.where}: some labels in {source.label!r} are numbers, others texts", hint
        )
    numbers = 0 if table.typed else sum(number_in(cell) is not None for cell in cells)
    if 10 * numbers > 9 * len(cells):  # the few texts are mistakes
        raise DataError(f"{table.where}: most labels in {source.label!r} are {problem}", hint)
    return tuple(sorted(set(cells)))


def check_column(table: Table, name: str) -> None:
    """Raise unless the table has a column of this name.

    Raises:
        DataError: it has not; its columns are listed.
    """
    columns = table.dataset.column_names
    if name not in columns:
        raise DataError(
            f"{table.where} has no column {name!r}: it has {', '.join(columns) or 'none'}",
            "name its columns in a task file: under [source] image = … or label = …; texts name "
            "theirs in braces",
        )


def _match(names: Sequence[str], classes: ClassList, where: str) -> list[int]:
    """The task's label of each class that a source declares.

    Raises:
        DataError: the task does not have one of them.
    """
    known = classes.positions()
    found = [classes.find(name, known) for name in names]
    if BAD not in found and len(set(found)) == len(found):
        return found
    if classes.in_order and len(names) == len(classes.names):
        current_data().note(
            f"{where}: its class names are not those of task {classes.task!r}; there are as many, "
            "and they are taken to be in the same order"
        )
        return list(range(len(names)))
    unknown = next((name for name, label in zip(names, found, strict=True) if label == BAD), None)
    if unknown is None:
        raise DataError(f"{where}: two of its classes are the same class of task {classes.task!r}")
    raise DataError(
        f"{where}: task {classes.task!r} has no class {unknown!r}", f"its classes: {_some(classes)}"
    )


def _at(lookup: Sequence[int], cell: Any) -> int:
    return lookup[cell] if cell is not None and 0 <= cell < len(lookup) else BAD


def _named(names: Sequence[str], cell: Any) -> Any:
    return names[cell] if cell is not None and 0 <= cell < len(names) else cell


def _label_of(cell: Any, classes: ClassList, known: Mapping[str, int]) -> int:
    if isinstance(cell, str):
        return classes.find(cell, known)
    if str(cell) in classes.aliases:  # what labels are declared to be comes first
        return classes.aliases.index(str(cell))
    number = isinstance(cell, int) and not isinstance(cell, bool)
    return cell if number and 0 <= cell < len(classes.names) else BAD


def _whole(cell: Any) -> Any:
    """A float as the whole number it is, ``None`` where it is missing; other cells as they are."""
    if not isinstance(cell, float):
        return cell
    if math.isnan(cell):
        return None
    return int(cell) if cell == cell // 1 else cell


def _complain(where: str, row: int, cell: Any, classes: ClassList) -> str:
    place = f"{where}, row {row}"
    if cell is None or cell == "":
        return f"{place}: there is no label"
    if isinstance(cell, str):
        return f"{place}: task {classes.task!r} has no class {cell!r}; it has {_some(classes)}"
    return f"{place} has label {cell}, outside the {len(classes.names)} classes"


def _some(classes: ClassList) -> str:
    shown = ", ".join(classes.names[:8])
    return shown if len(classes.names) <= 8 else f"{shown}, … ({len(classes.names)})"
