"""Text classification tasks as TOML declares them: a template, and answers for each example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from talos_engine.data.source import Source
from talos_engine.data.spec import TEXTS, TaskSpec
from talos_engine.data.task_form import Declaration, TaskForm
from talos_engine.data.text_template import TextTemplate, parse_template
from talos_engine.data.texts import TextColumns, load_texts, shared_answers
from talos_engine.errors import DataError

TEXT, CHOICES = "text", "choices"
"""Columns of a source that nobody has described."""


@dataclass(frozen=True)
class TextDeclaration(Declaration):
    """A task with texts.

    Args:
        text: What the model reads, with columns in braces.
        choices: The answers; columns in braces make them differ from example to example. Empty
            where there is a column of answers, and where the labels are the answers.
        choices_column: Column that holds a list of answers.
        labels: What the source calls the answers; empty: their positions, or the answers.
        length_normalized: Whether an answer's score is its log-probability per token.
        columns: What copies of the data call columns, and what they are called here.
    """

    text: TextTemplate = field(default_factory=lambda: parse_template("{text}", TEXT))
    choices: tuple[TextTemplate, ...] = ()
    choices_column: str = ""
    labels: tuple[str, ...] = ()
    length_normalized: bool = False
    columns: Mapping[str, str] = field(default_factory=dict)

    def spec(self) -> TaskSpec:
        """The task; its source is opened only where its labels are the answers."""
        choices = self.choices
        if not choices and not self.choices_column:
            self.source.require(self.name)
            answers = shared_answers(self.source, self.name)
            choices = tuple(TextTemplate.plain(answer) for answer in answers)
        columns = TextColumns(
            self.name, self.text, choices, self.choices_column, self.labels, self.columns
        )
        fixed = not self.choices_column and not any(choice.columns for choice in choices)
        return TaskSpec(
            class_names=tuple(choice.render({}) for choice in choices) if fixed else (),
            templates=(),
            load=lambda split: load_texts(self.source, split, columns),
            kind=TEXTS,
            length_normalized=self.length_normalized,
            **self.common(),
        )


def plain_texts(name: str, source: Source, answers: tuple[str, ...] = ()) -> TextDeclaration | None:
    """The task in data that nobody has described; ``None`` if it has no column ``text``.

    Its label is the position or the name of an answer; the answers are those given, the list in a
    column ``choices``, or else all labels that occur.

    Args:
        name: Name of the task.
        source: Its data.
        answers: Answers that all examples share, if they are known.
    """
    if not source.has_texts:
        return None
    columns = source.open("train").dataset.column_names
    if TEXT not in columns or source.image in columns:
        return None
    choices = tuple(TextTemplate.plain(answer) for answer in answers)
    listed = CHOICES if CHOICES in columns and not choices else ""
    return TextDeclaration(name, source, choices=choices, choices_column=listed)


def _make(common: Mapping[str, Any], own: Mapping[str, Any], where: str) -> Declaration:
    values = dict(own)
    if "text" not in values:
        raise DataError(
            f"{where} does not say 'text'", 'text = "{question}", with a column\'s name'
        )
    values["text"] = parse_template(values["text"], f"{where}: text")
    if not values["text"].columns:
        raise DataError(f"{where}: text names no column", 'text = "{question}"')
    choices = values.get("choices", ())
    values["choices"] = tuple(parse_template(each, f"{where}: choices") for each in choices)
    listed = values.get("choices_column", "")
    if bool(choices) == bool(listed):
        raise DataError(
            f"{where} must say either 'choices' or 'choices_column'",
            'choices = ["no", "yes"], or choices_column = "options"',
        )
    if len(choices) == 1:
        raise DataError(f"{where}: 1 answer is too few, two are needed")
    for name, called in values.get("columns", {}).items():
        if not isinstance(called, str) or not called:
            raise DataError(f"{where}: [columns] has {name} = {called!r}", "the name of a column")
    labels = values.get("labels", ())
    if choices and labels and len(labels) != len(choices):
        raise DataError(f"{where}: {len(labels)} labels for {len(choices)} choices")
    return TextDeclaration(**common, **values)


TEXT_FORM = TaskForm(
    {
        "text": (str,),
        "choices": (list,),
        "choices_column": (str,),
        "labels": (list,),
        "length_normalized": (bool,),
        "columns": (dict,),
    },
    _make,
)
