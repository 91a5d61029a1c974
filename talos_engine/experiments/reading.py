"""Recipe files: TOML, checked key by key; every message names the file, the table and the key."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli

from talos_engine.artifacts import open_regular
from talos_engine.errors import RecipeError
from talos_engine.experiments.recipe import Recipe, ResultTable, StepTable
from talos_engine.registry import unknown_name

_LIMIT = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TOP = {
    "name": str,
    "title": str,
    "description": str,
    "include": list,
    "settings": dict,
    "common": dict,
    "steps": dict,
    "results": dict,
}
_STEP = {
    "command": str,
    "each": (dict, str),
    "except": list,
    "arguments": list,
    "options": dict,
    "suffix": str,
    "exclusive": bool,
}
_RESULT = {
    "kind": str,
    "title": str,
    "caption": str,
    "each": dict,
    "sources": dict,
    "options": dict,
    "paper": dict,
}

_TYPES = {str: "a text", dict: "a table", list: "a list", bool: "true or false"}


@dataclass
class _Gathered:
    """What files have declared so far."""

    settings: dict[str, Any] = field(default_factory=dict)
    common: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, StepTable] = field(default_factory=dict)
    results: dict[str, ResultTable] = field(default_factory=dict)
    read: dict[Path, dict[str, Any]] = field(default_factory=dict)


def read_recipe(path: Path, settings: Mapping[str, Any] | None = None) -> Recipe:
    """The recipe in a TOML file, with what it includes.

    A setting of a file beats those of the files that it includes; two included files that set one
    name differently are an error.

    Args:
        path: The file.
        settings: Values that beat the file's (``--set``).

    Raises:
        RecipeError: unknown or missing keys, values of a wrong type, files that include each other.
        ArtifactError: a file cannot be read.
    """
    gathered = _Gathered()
    text, own = _load(path)
    _gather(path, own, gathered, ())
    for name, value in (settings or {}).items():
        if name not in gathered.settings:
            raise RecipeError(
                f"{path}: there is no setting named {name!r} to set",
                f"known: {', '.join(sorted(gathered.settings)) or 'none'}",
            )
        gathered.settings[name] = value
    if not gathered.steps:
        raise RecipeError(f"{path}: the recipe has no [steps.NAME]")
    return Recipe(
        path=path,
        text=text,
        name=own.get("name", path.stem),
        title=own.get("title", own.get("name", path.stem)),
        description=own.get("description", ""),
        settings=gathered.settings,
        common=gathered.common,
        steps=gathered.steps,
        results=gathered.results,
        own=frozenset(own.get("steps", {})),
        included=tuple(other for other in gathered.read if other != path.resolve()),
    )


def _load(path: Path) -> tuple[bytes, dict[str, Any]]:
    file, size = open_regular(path)
    with file:
        if size > _LIMIT:
            raise RecipeError(f"{path}: larger than {_LIMIT} bytes")
        text = file.read(_LIMIT)
    try:
        content = tomli.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"{path}: {error}") from None
    _check_keys(content, _TOP, str(path))
    return text, content


def _gather(path: Path, content: Mapping[str, Any], into: _Gathered, above: Sequence[Path]) -> None:
    """Take in what a file includes, then what it says itself."""
    here = path.resolve()
    if here in above:
        raise RecipeError(f"{path}: includes itself, by way of {', '.join(map(str, above))}")
    if here in into.read:
        return
    for name in content.get("include", []):
        if not isinstance(name, str):
            raise RecipeError(f"{path}: include must be a list of file names")
        other = path.parent / name
        before = dict(into.settings)
        _gather(other, _load(other)[1], into, (*above, here))
        for key, value in into.settings.items():
            if key in before and before[key] != value and key not in content.get("settings", {}):
                raise RecipeError(
                    f"{path}: the files that it includes set {key!r} to {before[key]!r} and to "
                    f"{value!r}",
                    f"say which in [settings] of {path}",
                )
    into.read[here] = dict(content)
    for name, value in content.get("settings", {}).items():
        _check_name(name, f"{path}: [settings]")
        into.settings[name] = value
    into.common |= content.get("common", {})
    for name, table in content.get("steps", {}).items():
        step = _read_step(name, table, path, into.steps)
        _check_new(name, into.steps, path, "steps")
        into.steps[name] = step
    for name, table in content.get("results", {}).items():
        _check_new(name, into.results, path, "results")
        into.results[name] = _read_result(name, table, path)


def _read_step(name: str, table: Any, path: Path, known: Mapping[str, StepTable]) -> StepTable:
    where = f"{path}: [steps.{name}]"
    _check_name(name, where)
    _check_keys(table, _STEP, where)
    if "command" not in table:
        raise RecipeError(f"{where}: command is missing", 'such as command = "finetune"')
    each = table.get("each", {})
    left_out = table.get("except", [])
    if isinstance(each, str):
        if each not in known:
            raise RecipeError(
                f"{where}: each names the step {each!r}, which is not declared above it",
                f"known: {', '.join(known) or 'none'}",
            )
        left_out = [*known[each].left_out, *left_out]
        each = known[each].each
    for variable in each:
        _check_name(variable, f"{where} each")
    for place in left_out:
        if not isinstance(place, dict) or not place.keys() <= each.keys():
            raise RecipeError(
                f"{where}: except must be a list of tables of its variables",
                f"variables: {', '.join(each) or 'none'}",
            )
    return StepTable(
        name=name,
        source=path,
        command=table["command"],
        each=each,
        left_out=left_out,
        arguments=table.get("arguments", []),
        options=table.get("options", {}),
        suffix=table.get("suffix", ""),
        exclusive=table.get("exclusive", False),
    )


def _read_result(name: str, table: Any, path: Path) -> ResultTable:
    where = f"{path}: [results.{name}]"
    _check_name(name, where)
    _check_keys(table, _RESULT, where)
    for key in ("kind", "title", "sources"):
        if key not in table:
            raise RecipeError(f"{where}: {key} is missing")
    sources = {}
    for role, told in table["sources"].items():
        listed = told if isinstance(told, list) else [told]
        if not all(isinstance(item, dict) and "step" in item for item in listed):
            raise RecipeError(f"{where}: source {role!r} must name a step, as {{ step = … }}")
        sources[role] = listed
    paper = table.get("paper", {})
    if paper and paper.keys() - {"measured"} != {"table", "model"}:
        raise RecipeError(f"{where}: paper takes the keys table and model, and may take measured")
    return ResultTable(
        name=name,
        source=path,
        kind=table["kind"],
        title=table["title"],
        caption=table.get("caption", ""),
        each=table.get("each", {}),
        sources=sources,
        options=table.get("options", {}),
        paper=paper,
    )


def _check_keys(table: Any, known: Mapping[str, Any], where: str) -> None:
    if not isinstance(table, dict):
        raise RecipeError(f"{where}: must be a table")
    for key, value in table.items():
        if key not in known:
            found = unknown_name("key", key, sorted(known))
            raise RecipeError(f"{where}: {found.message}", found.hint)
        if not isinstance(value, known[key]):
            kinds = known[key] if isinstance(known[key], tuple) else (known[key],)
            wanted = " or ".join(_TYPES[kind] for kind in kinds)
            raise RecipeError(f"{where}: {key} must be {wanted}")


def _check_name(name: str, where: str) -> None:
    if not _NAME.fullmatch(name):
        raise RecipeError(f"{where}: {name!r} is no name: letters, digits, - and _")


def _check_new(name: str, known: Mapping[str, Any], path: Path, what: str) -> None:
    if name in known:
        raise RecipeError(f"{path}: [{what}.{name}] is declared in {known[name].source} too")
