"""What to say where a reference of a recipe means no step: what it seeks and what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from talos_engine.experiments.matrix import fits, sought_values
from talos_engine.experiments.template import format_value

_PLACE = re.compile(r"\{([^{}\[\]]+)(?:\[([^{}\[\]]*)\])?\}")


def describe_misfit(
    reference: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    target: Mapping[str, Any],
    own: Mapping[str, Any],
    each: Mapping[str, Any],
    settings: Mapping[str, Any],
    where: str,
) -> tuple[str, str]:
    """A message and a hint for a reference that none of the steps of its group fits.

    Args:
        reference: As the recipe has it.
        candidates: The combinations of the step referred to.
        target: The templates of its variables.
        own: Variables of the one who refers.
        each: The templates of these.
        settings: The recipe's.
        where: Who refers, for messages.
    """
    sought = sought_values(reference, list(target), own, {**settings, **own}, where)
    alone = [
        name
        for name, wanted in sought.items()
        if not any(fits({name: it[name]}, {name: wanted}) for it in candidates)
    ]
    names = alone or list(sought) or list(target)
    told = "; ".join(_told(name, sought, candidates) for name in names)
    message = f"no step {reference['step']!r} fits" + (f": {told}" if told else "")
    used = dict.fromkeys(
        setting
        for name in names
        for template in (
            reference.get("where", {}).get(name, each.get(name) if name in sought else None),
            target[name],
        )
        for setting in _settings(template, each, settings)
    )
    hint = "optional = true in the recipe leaves the reference out where there is none"
    if used:
        hint = f"it depends on the settings {', '.join(used)}: make them agree (--set); {hint}"
    return message, hint


def _told(name: str, sought: Mapping[str, Any], candidates: Sequence[Mapping[str, Any]]) -> str:
    there = ", ".join(dict.fromkeys(format_value(it[name]) for it in candidates)) or "none"
    if name not in sought:
        return f"there is no {name}"
    values, wanted = sought[name]
    listed = " or ".join(map(format_value, values))
    return f"{name} must be {'' if wanted else 'other than '}{listed}, and there is {there}"


def _settings(template: Any, each: Mapping[str, Any], settings: Mapping[str, Any]) -> Iterator[str]:
    """Names of the settings that a template takes values from, by way of variables too."""
    for name, key in _PLACE.findall(str(template)):
        for place in (name, key):
            if place in each:
                others = {other: it for other, it in each.items() if other != place}
                yield from _settings(each[place], others, settings)
            elif place in settings:
                yield place
