"""Tasks declared in TOML: those of the catalog, and anyone's own.

::

    name = "pets"
    description = "cats and dogs"              # optional
    templates = ["a photo of a {}, a pet."]    # optional
    class_names = ["cat", "dog"]               # optional where the source has names
    labels = ["felis", "canis"]                # optional: what the source calls them, same order
    control = false                            # optional

    [source]
    kind = "table"                             # folder, saved, table or hub
    path = "pets"                              # relative to this file
    label = "kind"                             # the other settings of that kind

    [sizes]                                    # optional: number of examples, for talos tasks
    train = 3000
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from talos_engine.data.examples import load_examples
from talos_engine.data.labels import ClassList, read_class_names
from talos_engine.data.names import CATALOG
from talos_engine.data.settings import current_data
from talos_engine.data.source import Source, make_source
from talos_engine.data.spec import TaskSpec
from talos_engine.errors import DataError, TalosError

GENERIC_TEMPLATES = ("a photo of a {}.",)
_LIMIT = 10_000_000  # bytes of a task file
_TYPES: dict[str, type] = {
    "name": str,
    "description": str,
    "control": bool,
    "templates": list,
    "class_names": list,
    "labels": list,
    "source": dict,
    "sizes": dict,
}


@dataclass(frozen=True)
class Declaration:
    """A task as TOML declares it.

    Args:
        name: Name on the command line.
        source: Where its examples come from.
        description: One line for ``talos tasks``.
        class_names: Human-readable class names; empty: those of the source.
        templates: Prompt templates; empty: a generic one.
        labels: What the source calls the classes; empty: the same.
        control: Whether it is meant as the control of a negation.
        sizes: Number of examples by split.
        in_order: Whether its classes are known to stand in the order of published datasets: a
            source with as many classes under other names is then taken to have the same order.
    """

    name: str
    source: Source
    description: str = ""
    class_names: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    control: bool = False
    sizes: Mapping[str, int] = field(default_factory=dict)
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
            name=self.name,
            description=self.description or self.source.describe(),
            class_names=names,
            templates=self.templates or GENERIC_TEMPLATES,
            load=lambda split: load_examples(self.source, split, classes),
            available=self.source.available,
            control=self.control,
            source=self.source.describe(),
            sizes=self.sizes,
            require=lambda: self.source.require(self.name),
        )


def read_declaration(path: Path) -> Declaration:
    """The task that a TOML file declares.

    Raises:
        DataError: the file cannot be read, or declares no sound task; says which key is wrong.
    """
    import tomli

    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT + 1)
        if len(raw) > _LIMIT:
            raise DataError(f"task file {path} is larger than {_LIMIT} bytes")
        table = tomli.loads(raw.decode("utf-8"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as error:
        told = getattr(error, "strerror", None) or str(error).split("\n")[0]
        raise DataError(f"task file {path} cannot be read: {told}") from error
    return _from_table(table, path)


def read_catalog(name: str) -> Declaration:
    """The task of the catalog with this name, which must be in ``catalog_names``."""
    return replace(read_declaration(CATALOG / f"{name}.toml"), in_order=True)


def _from_table(table: Mapping[str, Any], path: Path) -> Declaration:
    where = f"task file {path}"
    for key, value in table.items():
        if key not in _TYPES:
            raise DataError(f"{where} has the unknown key {key!r}", f"known: {', '.join(_TYPES)}")
        if not isinstance(value, _TYPES[key]):
            raise DataError(f"{where}: {key} must be a {_TYPES[key].__name__}, not {value!r}")
    for key in ("name", "source"):
        if not table.get(key):
            raise DataError(f"{where} does not say {key!r}")
    settings = dict(table["source"])
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise DataError(f"{where}: [source] does not say its kind", "folder, saved, table or hub")
    lists = {key: _texts(table.get(key, []), key, where) for key in _TYPES if _TYPES[key] is list}
    sizes = table.get("sizes", {})
    for split, size in sizes.items():
        if split not in ("train", "test") or type(size) is not int or size < 0:
            raise DataError(f"{where}: [sizes] has {split} = {size!r}", "train and test, numbers")
    _check_name(table["name"], where)
    for template in lists["templates"]:
        check_template(template, where)
    try:
        source = make_source(kind, settings, path.parent, where)
    except TalosError as error:
        raise DataError(error.message, error.hint) from error
    return Declaration(
        name=table["name"],
        source=source,
        description=table.get("description", ""),
        control=table.get("control", False),
        sizes=sizes,
        class_names=lists["class_names"],
        templates=lists["templates"],
        labels=lists["labels"],
    )


def _texts(values: list[Any], key: str, where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise DataError(f"{where}: {key} must hold texts, not {value!r}")
    return tuple(values)


def _check_name(name: str, where: str) -> None:
    if not all(part.isalnum() for part in name.replace("-", "_").split("_")):
        raise DataError(
            f"{where}: the name {name!r} is not made of letters, digits, - and _",
        )


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
