"""Image classification tasks as TOML declares them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from talos_engine.data.examples import load_examples
from talos_engine.data.labels import ClassList, read_class_names
from talos_engine.data.settings import current_data
from talos_engine.data.spec import IMAGES, TaskSpec
from talos_engine.data.task_form import Declaration, TaskForm
from talos_engine.errors import DataError

GENERIC_TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True)
class ImageDeclaration(Declaration):
    """A task with images.

    Args:
        class_names: Human-readable class names; empty: those of the source.
        templates: Prompt templates; empty: a generic one.
        labels: What the source calls the classes; empty: the same.
        in_order: Whether its classes are known to stand in the order of published datasets: a
            source with as many classes under other names is then taken to have the same order.
    """

    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    in_order: bool = False

    def spec(self) -> TaskSpec:
        """The task; its source is opened only where the class names must come from it."""
        names = self.class_names
        if not names:
            self.source.require(self.name)
            names = read_class_names(self.source)
        if not self.templates:
            current_data().note(
                f"task {self.name!r} has no prompt templates: using "
                + ", ".join(map(repr, GENERIC_TEMPLATES))
            )
        if not self.in_order:  # two classes of ImageNet are called missile
            _check_classes(f"task {self.name!r}", names, self.labels)
        classes = ClassList(self.name, names, self.labels, self.in_order)
        return TaskSpec(
            class_names=names,
            templates=self.templates or GENERIC_TEMPLATES,
            load=lambda split: load_examples(self.source, split, classes),
            kind=IMAGES,
            **self.common(),
        )

    def of_catalog(self) -> Declaration:
        """The same, its classes standing in the order of the published dataset."""
        return replace(self, in_order=True)


def _make(common: Mapping[str, Any], own: Mapping[str, Any], where: str) -> Declaration:
    for template in own.get("templates", ()):
        check_template(template, where)
    return ImageDeclaration(**common, **own)


IMAGE_FORM = TaskForm({"templates": (list,), "class_names": (list,), "labels": (list,)}, _make)


def check_template(template: str, where: str) -> None:
    """Raise unless the template has one ``{}`` and no other braces.

    Raises:
        DataError: it has not.
    """
    rest = template.replace("{}", "", 1)
    if rest == template or "{" in rest or "}" in rest:
        raise DataError(f"{where}: the template {template!r} needs one {{}} for the class name")


def _check_classes(where: str, names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    if len(names) < 2:
        raise DataError(f"{where}: {len(names)} class is too few, two are needed")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{where}: class_names has {twice[0]!r} twice")
    if labels and len(labels) != len(names):
        raise DataError(f"{where}: {len(labels)} labels for {len(names)} class_names")
