"""No output takes the place of a file that the same command reads or writes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from talos_engine.artifacts.files import StrPath
from talos_engine.errors import OptionError

_OF_MODELS = (  # what libraries write into a model's folder; other files there are nobody's input
    "*model*.safetensors",
    "*model*.bin",
    "*model*.pth",
    "*.index.json",
    "*config.json",
    "tokenizer*",
    "vocab.*",
    "merges.txt",
    "spiece.model",
)


def check_distinct(outputs: Mapping[str, StrPath | None], inputs: Iterable[StrPath] = ()) -> None:
    """Check, before long work, that no output takes the place of another or of an input.

    Args:
        outputs: Target files and folders by the option that names them; ``None`` where none is
            written.
        inputs: Files that are read, and folders of models, whose files are.

    Raises:
        OptionError: two are the same file, however they are written, or an input lies in a folder
            that is written.
    """
    read = {Path(path).resolve() for path in inputs}
    read |= {file.resolve() for path in read for name in _OF_MODELS for file in path.glob(name)}
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        place = Path(path).resolve()
        if place in taken:
            raise OptionError(f"{taken[place]} and {option} name the same file")
        if place in read:
            raise OptionError(f"{option} names {path}, which is read", "write to another file")
        within = sorted(each for each in read if place in each.parents)
        if within:
            raise OptionError(
                f"{within[0]} lies in {option} {path}, which is written as a whole",
                "choose another place",
            )
        taken[place] = option
