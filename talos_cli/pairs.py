"""Options that take two words each time and may be repeated, as ``--prune-lowest SCORES F``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand


def takes_pairs(*names: str) -> type[TyperCommand]:
    """Command class whose repeatable options of these names take two words each time.

    Typer knows pairs and repeatable options, but not both at once. The options are declared as
    lists of text with ``parser=whole`` and ``callback=scored_fraction``.
    """

    class TakesPairs(TyperCommand):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            for parameter in self.params:
                if parameter.name in names:
                    parameter.nargs = 2

    return TakesPairs


def whole(value: Any) -> Any:
    """Parser that leaves a value as it is."""
    return value


def scored_fraction(pairs: list[Any] | None) -> list[tuple[Path, float]]:
    """Callback that makes pairs of a file and a number of what was given."""
    found = []
    for pair in pairs or ():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise typer.BadParameter(f"{pair!r} is no pair of a scores file and a fraction")
        try:
            found.append((Path(str(pair[0])), float(pair[1])))
        except (TypeError, ValueError):
            raise typer.BadParameter(f"{pair[1]!r} is not a number") from None
    return found
