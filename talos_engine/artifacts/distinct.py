"""No output takes the place of a file that the same command reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from talos_engine.artifacts.files import StrPath
from talos_engine.errors import OptionError


def check_distinct(outputs: Mapping[str, StrPath | None], inputs: Iterable[StrPath] = ()) -> None:
    """Check, before long work, that no output takes the place of another or of an input.

    Args:
        outputs: Target files by the option that names them; ``None`` where none is written.
        inputs: Files that are read.

    Raises:
        OptionError: two are the same file, however they are written.
    """
    read = {Path(path).resolve() for path in inputs}
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = Path(path).resolve()
        if place in taken:
            raise OptionError(f"{taken[place]} and {option} name the same file")
        if place in read:
            raise OptionError(f"{option} names {path}, which is read", "write to another file")
        taken[place] = option
