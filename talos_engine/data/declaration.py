"""Tasks declared in TOML: those of the catalog, and anyone's own.

::

    name = "pets"
    description = "cats and dogs"              # optional
    templates = ["a photo of a {}, a pet."]    # optional
    class_names = ["cat", "dog"]               # optional where the source has names
    labels = ["felis", "canis"]                # optional: what the source calls them, same order
    control = false                            # optional
    validation = "train"                       # optional: or "own", or "test"

    [source]
    kind = "table"                             # folder, saved, table or hub
    path = "pets"                              # relative to this file
    label = "kind"                             # the other settings of that kind

    [sizes]                                    # optional: number of examples, for talos tasks
    train = 3000

A task with texts has, in place of ``templates`` and ``class_names``::

    text = "{question} Yes or no?"             # columns in braces
    choices = ["no", "yes"]                    # may have columns in braces too
    choices_column = "options"                 # or a column that lists each example's answers
    length_normalized = false                  # optional: rank by log-probability per token

    [columns]                                  # optional: what copies call columns = their name
    Question = "question"
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from talos_engine.data.image_task import GENERIC_TEMPLATES, IMAGE_FORM, check_template
from talos_engine.data.names import CATALOG
from talos_engine.data.source import make_source
from talos_engine.data.task_form import VALIDATIONS, Declaration, TaskForm
from talos_engine.data.text_task import TEXT_FORM
from talos_engine.errors import DataError, TalosError

__all__ = [
    "GENERIC_TEMPLATES",
    "Declaration",
    "check_template",
    "read_catalog",
    "read_declaration",
]

_LIMIT = 10_000_000  # bytes of a task file
_COMMON: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "description": (str,),
    "control": (bool,),
    "validation": (str,),
    "source": (dict,),
    "sizes": (dict,),
}
_FORMS = (IMAGE_FORM, TEXT_FORM)


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
    return read_declaration(CATALOG / f"{name}.toml").of_catalog()


def _from_table(table: Mapping[str, Any], path: Path) -> Declaration:
    where = f"task file {path}"
    form = _form_of(table, where)
    keys = {**_COMMON, **form.keys}
    for key, value in table.items():
        if not isinstance(value, keys[key]):
            wanted = " or ".join(kind.__name__ for kind in keys[key])
            raise DataError(f"{where}: {key} must be a {wanted}, not {value!r}")
    for key in ("name", "source"):
        if not table.get(key):
            raise DataError(f"{where} does not say {key!r}")
    settings = dict(table["source"])
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise DataError(f"{where}: [source] does not say its kind", "folder, saved, table or hub")
    own = {
        key: _texts(table[key], key, where) if isinstance(table[key], list) else table[key]
        for key in form.keys
        if key in table
    }
    sizes = table.get("sizes", {})
    for split, size in sizes.items():
        if split not in ("train", "test") or type(size) is not int or size < 0:
            raise DataError(f"{where}: [sizes] has {split} = {size!r}", "train and test, numbers")
    _check_name(table["name"], where)
    validation = table.get("validation", "")
    if validation and validation not in VALIDATIONS:
        raise DataError(f"{where}: validation = {validation!r}", f"one of {', '.join(VALIDATIONS)}")
    try:
        source = make_source(kind, settings, path.parent, where)
    except TalosError as error:
        raise DataError(error.message, error.hint) from error
    common = {
        "name": table["name"],
        "source": source,
        "description": table.get("description", ""),
        "control": table.get("control", False),
        "sizes": sizes,
        "validation": validation,
    }
    return form.make(common, own, where)


def _form_of(table: Mapping[str, Any], where: str) -> TaskForm:
    """The form that has all keys of a table; where several have, the first."""
    for form in _FORMS:
        if table.keys() <= {*_COMMON, *form.keys}:
            return form
    known = list(
        dict.fromkeys(key for each in (_COMMON, *(f.keys for f in _FORMS)) for key in each)
    )
    unknown = next((key for key in table if key not in known), None)
    if unknown is not None:
        raise DataError(f"{where} has the unknown key {unknown!r}", f"known: {', '.join(known)}")
    raise DataError(
        f"{where} declares images and texts at once",
        f"of images: {', '.join(IMAGE_FORM.keys)}; of texts: {', '.join(TEXT_FORM.keys)}",
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
