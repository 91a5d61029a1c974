"""Values of a recipe with places for variables and settings: ``{task}``, ``{lr[method]}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from talos_engine.errors import RecipeError

_PLACE = re.compile(r"\{\{|\}\}|\{([^{}\[\]]*)(?:\[([^{}\[\]]*)\])?\}")


def fill(value: Any, names: Mapping[str, Any], where: str) -> Any:
    """``value`` with its places filled; lists and tables are filled inside.

    A text that is one place and nothing else becomes the value itself, whatever its type; within
    longer text values are written out. ``{{`` and ``}}`` stand for braces.

    Args:
        value: From a recipe.
        names: Variables and settings.
        where: What of the recipe it is, for messages.

    Raises:
        RecipeError: a name that is neither variable nor setting, or a key that a setting lacks.
    """
    if isinstance(value, list):
        return [fill(item, names, where) for item in value]
    if isinstance(value, dict):
        return {key: fill(item, names, where) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole is not None and whole.group(1) is not None:
        return _look_up(whole, names, where)

    def write(match: re.Match[str]) -> str:
        if match.group(1) is None:
            return match.group()[0]
        found = _look_up(match, names, where)
        if isinstance(found, (list, dict)):
            raise RecipeError(f"{where}: {match.group()} is no single value, inside {value!r}")
        return format_value(found)

    return _PLACE.sub(write, value)


def format_value(value: Any) -> str:
    """A value as a word of a command line or part of a name."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _look_up(match: re.Match[str], names: Mapping[str, Any], where: str) -> Any:
    name, key = match.group(1), match.group(2)
    found = _get(names, name, where, "variable or setting")
    if key is None:
        return found
    if not isinstance(found, dict):
        raise RecipeError(f"{where}: {name!r} is no table, so {match.group()} means nothing")
    own = format_value(names[key]) if key in names else key
    return _get(found, own, where, f"entry of {name!r}")


def _get(table: Mapping[str, Any], name: str, where: str, what: str) -> Any:
    if name not in table:
        known = ", ".join(sorted(table)) or "none"
        raise RecipeError(f"{where}: there is no {what} named {name!r}", f"known: {known}")
    return table[name]
