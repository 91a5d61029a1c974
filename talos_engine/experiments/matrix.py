"""Matrix expansion: combinations of a table's variables, and which of them a reference means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from talos_engine.errors import RecipeError
from talos_engine.experiments.template import fill, format_value

_REFERENCE = {
    "step": str,
    "output": str,
    "where": dict,
    "all": list,
    "others": list,
    "only": dict,
    "optional": bool,
    "then": list,
}


def combinations(
    each: Mapping[str, Any],
    left_out: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
    where: str,
) -> Iterator[dict[str, Any]]:
    """Values of the variables of a table, the last varying fastest.

    The values of a variable may depend on variables before it (``"{candidates[method]}"``).

    Raises:
        RecipeError: a variable has no list of values, or a value twice.
    """

    def expand(names: Sequence[str], chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not names:
            skipped = any(
                all(chosen[key] == value for key, value in fill(place, settings, where).items())
                for place in left_out
            )
            if not skipped:
                yield dict(chosen)
            return
        name, *rest = names
        values = fill(each[name], {**settings, **chosen}, f"{where} each")
        if isinstance(values, list):  # lists in it are joined
            values = [it for item in values for it in (item if isinstance(item, list) else [item])]
        if not isinstance(values, list) or any(isinstance(it, (list, dict)) for it in values):
            raise RecipeError(f"{where} each: {name} must be a list of values, not {values!r}")
        if len({format_value(value) for value in values}) < len(values):
            raise RecipeError(f"{where} each: {name} has a value twice: {values!r}")
        for value in values:
            yield from expand(rest, {**chosen, name: value})

    yield from expand(list(each), {})


def label(variables: Mapping[str, Any]) -> str:
    """Values of variables as part of a file's name."""
    words = (format_value(value) for value in variables.values())
    return ".".join(re.sub(r"[^A-Za-z0-9._+-]", "_", word) for word in words)


def check_reference(reference: Mapping[str, Any], where: str) -> None:
    """Raise unless a reference has only keys that mean something, of the right types.

    Raises:
        RecipeError: it has not.
    """
    unknown = sorted(reference.keys() - _REFERENCE.keys())
    if unknown:
        raise RecipeError(
            f"{where}: a reference has no key {unknown[0]!r}", f"known: {', '.join(_REFERENCE)}"
        )
    for key, value in reference.items():
        if not isinstance(value, _REFERENCE[key]):
            raise RecipeError(f"{where}: {key} of a reference is of the wrong type")


def applies(
    reference: Mapping[str, Any], own: Mapping[str, Any], names: Mapping[str, Any], where: str
) -> bool:
    """Whether a reference counts here: its ``only`` names values of the variables of who refers.

    Raises:
        RecipeError: ``only`` names a variable that there is not.
    """
    for name, wanted in fill(reference.get("only", {}), names, where).items():
        if name not in own:
            raise RecipeError(
                f"{where}: only = {{ {name} = … }}, but here is no variable {name!r}",
                f"variables: {', '.join(own) or 'none'}",
            )
        if own[name] not in (wanted if isinstance(wanted, list) else [wanted]):
            return False
    return True


def select(
    reference: Mapping[str, Any],
    candidates: Sequence[Mapping[str, Any]],
    known: Sequence[str],
    own: Mapping[str, Any],
    names: Mapping[str, Any],
    where: str,
) -> list[int]:
    """Positions of the combinations that a reference means.

    Variables that the one who refers has too are equal, those it has not take every value;
    ``where`` says otherwise, ``all`` lets go of an equality, ``others`` turns it round.

    Args:
        reference: As the recipe has it, checked.
        candidates: The combinations of the step referred to.
        known: Names of its variables.
        own: Variables of the one who refers.
        names: Variables and settings, for templates in ``where``.
        where: Who refers, for messages.

    Raises:
        RecipeError: it names a variable that the step does not have.
    """
    sought = sought_values(reference, known, own, names, where)
    return [number for number, candidate in enumerate(candidates) if fits(candidate, sought)]


def sought_values(
    reference: Mapping[str, Any],
    known: Sequence[str],
    own: Mapping[str, Any],
    names: Mapping[str, Any],
    where: str,
) -> dict[str, tuple[list[Any], bool]]:
    """By variable of a step, values that a reference seeks, and whether just these or all others.

    Args:
        reference: As the recipe has it, checked.
        known: Names of the variables of the step referred to.
        own: Variables of the one who refers.
        names: Variables and settings, for templates in ``where``.
        where: Who refers, for messages.

    Raises:
        RecipeError: it names a variable that the step does not have.
    """
    wanted = fill(reference.get("where", {}), names, where)
    free, others = reference.get("all", []), reference.get("others", [])
    for name in (*wanted, *free, *others):
        if name not in known:
            raise RecipeError(
                f"{where}: the step {reference['step']!r} has no variable {name!r}",
                f"its variables: {', '.join(known) or 'none'}",
            )
    for name in others:
        if name not in own:
            raise RecipeError(f"{where}: others = [{name!r}], but here is no variable {name!r}")
    sought = {}
    for name in known:
        if name in wanted:
            values = wanted[name]
            sought[name] = (values if isinstance(values, list) else [values], True)
        elif name in others:
            sought[name] = ([own[name]], False)
        elif name in own and name not in free:
            sought[name] = ([own[name]], True)
    return sought


def fits(candidate: Mapping[str, Any], sought: Mapping[str, tuple[list[Any], bool]]) -> bool:
    """Whether a combination of values is among those sought."""
    return all(
        (value in sought[name][0]) is sought[name][1]
        for name, value in candidate.items()
        if name in sought
    )
