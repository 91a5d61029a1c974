"""From an opened source to labelled texts with their answers; rows that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from talos_engine.data.labels import check_column, named_labels
from talos_engine.data.mixed import find_numbers, position_in
from talos_engine.data.settings import current_data
from talos_engine.data.source import Source, Table, reading
from talos_engine.data.spec import TextExamples, text_problem
from talos_engine.data.text_template import TextTemplate, look_up
from talos_engine.errors import DataError

_CHUNK = 1000  # rows that are Python objects together


@dataclass(frozen=True)
class TextColumns:
    """How the rows of a source become texts with answers.

    Args:
        task: Name of the task, for messages.
        text: What the model reads.
        choices: The answers; empty where a column lists them.
        choices_column: Column, or a part of one, that lists the answers.
        labels: What the source calls the answers, in their order; may be empty.
        renamed: What a source may call columns, and what they are called here.
    """

    task: str
    text: TextTemplate
    choices: tuple[TextTemplate, ...]
    choices_column: str
    labels: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are needed beside that of the labels."""
        listed = self.choices_column.split(".")[:1] if self.choices_column else []
        named = [name for each in (self.text, *self.choices) for name in each.columns]
        return tuple(dict.fromkeys([*named, *listed]))


def load_texts(source: Source, split: str, columns: TextColumns) -> TextExamples:
    """The examples of one split of a source, in its order.

    Rows that cannot be used are refused, or left out and counted with ``skip_bad``.

    Args:
        source: Where they come from.
        split: ``train``, ``test``, or ``val`` where the source has such a split.
        columns: How rows become examples.

    Raises:
        DataError: a column is missing, or a row cannot be used; file and row are named.
    """
    source.require(columns.task)
    table = _rename(source.open(split), columns.renamed)
    for name in (*columns.names, source.label):
        check_column(table, name)
    rows = range(len(table.dataset)) if table.rows is None else table.rows
    label_names = getattr(table.dataset.features[source.label], "names", None)
    numbers = find_numbers(
        table, source.label, lambda row, cell: _is_answer(table, columns, row, cell)
    )
    texts, choices, labels, problems = [], [], [], 0
    run = current_data()
    for number, row in _rows(table, rows, (*columns.names, source.label)):
        row[source.label] = numbers.get(number, row[source.label])
        try:
            text, answers, label = _example(row, columns, source.label, label_names)
        except (LookupError, ValueError) as error:
            if not run.settings.skip_bad:
                told = str(error.args[0])
                joint = " " if told.startswith("has ") else ": "
                raise DataError(
                    f"{table.where}, row {number}{joint}{told}",
                    "--skip-bad leaves such rows out",
                ) from error
            problems += 1
            continue
        texts.append(text)
        choices.append(answers)
        labels.append(label)
    if not texts:
        told = f"no row of {table.where} can be used" if problems else f"{table.where} has no row"
        raise DataError(told, "there is nothing to learn from")
    run.report_skipped(columns.task, split, "texts", problems)
    run.report_broken(columns.task, split, table.broken, shared=table.shared)
    return TextExamples(tuple(texts), tuple(choices), np.array(labels, dtype=np.int64))


def _rename(table: Table, names: Mapping[str, str]) -> Table:
    """The table with columns called as here, where it has them under other names only."""
    there = table.dataset.column_names
    found = {old: new for old, new in names.items() if old in there and new not in there}
    if not found:
        return table
    numbers = {found.get(name, name): cells for name, cells in table.numbers.items()}
    return replace(table, dataset=table.dataset.rename_columns(found), numbers=numbers)


def shared_answers(source: Source, task: str) -> tuple[str, ...]:
    """The answers of a source whose labels are the answers: those of its training split.

    Raises:
        DataError: its labels are bare numbers.
    """
    names = named_labels(
        source,
        f"no texts, and task {task!r} has no column 'choices'",
        "declare the task in TOML with choices, see --task-file",
    )
    if len(names) < 2:
        raise DataError(f"task {task!r}: {len(names)} answer is too few, two are needed")
    return names


def _rows(table: Table, rows: Sequence[int], names: tuple[str, ...]) -> Any:
    """Pairs of a row's number and its cells, in order."""
    with reading(table.where):
        chosen = table.dataset.select_columns(list(dict.fromkeys(names)))
        for start in range(0, len(rows), _CHUNK):
            part = list(rows[start : start + _CHUNK])
            cells = chosen[part]
            for place, number in enumerate(part):
                yield number, {name: column[place] for name, column in cells.items()}


def _example(
    row: Mapping[str, Any], columns: TextColumns, label: str, label_names: Sequence[str] | None
) -> tuple[str, tuple[str, ...], int]:
    """Text, answers and label of a row.

    Raises:
        LookupError: a cell is missing.
        ValueError: the row cannot be used; says why.
    """
    text = columns.text.render(row)
    answers = _answers(row, columns)
    problem = text_problem(text, answers)
    if problem:
        raise ValueError(problem)
    return text, answers, _position(row[label], answers, columns.labels, label_names)


def _answers(row: Mapping[str, Any], columns: TextColumns) -> tuple[str, ...]:
    if not columns.choices_column:
        return tuple(choice.render(row) for choice in columns.choices)
    listed = look_up(row, columns.choices_column)
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise ValueError(f"{columns.choices_column!r} is no list of texts")
    return tuple(listed)


def _is_answer(table: Table, columns: TextColumns, row: int, cell: str) -> bool:
    """Whether a label is the text of one of its row's answers, or may be a declared one."""
    if columns.labels:
        return True
    try:
        answers = _answers(table.dataset.select_columns(list(columns.names))[row], columns)
    except (LookupError, ValueError):
        return False
    return cell.strip() in [answer.strip() for answer in answers]


def _position(
    cell: Any, answers: Sequence[str], labels: Sequence[str], names: Sequence[str] | None
) -> int:
    """Which answer a label means: its position from 0, one of the declared labels, or its text.

    Declared labels come first: they may be numbers themselves.
    """
    if cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError("there is no label")
    if isinstance(cell, float) and cell.is_integer():  # what CSV makes of numbers, one missing
        cell = int(cell)
    if names is not None and isinstance(cell, int) and 0 <= cell < len(names) and labels:
        cell = names[cell]
    known = dict(zip(labels, range(len(answers)), strict=False))
    told = str(cell).strip()
    if told in known:
        return known[told]
    if not labels and isinstance(cell, str):
        stripped = [answer.strip() for answer in answers]
        if told in stripped:
            return stripped.index(told)
    position = position_in(told)
    if not labels and position is not None:
        if position < len(answers):
            return position
        raise ValueError(f"has label {told}, outside its {len(answers)} answers")
    if not labels and isinstance(cell, bool):
        return int(cell)
    shown = ", ".join(map(repr, [*(labels or answers)][:8]))
    raise ValueError(f"has label {cell!r}, which is none of its answers: {shown}")
