"""What kinds of tables share: columns, coefficients of searches, and what to say of gaps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from talos_engine.errors import CorruptFileError
from talos_engine.experiments.result_spec import Source, key_of


def column(key: str, label: str, unit: str = "share", better: str | None = None) -> dict[str, Any]:
    """A column of a table; ``unit`` is ``share`` for accuracies, ``better`` higher or lower."""
    return {"key": key, "label": label, "unit": unit, "better": better}


def table(
    columns: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]], notes: Sequence[str]
) -> dict[str, Any]:
    """The part of a table's JSON that its kind decides."""
    return {"kind": "table", "columns": list(columns), "rows": list(rows), "notes": list(notes)}


def searched_coefs(sources: Iterable[Source], names: Sequence[str]) -> dict[Any, float]:
    """The coefficient that each search chose, by the values of some variables.

    Raises:
        CorruptFileError: a file is no search report.
    """
    found = {}
    for source in sources:
        if source.content is None:
            continue
        try:
            found[key_of(source.variables, names)] = float(source.content["coef"])
        except (KeyError, TypeError, ValueError):
            raise CorruptFileError(f"{source.path}: is no report of a search") from None
    return found


def spread_notes(keys: Iterable[tuple[str, ...]], row: str, over: str) -> list[str]:
    """A sentence for every row that lacks values of the variable that means go over."""
    listed = list(keys)
    everything = dict.fromkeys(value for _, value in listed)
    notes = []
    for name in dict.fromkeys(name for name, _ in listed):
        lacking = [value for value in everything if (name, value) not in listed]
        if lacking:
            notes.append(f"{row} {name}: nothing for {over} {', '.join(lacking)}")
    return notes
